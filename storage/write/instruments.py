"""The table ``instruments``: when each instrument was seen in market events, and its newest definition.

The last time of an active instrument changes with every quote; it is written when the instrument is new, and
then every few seconds. The first time is written in the transaction that stores an earlier quote or tick, so
that no stored row is older than it: bars begin there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from decahertz.clock import NS_PER_SECOND, Clock, to_datetime
from decahertz.event import Instrument

if TYPE_CHECKING:
    from storage.database import AnyConnection

WRITE_EVERY_SECONDS = 5

_SEEN = ("first_ns", "last_ns")
_DEFINITION = tuple(
    name for name in Instrument.__struct_fields__ if name not in ("venue", "instrument", "time_ns")
)
_COLUMNS = ("venue", "instrument", "time", *_SEEN, "defined_ns", *_DEFINITION)

Key: TypeAlias = tuple[str, str]
SeenRow: TypeAlias = tuple[str, str, int, int]


def _upsert() -> str:
    newer = "excluded.defined_ns >= coalesce(instruments.defined_ns, 0)"
    changes = [
        "time = greatest(instruments.time, excluded.time)",
        "first_ns = least(instruments.first_ns, excluded.first_ns)",
        "last_ns = greatest(instruments.last_ns, excluded.last_ns)",
        *(
            f"{name} = CASE WHEN {newer} THEN excluded.{name} ELSE instruments.{name} END"
            for name in ("defined_ns", *_DEFINITION)
        ),
    ]
    values = ", ".join(f"${number}" for number in range(1, len(_COLUMNS) + 1))
    return (
        f"INSERT INTO instruments ({', '.join(_COLUMNS)}) VALUES ({values})"  # noqa: S608 - names of this module
        f" ON CONFLICT (venue, instrument) DO UPDATE SET {', '.join(changes)}"
    )


_UPSERT = _upsert()


@dataclass(slots=True)
class _Seen:
    first_ns: int
    last_ns: int
    written: tuple[int, int] | None = None
    written_at_ns: int = 0


class InstrumentTable:
    """Tracks when instruments were seen, and which of these times the database has."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], _Seen] = {}

    def note(self, venue: str, instrument: str, time_ns: int) -> None:
        """Records the time of a stored quote or tick."""
        seen = self._seen.get((venue, instrument))
        if seen is None:
            self._seen[venue, instrument] = _Seen(time_ns, time_ns)
        elif time_ns > seen.last_ns:
            seen.last_ns = time_ns
        elif time_ns < seen.first_ns:
            seen.first_ns = time_ns

    def due(self, *, everything: bool = False) -> list[SeenRow]:
        """Returns the rows to write now, sorted; with ``everything`` also those that could wait."""
        before = self._clock.monotonic_ns() - WRITE_EVERY_SECONDS * NS_PER_SECOND
        return sorted(
            (*key, seen.first_ns, seen.last_ns)
            for key, seen in self._seen.items()
            if seen.written != (seen.first_ns, seen.last_ns)
            and (
                everything
                or seen.written is None
                or seen.first_ns < seen.written[0]
                or seen.written_at_ns <= before
            )
        )

    def mark(self, rows: list[SeenRow]) -> None:
        """Record that the database has these rows."""
        now = self._clock.monotonic_ns()
        for venue, instrument, first_ns, last_ns in rows:
            seen = self._seen[venue, instrument]
            seen.written, seen.written_at_ns = (first_ns, last_ns), now


async def save_instruments(
    connection: AnyConnection, seen: list[SeenRow], definitions: Iterable[Instrument] = ()
) -> None:
    """Writes the rows of :meth:`InstrumentTable.due`, and definitions unless the table has newer ones."""
    times: dict[Key, tuple[int, int]] = {(venue, name): (first, last) for venue, name, first, last in seen}
    newest: dict[Key, Instrument] = {}
    for one in definitions:
        key = one.venue, one.instrument
        if key not in newest or newest[key].time_ns <= one.time_ns:
            newest[key] = one
    # Sorted, so that two writers lock the rows in the same order.
    rows = [_row(key, times.get(key), newest.get(key)) for key in sorted({*times, *newest})]
    if rows:
        await connection.executemany(_UPSERT, rows)


def _row(key: Key, seen: tuple[int, int] | None, definition: Instrument | None) -> tuple[Any, ...]:
    first_ns, last_ns = seen or (None, None)
    defined_ns = definition.time_ns if definition else None
    time = to_datetime(max(last_ns or 0, defined_ns or 0))
    values = (getattr(definition, name, None) for name in _DEFINITION)
    return (*key, time, first_ns, last_ns, defined_ns, *values)
