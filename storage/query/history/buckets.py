"""Histories in buckets: from a tier, or from the raw samples where the tier is missing.

The rows come through a cursor in order of time, some at a time, so that a large answer neither blocks the
event loop nor fills memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import UNSET, Struct, UnsetType

from decahertz.clock import to_datetime
from decahertz.metric import Aggregate
from decahertz.sample import MetricField, SampleSchema
from storage.query.history.raw_samples import MICROSECONDS, Value, key_conditions
from storage.query.history.resolution import Resolution
from storage.schema.samples import TIME, key_columns, quoted
from storage.tiers.names import Suffix, Tier, relation_of, width_ns
from storage.tiers.plain.packed import packed_table
from storage.tiers.plain.table import PlainTable
from storage.tiers.schema import tier_schema_of

if TYPE_CHECKING:
    from storage.database import AnyConnection

ROWS_AT_ONCE = 2_000
_LATEST_NS = 2**63 - 1


class Summary(Struct, frozen=True, kw_only=True):
    """The aggregates of a metric in each bucket. They ignore nulls; a bucket of nulls alone is null.

    A metric has `last` and the aggregates that the catalogue names; numeric gauges have all four by default.
    """

    last: list[Value]
    min: list[int | float | None] | UnsetType = UNSET
    max: list[int | float | None] | UnsetType = UNSET
    avg: list[float | None] | UnsetType = UNSET


_Buckets: TypeAlias = dict[tuple[str, ...], list[list[Any]]]
"""By series (recorder and key): the starts in nanoseconds, then one list for each column."""


class BucketQuery:
    """A query for some fields and series of one sample type, in buckets."""

    def __init__(
        self,
        schema: SampleSchema,
        fields: Sequence[MetricField],
        key_filter: Mapping[str, Sequence[str]],
        resolution: Resolution,
        *,
        plain: bool = False,
    ) -> None:
        """``resolution`` has a step; its tier must exist. ``plain``: on plain PostgreSQL.

        There the views would do, too, but their plans have the partitions of all times.
        """
        assert resolution.step_ns is not None  # noqa: S101 - else there are no buckets
        self._keys = key_columns(schema)
        self._fields = fields
        self._step_ns = resolution.step_ns
        tier = resolution.tier
        conditions, self._values = key_conditions(key_filter, first=4)
        where = " AND ".join((f"{TIME} >= $1", f"{TIME} < $2", *conditions))
        stored = tier is not Tier.RAW and width_ns(tier) == self._step_ns
        keys = [quoted(name) for name in self._keys]
        by = ", ".join(("bucket", *keys))
        columns = ", ".join(
            f"{_expression(field, aggregate, tier, stored=stored)} AS c{n}"
            for n, (field, aggregate) in enumerate((f, a) for f in fields for a in f.aggregates)
        )
        relation = quoted(relation_of(schema, tier))
        bounds = ("$1::timestamptz", "$2::timestamptz")
        if plain and tier is Tier.RAW:
            wanted = [TIME, *self._keys, *(field.name for field in fields)]
            relation = f"({packed_table(schema).between(*bounds, wanted)}) AS samples"
        elif plain:
            wanted_alone = tier_schema_of(replace(schema, metrics=tuple(fields)))
            relation = f"({PlainTable(wanted_alone).rows(tier, bounds)}) AS buckets"
        source = f"SELECT *, date_bin($3::interval, {TIME}, 'epoch') AS bucket FROM"
        # The names are those of the declaration, quoted; all values are parameters.
        self._statement = f"""
            SELECT {MICROSECONDS.format("bucket")} AS us, {", ".join((*keys, columns))} FROM (
                {source} {relation} WHERE {where}
            ) AS rows
            {"" if stored else f"GROUP BY {by}"} ORDER BY {by}
        """  # noqa: S608 - see above

    async def run(
        self, connection: AnyConnection, start_ns: int, end_ns: int, max_rows: int
    ) -> tuple[_Buckets, int | None]:
        """All buckets that touch the range, whole, and the start of the rest if the answer was cut.

        At most ``max_rows`` rows, except that the rows of one bucket always stay together.
        """
        step_ns = self._step_ns
        start_ns, end_ns = max(0, start_ns), min(end_ns, _LATEST_NS)
        if end_ns <= start_ns:
            return {}, None
        first, end = start_ns // step_ns * step_ns, -(-end_ns // step_ns) * step_ns
        values = (to_datetime(first), to_datetime(end), timedelta(microseconds=step_ns // 1000))
        answer = _Collected(1 + len(self._keys), max_rows)
        async with connection.transaction(readonly=True):
            cursor = await connection.cursor(self._statement, *values, *self._values)
            while records := await cursor.fetch(min(ROWS_AT_ONCE, max_rows + 1)):
                cut_us = answer.add(records)
                if cut_us is not None:
                    return answer.found, 1000 * cut_us
        cut_us = answer.flush()
        return answer.found, None if cut_us is None else 1000 * cut_us

    def named(self, columns: Sequence[list[Any]]) -> dict[str, Summary]:
        """The columns of one series, by field."""
        rest = iter(columns)
        return {
            field.name: Summary(**{one.value: next(rest) for one in field.aggregates})
            for field in self._fields
        }


class _Collected:
    """Turns rows, in order of their buckets, into columns."""

    def __init__(self, first: int, max_rows: int) -> None:
        """``first``: the index of the first column that is neither time nor key."""
        self._first = first
        self._max_rows = max_rows
        self._rows = 0
        self.found: _Buckets = {}
        self._pending: list[Any] = []
        """The rows of the newest bucket, which may have more."""

    def add(self, records: Sequence[Any]) -> int | None:
        """Adds rows; returns the first bucket that did not fit, if any."""
        for record in records:
            if self._pending and record[0] != self._pending[0][0]:
                cut_us = self.flush()
                if cut_us is not None:
                    return cut_us
            self._pending.append(record)
        return None

    def flush(self) -> int | None:
        """Adds the newest bucket, which is complete; returns it if it did not fit."""
        if not self._pending:
            return None
        if self._rows and self._rows + len(self._pending) > self._max_rows:
            return int(self._pending[0][0])
        for record in self._pending:
            key = tuple(record[1 : self._first])
            columns = self.found.get(key)
            if columns is None:
                columns = self.found[key] = [[] for _ in range(1 + len(record) - self._first)]
            columns[0].append(1000 * record[0])
            for column, value in zip(columns[1:], record[self._first :], strict=True):
                column.append(value)
        self._rows += len(self._pending)
        self._pending = []
        return None


def columns_in(fields: Sequence[MetricField]) -> int:
    """Number of columns that the answer has for these fields."""
    return sum(len(field.aggregates) for field in fields)


def _expression(field: MetricField, aggregate: Aggregate, tier: Tier, *, stored: bool) -> str:
    """SQL for one aggregate of a bucket; ``stored``: the bucket is a row of the tier."""
    if tier is Tier.RAW:
        column = total = quoted(field.name)
        count = f"count({column})"
    else:
        column = quoted(f"{field.name}_{aggregate}")
        total = quoted(f"{field.name}_{Suffix.SUM}")
        count = quoted(f"{field.name}_{Suffix.COUNT}")
        if stored:
            return f"{total} / nullif({count}, 0)" if aggregate is Aggregate.AVG else column
        count = f"sum({count})::double precision"
    match aggregate:
        case Aggregate.AVG:
            return f"sum({total}::double precision) / nullif({count}, 0)"
        case Aggregate.LAST:
            newest = f"array_agg({column} ORDER BY {TIME} DESC) FILTER (WHERE {column} IS NOT NULL)"
            return f"({newest})[1]"
        case _:
            return f"{aggregate}({column})"
