"""Stores halts, each change with its entry of the audit log in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from decahertz.clock import to_datetime
from decahertz.halts import Halt, HaltOrigin, HaltScope
from storage.write.audit import add_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from decahertz.audit import AuditEntry
    from storage.database import Database

_COLUMNS: Final = Halt.__struct_fields__
_INSERT: Final = (
    f"INSERT INTO halts (time, {', '.join(_COLUMNS)})"  # noqa: S608 - names of our own
    f" VALUES ({', '.join(f'${number}' for number in range(1, len(_COLUMNS) + 2))})"
    " ON CONFLICT DO NOTHING RETURNING *"
)
_ACTIVE: Final = "SELECT * FROM halts WHERE recorder = $1 AND resumed_ns IS NULL ORDER BY since_ns, halt_id"
_RESUME: Final = """
UPDATE halts SET resumed_ns = $3, resumed_by = $4, resume_reason = $5
WHERE recorder = $1 AND halt_id = $2 AND resumed_ns IS NULL RETURNING *
"""


class HaltStore:
    """The table ``halts``. Methods can raise :class:`~storage.database.DatabaseUnavailableError`."""

    def __init__(self, database: Database, recorder: str) -> None:
        self._database = database
        self._recorder = recorder

    async def add(self, halt: Halt, audit: Callable[[Halt], AuditEntry]) -> bool:
        """Stores a halt; returns whether it is new: the same is not halted twice."""
        values = [getattr(halt, name) for name in _COLUMNS]
        async with self._database.query() as connection, connection.transaction():
            row = await connection.fetchrow(_INSERT, to_datetime(halt.since_ns), *values)
            if row is not None:
                await add_entry(connection, audit(halt))
        return row is not None

    async def resume(
        self, halt: Halt, now_ns: int, actor: str, reason: str, audit: Callable[[Halt], AuditEntry]
    ) -> Halt | None:
        """Ends a halt; returns it, ``None`` if it had ended before."""
        ended = replace(halt, resumed_ns=now_ns, resumed_by=actor, resume_reason=reason)
        async with self._database.query() as connection, connection.transaction():
            row = await connection.fetchrow(_RESUME, self._recorder, halt.halt_id, now_ns, actor, reason)
            if row is None:
                return None
            await add_entry(connection, audit(ended))
        return ended

    async def active(self) -> list[Halt]:
        """The halts of this recorder that last, oldest first."""
        return [halt_of(row) for row in await self._database.fetch(_ACTIVE, [self._recorder])]


def halt_of(row: asyncpg.Record) -> Halt:
    """The halt of a row."""
    values = {name: row[name] for name in _COLUMNS}
    values["scope"], values["origin"] = HaltScope(row["scope"]), HaltOrigin(row["origin"])
    return Halt(**values)
