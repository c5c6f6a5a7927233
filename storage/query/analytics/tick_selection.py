"""Selects the ticks that analytics read.

Prices and sizes above 1e100 are left out: their products overflow, and no market has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from decahertz.clock import to_datetime
from storage.schema.samples import storable

if TYPE_CHECKING:
    from storage.database import AnyConnection

LATEST_NS: Final = 2**63 - 1
_VENUES: Final = """
SELECT array_agg(venue ORDER BY venue) AS venues, min(first_ns) AS first_ns, max(last_ns) AS last_ns
FROM instruments
WHERE instrument = $1 AND first_ns IS NOT NULL AND (cardinality($2::text[]) = 0 OR venue = ANY($2::text[]))
"""
WHERE_ONE: Final = """instrument = $1 AND ($3::text IS NULL OR recorder = $3)
    AND abs(price) <= 1e100 AND size <= 1e100
    AND time_ns >= $4 AND time_ns < $5 AND time >= $6 AND time <= $7"""
TICKS: Final = "ticks_between($6, $7) AS ticks"
"""Relation with the ticks of a range."""
WHERE: Final = f"venue = ANY($2::text[]) AND {WHERE_ONE}"
"""Condition of selected ticks in a range; its values are :meth:`SelectedTicks.values`."""
ORDER: Final = "time_ns, length(trade_id), trade_id, source, epoch, sequence"
"""The order of ticks, as in :mod:`storage.query.bars`."""
REVERSED: Final = ", ".join(f"{column} DESC" for column in ORDER.split(", "))


@dataclass(frozen=True, slots=True, kw_only=True)
class TickFilter:
    """Selects the ticks of an instrument, of one recorder (``None``: all)."""

    instrument: str
    venues: Sequence[str] = ()
    """None: all that the instrument was seen at."""
    recorder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedTicks:
    """Ticks of an instrument at known venues."""

    which: TickFilter
    venues: Sequence[str]
    """Venues that it was seen at; the index begins with them."""
    first_ns: int
    """Time of the first quote or tick."""
    last_ns: int
    """Time of the last one; up to a few seconds behind."""

    def values(self, start_ns: int, end_ns: int) -> tuple[Any, ...]:
        """Values of :data:`WHERE` for the range ``[start, end)``."""
        start_ns, end_ns = max(start_ns, 0), min(end_ns, LATEST_NS)
        times = (to_datetime(start_ns), to_datetime(end_ns))  # "time" repeats it: it selects the partitions
        which = self.which
        return (which.instrument, self.venues, which.recorder, start_ns, end_ns, *times)


async def find_ticks(connection: AnyConnection, which: TickFilter) -> SelectedTicks | None:
    """The ticks that a filter selects; ``None``: nothing was seen of the instrument at these venues."""
    texts = (which.instrument, which.recorder or "", *which.venues)
    if not all(map(storable, texts)):
        return None
    row = await connection.fetchrow(_VENUES, which.instrument, list(which.venues))
    if row is None or not row["venues"]:
        return None
    return SelectedTicks(which=which, venues=row["venues"], first_ns=row["first_ns"], last_ns=row["last_ns"])
