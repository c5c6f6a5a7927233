"""Histories of samples: raw, or in buckets of the tier that fits.

Times are integer nanoseconds UTC and ranges are ``[start, end)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
from msgspec import Struct

from decahertz.sample import MetricField, SampleSchema
from storage.query.history.buckets import BucketQuery, Summary, columns_in
from storage.query.history.raw_samples import SampleQuery, Value
from storage.query.history.resolution import ResolutionRequest, finest_kept, resolve
from storage.query.history.tier_catalogue import TierCatalogue
from storage.schema.samples import key_columns
from storage.tiers.names import Tier

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from storage.database import Database
    from storage.settings import RetentionSettings

RAW = ResolutionRequest(tier=Tier.RAW)
"""The raw samples."""


class UnknownFieldError(ValueError):
    """Raised for a field or a key that the sample does not have."""


class Series(Struct, frozen=True, kw_only=True):
    """The samples of one recorder and key, in columns sorted by time. All lists have the same length."""

    key: dict[str, str]
    """`recorder`, and the key of the sample."""
    time_ns: list[int]
    """The cycles of the samples, or the starts of the buckets."""
    fields: dict[str, list[Value] | Summary]
    """By metric: its values, or their summary when the answer is in buckets."""


class History(Struct, frozen=True, kw_only=True):
    """A history of samples."""

    tier: Tier
    """The tier that it was read from; `raw` is the samples themselves."""
    step_ns: int | None = None
    """The width of the buckets; null: raw samples."""
    series: list[Series]
    """Sorted by key; keys without a sample in the range are left out."""
    next_start_ns: int | None = None
    """Set when the row limit cut the answer: query again from here for the rest."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Size limits of an answer; approximate, because a cycle or bucket is never split."""

    rows: int = 200_000
    values: int = 2_000_000

    def rows_of(self, columns: int) -> int:
        """Rows that an answer with this number of columns, time included, may have."""
        return max(1, min(self.rows, self.values // columns))


@dataclass(frozen=True, slots=True)
class _Request:
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
        """Without ``clock`` and ``retention`` every tier counts as complete."""
        self._database = database
        self._clock = clock
        self._retention = retention
        self._tiers = TierCatalogue()

    async def history(
        self,
        schema: SampleSchema,
        fields: Sequence[str],
        key_filter: Mapping[str, Sequence[str]],
        start_ns: int,
        end_ns: int,
        *,
        request: ResolutionRequest = RAW,
        limits: Limits = Limits(),
    ) -> History:
        """Samples of the schema in the range ``[start, end)``, grouped by key.

        ``fields`` are metric names (none: all of them), ``key_filter`` allowed values of ``recorder`` and of
        the key's fields, ``request`` the resolution (:mod:`storage.query.history.resolution`). Buckets
        that touch the range are answered whole. An answer is cut between cycles or buckets; one that exceeds
        the limits by itself is answered whole. Raises :class:`UnknownFieldError`.
        """
        by_name = {field.name: field for field in schema.metrics}
        names = tuple(fields) or tuple(by_name)
        _check_names(schema, names, key_filter)
        chosen = tuple(by_name[name] for name in names)
        query = _Request(schema, chosen, key_filter, (start_ns, end_ns), request, limits)
        try:
            return await self._answer(query)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
            self._tiers.forget(schema)  # a tier was dropped or changed since it was looked up
            return await self._answer(query)

    async def _answer(self, query: _Request) -> History:
        schema, span = query.schema, query.span
        columns: dict[tuple[str, ...], dict[str, list[Value] | Summary]]
        async with self._database.query() as connection:
            kept = await self._tiers.of(connection, schema) if query.request != RAW else ()
            resolution = resolve(*span, query.request, kept, self._finest(span[0]))
            is_plain = await self._tiers.is_packed(connection, schema)
            if resolution.step_ns is None:
                names = [field.name for field in query.fields]
                rows = query.limits.rows_of(1 + len(names))
                samples = SampleQuery(schema, names, query.key_filter, packed=is_plain)
                found, next_start_ns = await samples.run(connection, *span, rows)
                columns = {key: dict(zip(names, lists[1:], strict=True)) for key, lists in found.items()}
            else:
                rows = query.limits.rows_of(1 + columns_in(query.fields))
                buckets = BucketQuery(schema, query.fields, query.key_filter, resolution, plain=is_plain)
                found, next_start_ns = await buckets.run(connection, *span, rows)
                columns = {key: {**buckets.named(lists[1:])} for key, lists in found.items()}
        key_names = key_columns(schema)
        series = [
            Series(key=dict(zip(key_names, key, strict=True)), time_ns=found[key][0], fields=columns[key])
            for key in sorted(found)
        ]
        return History(
            tier=resolution.tier, step_ns=resolution.step_ns, series=series, next_start_ns=next_start_ns
        )

    def _finest(self, start_ns: int) -> Tier:
        """The finest tier that still reaches back to ``start_ns``."""
        if self._clock is None or self._retention is None:
            return Tier.RAW
        return finest_kept(self._clock.time_ns() - start_ns, self._retention)


def _check_names(schema: SampleSchema, fields: Sequence[str], key_filter: Mapping[str, object]) -> None:
    metrics = {field.name for field in schema.metrics}
    for name in fields:
        if name not in metrics:
            raise UnknownFieldError(f"{schema.collector} has no metric {name!r}")
    for name in key_filter:
        if name not in key_columns(schema):
            raise UnknownFieldError(f"{name!r} is not part of the key of {schema.collector}")
