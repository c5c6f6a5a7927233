"""The audit log: who changed what through the API or the command line."""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec
from msgspec import Struct

TOPIC: Final = "audit"
"""Topic of the bus and of the WebSocket; its messages are new entries."""
COMMAND_LINE: Final = "command line"
DONE: Final = "done"
"""Result of a change that was made."""


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One change, or the refusal of one."""

    id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    time_ns: int
    recorder: str
    """The recorder that received the call; empty for the command line."""
    actor: str
    """Name of the key, `local` without a key, or `command line` with the user of the operating system."""
    key_id: str | None = None
    address: str | None = None
    """Where the request came from."""
    action: str
    """`alert.acknowledge`, `alert.silence`, `alerts.report`, `key.create`, `key.revoke`,
    `dead_letters.replay`, `archive.write`, `trading.halt`, `trading.resume`, or one of an order request:
    `order.submit`, `order.take`, `order.lapse`, …; of a template: `template.create`, `template.run`, …"""
    target: str
    """Id of the thing that was changed; of dead letters their stream, or `all`; of archived days their
    destination."""
    result: str = DONE
    """`done`, or the kind of the problem for which the call was refused."""
    before: dict[str, Any] | None = None
    """The values that were changed, as they were before."""
    after: dict[str, Any] | None = None
    request_id: str | None = None
