"""Numbered SQL files, applied in order by :mod:`storage.migrate`. A file that was released never changes."""
