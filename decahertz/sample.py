"""Samples: the state of one thing (an instrument, a strategy, a host) at one cycle of the grid.

    class MarketSample(Sample, frozen=True, kw_only=True):
        collector: ClassVar[str] = "market"
        key: ClassVar[tuple[str, ...]] = ("venue", "instrument")
        venue: str
        instrument: str
        spread_bps: Annotated[float | None, Metric("Bid-ask spread over mid.", unit=Unit.BASIS_POINTS)]
        gaps: Annotated[int, Metric("Sequence gaps seen.", kind=Kind.COUNTER)]

Key fields are strings. Metric fields are ``int``, ``float``, ``bool`` or a ``StrEnum`` (for
``Kind.STATE``), each with ``| None`` if a value can be absent. A sample has no time of its own: all samples
that a collector returns for one cycle travel in one :class:`SampleBatch`.
"""

from __future__ import annotations

import enum
import re
import types
import typing
from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar, Union, get_args, get_origin

import msgspec

from decahertz.metric import NEWEST, Aggregate, Kind, Metric
from decahertz.topic import segment

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MAX_NAME_LENGTH = 48  # fits the 63 bytes of PostgreSQL with prefix, unit and suffix
_RESERVED = frozenset({"recorder", "time", "time_ns"})


class Sample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all samples. Subclasses declare ``collector``, ``key`` and their fields.

    Values must be finite: a missing value is ``None``, never NaN or a sentinel.
    """

    collector: ClassVar[str] = ""
    key: ClassVar[tuple[str, ...]] = ()


class SampleDeclarationError(TypeError):
    """Raised for an invalid declaration of a sample type."""


@dataclass(frozen=True, slots=True)
class MetricField:
    """One metric of a sample type.

    ``type`` is ``int``, ``float``, ``bool`` or a subclass of ``StrEnum``.
    """

    name: str
    metric: Metric
    type: type
    optional: bool

    @property
    def states(self) -> tuple[str, ...]:
        """The values of a state in order of declaration; empty for numbers."""
        if issubclass(self.type, enum.StrEnum):
            return tuple(member.value for member in self.type)
        return ()

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """The aggregates that tiers keep: those declared of a numeric gauge, of others the last value."""
        is_numeric = self.metric.kind is Kind.GAUGE and self.type is not bool
        return tuple(one for one in Aggregate if one in self.metric.aggregates) if is_numeric else NEWEST


@dataclass(frozen=True, slots=True)
class SampleSchema:
    """Declaration of a sample type, in a form to derive from."""

    collector: str
    key: tuple[str, ...]
    metrics: tuple[MetricField, ...]
    type: type[Sample]

    def key_of(self, sample: Sample) -> tuple[str, ...]:
        """The key of one sample, in the order of ``key``."""
        return tuple(getattr(sample, name) for name in self.key)

    def topic_of(self, sample: Sample) -> str:
        """The WebSocket topic of one sample: ``metrics:{collector}:{key…}``."""
        return ":".join(("metrics", self.collector, *map(segment, self.key_of(sample))))


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """The samples of one collector at one cycle."""

    schema: SampleSchema
    time_ns: int
    """Start of the cycle, nanoseconds since the Unix epoch, UTC; a multiple of 100 ms."""
    samples: tuple[Sample, ...]


def schema_of(sample_type: type[Sample]) -> SampleSchema:
    """Reads the declaration of a sample type.

    Raises :class:`SampleDeclarationError`, which names the field and the problem.
    """
    if not (isinstance(sample_type, type) and issubclass(sample_type, Sample)):
        where = getattr(sample_type, "__name__", repr(sample_type))
        raise SampleDeclarationError(f"{where} is not a subclass of Sample")
    return _read_schema(sample_type)


@cache  # reading takes milliseconds
def _read_schema(sample_type: type[Sample]) -> SampleSchema:
    where = sample_type.__name__
    _check_name(where, "collector", sample_type.collector)
    hints = typing.get_type_hints(sample_type, include_extras=True)
    fields = {name: hints[name] for name in sample_type.__struct_fields__}
    for name in sample_type.key:
        if fields.get(name) is not str:
            raise SampleDeclarationError(f"{where}.{name}: a key field must be declared as str")
        _check_name(where, "key field", name)
    if len(set(sample_type.key)) < len(sample_type.key):
        raise SampleDeclarationError(f"{where}: a field occurs twice in the key {sample_type.key}")
    metrics = tuple(
        _metric_field(where, name, hint) for name, hint in fields.items() if name not in sample_type.key
    )
    if not metrics:
        raise SampleDeclarationError(f"{where} declares no metric")
    return SampleSchema(sample_type.collector, sample_type.key, metrics, sample_type)


def _check_name(where: str, what: str, name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME_LENGTH or name in _RESERVED:
        raise SampleDeclarationError(
            f"{where}: {what} {name!r} must be snake_case, have at most {_MAX_NAME_LENGTH}"
            f" characters, and not be one of {sorted(_RESERVED)}",
        )


def _metric_field(where: str, name: str, hint: object) -> MetricField:
    _check_name(where, "field", name)
    metric = None
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        metric = next((extra for extra in extras if isinstance(extra, Metric)), None)
    if metric is None:
        raise SampleDeclarationError(f"{where}.{name} is neither a key nor annotated with a Metric")
    optional = False
    if get_origin(hint) in (Union, types.UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        optional = len(options) < len(get_args(hint))
        hint = options[0] if len(options) == 1 else None
    is_state = isinstance(hint, type) and issubclass(hint, enum.StrEnum)
    if not is_state and hint not in (int, float, bool):
        raise SampleDeclarationError(
            f"{where}.{name}: a metric is an int, float, bool or StrEnum, or one of them | None",
        )
    if is_state != (metric.kind is Kind.STATE):
        raise SampleDeclarationError(f"{where}.{name}: use Kind.STATE with a StrEnum, and only then")
    if metric.kind is Kind.COUNTER and (optional or hint is bool):
        raise SampleDeclarationError(f"{where}.{name}: a counter must be an int or float and never None")
    if metric.extremes and metric.kind is not Kind.GAUGE:
        raise SampleDeclarationError(f"{where}.{name}: only a gauge has extremes")
    if Aggregate.LAST not in metric.aggregates:
        raise SampleDeclarationError(f"{where}.{name}: the aggregates of every metric include the last value")
    assert isinstance(hint, type)  # noqa: S101 - narrowed above, for the type checker
    return MetricField(name, metric, hint, optional)
