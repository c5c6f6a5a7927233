"""Entries of the audit log for changes that are made on the command line."""

from __future__ import annotations

import os
import pwd
from typing import Any

from decahertz.audit import COMMAND_LINE, AuditEntry


def command_line_entry(
    action: str, target: str, now_ns: int, before: dict[str, Any] | None, after: dict[str, Any]
) -> AuditEntry:
    """An entry that names the user of the operating system."""
    user_id = os.getuid()
    try:
        user = pwd.getpwuid(user_id).pw_name
    except KeyError:  # as in a container
        user = str(user_id)
    return AuditEntry(
        time_ns=now_ns,
        recorder="",
        actor=f"{COMMAND_LINE} ({user})",
        action=action,
        target=target,
        before=before,
        after=after,
    )
