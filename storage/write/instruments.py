"""The list of instruments seen in market events.

An active instrument changes with every quote. Its row is written when it is new and then every few seconds,
not each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from decahertz.clock import NS_PER_SECOND, Clock, to_datetime

if TYPE_CHECKING:
    from storage.database import AnyConnection

WRITE_EVERY_SECONDS = 5

_UPSERT = """
INSERT INTO instruments (venue, instrument, first_ns, last_ns, time)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[])
ON CONFLICT (venue, instrument) DO UPDATE SET
    time = greatest(instruments.time, excluded.time),
    first_ns = least(instruments.first_ns, excluded.first_ns),
    last_ns = greatest(instruments.last_ns, excluded.last_ns)
"""

Row: TypeAlias = tuple[str, str, int, int]


@dataclass(slots=True)
class _Seen:
    first_ns: int
    last_ns: int
    written: tuple[int, int] | None = None
    written_at_ns: int = 0


class InstrumentTable:
    """Remembers when instruments were seen, and what of that is in the database."""

    def __init__(self, clock: Clock) -> None:
        """``clock`` decides when it is time to write again."""
        self._clock = clock
        self._seen: dict[tuple[str, str], _Seen] = {}

    def note(self, venue: str, instrument: str, time_ns: int) -> None:
        """An event of this instrument is being stored."""
        seen = self._seen.get((venue, instrument))
        if seen is None:
            self._seen[venue, instrument] = _Seen(time_ns, time_ns)
        elif time_ns > seen.last_ns:
            seen.last_ns = time_ns
        elif time_ns < seen.first_ns:
            seen.first_ns = time_ns

    def due(self, *, everything: bool = False) -> list[Row]:
        """What is to be written now, sorted; with ``everything`` also what could wait."""
        before = self._clock.monotonic_ns() - WRITE_EVERY_SECONDS * NS_PER_SECOND
        return sorted(
            (*key, seen.first_ns, seen.last_ns)
            for key, seen in self._seen.items()
            if seen.written != (seen.first_ns, seen.last_ns)
            and (everything or seen.written is None or seen.written_at_ns <= before)
        )

    def mark(self, rows: list[Row]) -> None:
        """These rows are in the database."""
        now = self._clock.monotonic_ns()
        for venue, instrument, first_ns, last_ns in rows:
            seen = self._seen[venue, instrument]
            seen.written, seen.written_at_ns = (first_ns, last_ns), now


async def save_instruments(connection: AnyConnection, rows: list[Row]) -> None:
    """Write rows that :meth:`InstrumentTable.due` returned."""
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        await connection.execute(_UPSERT, *columns, [to_datetime(last_ns) for *_, last_ns in rows])
