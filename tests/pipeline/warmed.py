"""Reads the declarations of settings and samples once, for all recorders that the tests fork.

Each start would else read them again, which is a quarter of what it computes in Python.
"""

from __future__ import annotations

from collectors.host.plugins import builtin_classes
from decahertz.app.settings import Settings
from decahertz.sample import schema_of
from decahertz.settings import keys_of

keys_of(Settings)
for collector in builtin_classes("collectors").values():
    schema_of(collector.sample_type)
