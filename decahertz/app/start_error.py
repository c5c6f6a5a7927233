"""The error of a command that cannot start."""

from __future__ import annotations


class StartError(Exception):
    """Raised when a command cannot start; the message is one line."""
