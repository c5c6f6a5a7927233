"""Adds entries to the audit log, in the transaction of the change: neither exists without the other."""

from __future__ import annotations

from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from decahertz.clock import to_datetime

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from decahertz.audit import AuditEntry
    from storage.database import AnyConnection, Database

_TYPES: Final = {
    "time": "timestamptz",
    "id": "text",
    "time_ns": "bigint",
    **dict.fromkeys(("recorder", "actor", "key_id", "address", "action", "target", "result"), "text"),
    "before": "jsonb",
    "after": "jsonb",
    "request_id": "text",
}
_INSERT: Final = f"INSERT INTO audit ({', '.join(_TYPES)})"


def insert_for_each(source: str, first: int, computed: Mapping[str, str] = MappingProxyType({})) -> str:
    """SQL that adds an entry for each row of ``source``, as a part of the statement that changes the rows.

    ``computed`` has expressions for columns that differ from row to row; the values of all others are
    parameters from number ``first`` on, see :func:`values_of`.
    """
    numbers = count(first)
    values = [computed.get(name) or f"${next(numbers)}::{type_}" for name, type_ in _TYPES.items()]
    return f"{_INSERT} SELECT {', '.join(values)} FROM {source}"  # noqa: S608 - SQL of our own


def values_of(entry: AuditEntry, computed: Collection[str] = ()) -> list[object]:
    """The parameters of an entry, without those columns that the statement computes."""
    values = {
        **{name: getattr(entry, name) for name in _TYPES if name != "time"},
        "time": to_datetime(entry.time_ns),
        "before": _json(entry.before),
        "after": _json(entry.after),
    }
    return [values[name] for name in _TYPES if name not in computed]


async def add_entry(connection: AnyConnection, entry: AuditEntry) -> None:
    """Adds an entry within the transaction of a connection."""
    await connection.execute(_ONE, *values_of(entry))


_ONE: Final = insert_for_each("(VALUES (0)) AS once", 1)


class AuditStore:
    """Adds entries that belong to no change, such as a refused call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entry: AuditEntry) -> None:
        """Adds an entry. Raises :class:`~storage.database.DatabaseUnavailableError`."""
        async with self._database.query() as connection:
            await add_entry(connection, entry)


def _json(values: dict[str, Any] | None) -> str | None:
    # PostgreSQL has no NUL in a text; names and comments are checked for it, ids of others are not.
    return None if values is None else msgspec.json.encode(values).decode().replace("\\u0000", "\\ufffd")
