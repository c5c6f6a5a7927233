"""Histories of samples: as they were taken, or in buckets of the tier that suits.

Times are integer nanoseconds UTC and ranges are ``[start, end)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
from msgspec import Struct

from decahertz.sample import MetricField, SampleSchema
from storage.query.buckets import BucketQuery, Summary, columns_in
from storage.query.resolution import ResolutionRequest, finest_kept, resolve
from storage.query.samples import SampleQuery, Value
from storage.query.tier_catalogue import TierCatalogue
from storage.tiers.names import Tier

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from storage.database import Database
    from storage.settings import RetentionSettings

AS_TAKEN = ResolutionRequest(tier=Tier.RAW)
"""The samples as they were taken."""


class UnknownFieldError(ValueError):
    """A history was asked for a field or a key that the sample does not have."""


class Series(Struct, frozen=True, kw_only=True):
    """The samples of one key, in columns sorted by time. All lists have the same length."""

    key: dict[str, str]
    time_ns: list[int]
    """The instants of the samples, or where the buckets begin."""
    fields: dict[str, list[Value] | Summary]
    """By metric: its values where samples are answered, their summary where buckets are."""


class History(Struct, frozen=True, kw_only=True):
    """An answer of samples."""

    tier: Tier
    """What it was made from: `raw` are the samples as they were taken."""
    step_ns: int | None = None
    """The width of the buckets; null: the samples as they were taken."""
    series: list[Series]
    """Sorted by key; a key without a sample in the range is left out."""
    next_start_ns: int | None = None
    """Set when the row cap cut the answer: ask again from here for the rest."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an answer may be; about, because an instant or bucket is never cut apart."""

    rows: int = 200_000
    values: int = 2_000_000

    def rows_of(self, columns: int) -> int:
        """How many rows of so many columns, the time included, an answer may have."""
        return max(1, min(self.rows, self.values // columns))


@dataclass(frozen=True, slots=True)
class _Asked:
    schema: SampleSchema
    fields: tuple[MetricField, ...]
    key_filter: Mapping[str, Sequence[str]]
    span: tuple[int, int]
    request: ResolutionRequest
    limits: Limits


class Histories:
    """Answers histories from the database."""

    def __init__(
        self, database: Database, clock: Clock | None = None, retention: RetentionSettings | None = None
    ) -> None:
        """Without ``clock`` and ``retention`` nothing is taken to have been dropped."""
        self._database = database
        self._clock = clock
        self._retention = retention
        self._tiers = TierCatalogue()

    async def history(
        self,
        schema: SampleSchema,
        fields: Sequence[str],
        key_filter: Mapping[str, Sequence[str]],
        span: tuple[int, int],
        *,
        request: ResolutionRequest,
        limits: Limits,
    ) -> History:
        """Samples of the schema in the range ``span``, ``[start, end)``, grouped by key.

        ``fields`` are metric names (none: all of them), ``key_filter`` allowed values by key field,
        ``request`` says how finely (see :mod:`storage.query.resolution`). Buckets are answered whole
        where they touch the range. Where the answer is cut, it is at an instant or bucket; one that
        alone is beyond the limits
        is answered whole. Raises :class:`UnknownFieldError`.
        """
        by_name = {field.name: field for field in schema.metrics}
        names = tuple(fields) or tuple(by_name)
        _check_names(schema, names, key_filter)
        asked = _Asked(schema, tuple(by_name[name] for name in names), key_filter, span, request, limits)
        try:
            return await self._answer(asked)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
            self._tiers.forget(schema)  # a tier is gone or has changed since it was looked at
            return await self._answer(asked)

    async def _answer(self, asked: _Asked) -> History:
        schema, span = asked.schema, asked.span
        columns: dict[tuple[str, ...], dict[str, list[Value] | Summary]]
        async with self._database.query() as connection:
            kept = await self._tiers.of(connection, schema) if asked.request != AS_TAKEN else ()
            resolution = resolve(*span, asked.request, kept, self._finest(span[0]))
            if resolution.step_ns is None:
                names = [field.name for field in asked.fields]
                rows = asked.limits.rows_of(1 + len(names))
                samples = SampleQuery(schema, names, asked.key_filter)
                found, next_start_ns = await samples.ask(connection, *span, rows)
                columns = {key: dict(zip(names, lists[1:], strict=True)) for key, lists in found.items()}
            else:
                rows = asked.limits.rows_of(1 + columns_in(asked.fields))
                buckets = BucketQuery(schema, asked.fields, asked.key_filter, resolution)
                found, next_start_ns = await buckets.ask(connection, *span, rows)
                columns = {key: {**buckets.named(lists[1:])} for key, lists in found.items()}
        series = [
            Series(key=dict(zip(schema.key, key, strict=True)), time_ns=found[key][0], fields=columns[key])
            for key in sorted(found)
        ]
        return History(
            tier=resolution.tier, step_ns=resolution.step_ns, series=series, next_start_ns=next_start_ns
        )

    def _finest(self, start_ns: int) -> Tier:
        """The finest tier of which nothing was dropped yet since ``start_ns``."""
        if self._clock is None or self._retention is None:
            return Tier.RAW
        return finest_kept(self._clock.time_ns() - start_ns, self._retention)


def _check_names(schema: SampleSchema, fields: Sequence[str], key_filter: Mapping[str, object]) -> None:
    metrics = {field.name for field in schema.metrics}
    for name in fields:
        if name not in metrics:
            raise UnknownFieldError(f"{schema.collector} has no metric {name!r}")
    for name in key_filter:
        if name not in schema.key:
            raise UnknownFieldError(f"{name!r} is not part of the key of {schema.collector}")
