"""Histories of raw samples, as columns.

PostgreSQL groups the rows by series and returns arrays, one part of the range at a time, so that decoding an
answer does not block the event loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from decahertz.clock import to_datetime
from decahertz.sample import SampleSchema
from storage.schema.samples import TIME, key_columns, quoted, storable, table_of
from storage.tiers.plain.packed import packed_table

if TYPE_CHECKING:
    from storage.database import AnyConnection

Value: TypeAlias = int | float | bool | str | None
"""The value of a metric: a number, a boolean, a state, or null."""
Columnar: TypeAlias = dict[tuple[str, ...], list[list[Any]]]
"""By series (recorder and key): the times in nanoseconds, then one list for each field."""

ROWS_AT_ONCE = 20_000
_MICROSECOND_NS = 1000
_LATEST_NS = 2**63 - 1
# Microseconds since 1970; in double precision exact to the microsecond until 2106.
MICROSECONDS = "(date_part('epoch', {}) * 1000000)::bigint"


class SampleQuery:
    """A query for some fields and series of one sample type."""

    def __init__(
        self,
        schema: SampleSchema,
        fields: Sequence[str],
        key_filter: Mapping[str, Sequence[str]],
        *,
        packed: bool = False,
    ) -> None:
        """The names must be those of the schema; they are not checked here.

        ``packed``: the samples are packed, as far as they are old enough.
        """
        self._keys = key_columns(schema)
        self._width = len(fields)
        narrowed, self._values = key_conditions(key_filter, first=4)
        conditions = [f"{TIME} >= $1", f"{TIME} < $2", *narrowed]
        source, order = quoted(table_of(schema)), TIME
        if packed:
            wanted = [TIME, *self._keys, *dict.fromkeys(fields)]
            minutes = packed_table(schema).by_minute("$1::timestamptz", "$2::timestamptz", wanted)
            source, order = f"({minutes}) AS samples", f"_minute, {TIME}"
        keys = [quoted(name) for name in self._keys]
        columns = [quoted(name) for name in fields]
        arrays = [f"array_agg({column}) AS f{n}" for n, column in enumerate(columns)]
        # The names are those of the declaration, quoted; all values are parameters.
        self._statement = f"""
            WITH page AS MATERIALIZED (
                SELECT {", ".join((TIME, *keys, *columns))} FROM {source}
                WHERE {" AND ".join(conditions)} ORDER BY {order} LIMIT $3
            ), last AS (
                SELECT CASE WHEN count(*) = $3 THEN max({TIME}) END AS cut FROM page
            ), series AS (
                SELECT {", ".join((*keys, f"array_agg({MICROSECONDS.format(TIME)}) AS us", *arrays))}
                FROM (
                    SELECT page.* FROM page, last WHERE cut IS NULL OR {TIME} < cut
                    ORDER BY {", ".join((*keys, TIME))}
                ) AS sorted
                GROUP BY {", ".join(keys)}
            )
            SELECT {MICROSECONDS.format("cut")} AS cut_us, series.*
            FROM last LEFT JOIN series ON true
        """  # noqa: S608 - see above

    async def run(
        self, connection: AnyConnection, start_ns: int, end_ns: int, max_rows: int
    ) -> tuple[Columnar, int | None]:
        """The answer, and the start of the rest if it was cut."""
        found: Columnar = {}
        rows = 0
        next_ns: int | None = max(0, start_ns)
        end_ns = min(end_ns, _LATEST_NS)
        while next_ns is not None and next_ns < end_ns:
            wanted = min(ROWS_AT_ONCE, max_rows - rows)
            if wanted <= 0:
                return found, next_ns
            new, cut_ns = await self._page(connection, next_ns, end_ns, wanted, found)
            if cut_ns is not None and not new:
                # A cycle with more rows than fit goes into the next answer, or whole into this one.
                if rows and rows + wanted >= max_rows:
                    return found, cut_ns
                next_ns = cut_ns + _MICROSECOND_NS
                new, _ = await self._page(connection, cut_ns, next_ns, None, found)
            else:
                next_ns = cut_ns
            rows += new
        return found, None

    async def _page(
        self, connection: AnyConnection, start_ns: int, end_ns: int, limit: int | None, found: Columnar
    ) -> tuple[int, int | None]:
        """Adds rows to ``found``; returns their number, and the cycle that was cut off."""
        # Rounded up to the microsecond: a start between two of them begins with the later one.
        start, end = (to_datetime(time_ns + _MICROSECOND_NS - 1) for time_ns in (start_ns, end_ns))
        records = await connection.fetch(self._statement, start, end, limit, *self._values)
        rows = 0
        first = 1 + len(self._keys)
        for record in records:
            us = record[first]
            if us is None:
                continue  # only the cycle that was cut off
            rows += len(us)
            key = tuple(record[1:first])
            lists = found.setdefault(key, [[] for _ in range(1 + self._width)])
            lists[0].extend([1000 * time_us for time_us in us])
            for column, values in zip(lists[1:], record[first + 1 :], strict=True):
                column.extend(values)
        cut_us = records[0][0]
        return rows, None if cut_us is None else 1000 * cut_us


def key_conditions(key_filter: Mapping[str, Sequence[str]], *, first: int) -> tuple[list[str], list[Any]]:
    """SQL conditions on key columns, and their parameters, numbered from ``first``."""
    values: list[Any] = []
    conditions = []
    for number, (name, wanted) in enumerate(key_filter.items(), start=first):
        allowed = [value for value in wanted if storable(value)]
        # A single value is compared for equality, so that the index returns the rows in order of time.
        single = len(allowed) == 1
        values.append(allowed[0] if single else allowed)
        conditions.append(f"{quoted(name)} = " + (f"${number}" if single else f"ANY(${number}::text[])"))
    return conditions, values
