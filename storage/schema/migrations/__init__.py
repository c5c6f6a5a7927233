"""Numbered SQL files, applied in order by :mod:`storage.schema.migrate`.

A file that was released never changes.
"""
