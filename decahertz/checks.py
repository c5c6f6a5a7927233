"""Validates a collector's samples before they are published.

Rejects and counts samples of the wrong type, with an invalid value or with a duplicate key; the others pass.
The valid case has to be fast (a thousand samples of fourteen metrics, ten times a second), so a batch is
first validated as a whole, by functions that run in C, and bisected only if that fails.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from decahertz.key_budget import DEFAULT_MAX_KEYS
from decahertz.sample import MetricField, Sample, SampleSchema

# The bounds reject NaN, infinities, and integers of more than eight bytes.
_Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_TYPES: dict[type, Any] = {float: _Finite, int: _Integer, bool: bool}
# The rules of ``decahertz.event.Name``.
_INNER = r"\x00-\x1f\ud800-\udfff"
_KEY = re.compile(rf"[^\s{_INNER}](?:[^{_INNER}]*[^\s{_INNER}])?")
_MAX_KEY_LENGTH = 256
_MAX_PROBLEM_LENGTH = 500


class Reason(StrEnum):
    """Reason for rejecting a sample."""

    TYPE = "type"
    """Not of the declared sample type."""
    VALUE = "value"
    """A value is NaN, infinite, out of range or not of the declared type."""
    KEY = "key"
    """A part of the key is not a valid name: empty, too long, or with a control character."""
    OVER_BUDGET = "over_budget"
    """More samples than the collector's key budget."""
    DUPLICATE = "duplicate"
    """An earlier sample of the batch has the same key."""


class CheckResult(NamedTuple):
    """The valid samples, and the number of rejected ones."""

    samples: tuple[Sample, ...]
    dropped: Counter[Reason]
    problem: str
    """The problem of the first rejected sample; empty if all are valid."""


class SampleCheck:
    """Validates the batches of one collector. Keys of the previous batch are not validated again."""

    def __init__(self, schema: SampleSchema, max_keys: int = DEFAULT_MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._type = schema.type
        # The type of a state says everything: it is checked apart, in less time.
        hints = {metric.name: Any if metric.states else _hint(metric) for metric in schema.metrics}
        names = self._type.__struct_fields__
        self._names = names
        row = tuple(hints.get(name, str) for name in names)
        rows: Any = list[tuple[row]]  # type: ignore[valid-type] # created at run time
        # A struct, as msgspec analyses any other type again on each call.
        self._batch: Any = msgspec.defstruct("_Batch", [("rows", rows)])
        self._states = [
            (m, attrgetter(m.name), {m.type, type(None)} if m.optional else {m.type})
            for m in schema.metrics
            if m.states
        ]
        self._key = _key_getter(schema.key)
        self._known: AbstractSet[object] = set()
        """Keys of the previous batch."""
        self._key_columns = [attrgetter(name) for name in schema.key]
        self._known_columns: list[list[object]] = []
        """The same by field, if each sample of that batch was valid; empty if not."""

    def __call__(self, samples: Iterable[Sample]) -> CheckResult:
        """Validates the samples that ``sample`` returned; errors of iterating over them propagate."""
        returned = tuple(samples)
        dropped: Counter[Reason] = Counter()
        problems: list[str] = []
        if len(returned) > self._max_keys:
            dropped[Reason.OVER_BUDGET] = len(returned) - self._max_keys
            problems.append(f"{len(returned):,} samples, more than the key budget of {self._max_keys:,}")
            returned = returned[: self._max_keys]
        valid, keys = returned, None
        if self._has_valid_values(returned):
            # Mostly the same strings, which compare fast: nothing is hashed.
            columns = [[*map(column, returned)] for column in self._key_columns]
            if columns and columns == self._known_columns and not problems:
                return CheckResult(returned, dropped, "")
            keys = self._valid_keys(returned)
            self._known_columns = columns if keys is not None and len(keys) == len(returned) else []
        if keys is None:
            self._known_columns = []
            valid = tuple(self._valid_ones(returned, dropped, problems))
            keys = {*map(self._key, valid)}
        if len(keys) < len(valid):
            valid, duplicates = self._without_duplicates(valid)
            dropped[Reason.DUPLICATE] += len(duplicates)
            problems.append(f"two samples have the key {duplicates[0]!r}")
        self._known = keys
        return CheckResult(valid, dropped, problems[0][:_MAX_PROBLEM_LENGTH] if problems else "")

    def _has_valid_values(self, samples: Sequence[Sample]) -> bool:
        """Whether all samples are valid, apart from their keys."""
        # To count identical types takes a quarter of the time that a set of them takes.
        if [*map(type, samples)].count(self._type) < len(samples):
            return False
        try:
            msgspec.convert({"rows": [*map(msgspec.structs.astuple, samples)]}, self._batch)
        except msgspec.ValidationError:
            return False
        return all(
            sum(map([*map(type, map(get, samples))].count, types)) == len(samples)
            for _, get, types in self._states
        )

    def _valid_keys(self, samples: Sequence[Sample]) -> set[object] | None:
        """The keys of samples with valid values; ``None`` if one of them is not a valid name."""
        keys = {*map(self._key, samples)}
        return keys if all(map(_is_key, keys - self._known)) else None

    def _valid_ones(
        self,
        samples: Sequence[Sample],
        dropped: Counter[Reason],
        problems: list[str],
    ) -> Iterator[Sample]:
        """Bisect: one invalid sample among a thousand takes twenty validations, not a thousand."""
        if len(samples) == 1:
            reason, problem = self._describe(samples[0])
            dropped[reason] += 1
            problems.append(problem)
            return
        middle = len(samples) // 2
        for half in (samples[:middle], samples[middle:]):
            if self._has_valid_values(half) and self._valid_keys(half) is not None:
                yield from half
            else:
                yield from self._valid_ones(half, dropped, problems)

    def _without_duplicates(self, samples: Sequence[Sample]) -> tuple[tuple[Sample, ...], list[object]]:
        first: dict[object, Sample] = {}
        duplicates = []
        for sample in samples:
            key = self._key(sample)
            if key in first:
                duplicates.append(key)
            else:
                first[key] = sample
        return tuple(first.values()), duplicates

    def _describe(self, sample: Sample) -> tuple[Reason, str]:
        """Describes the problem of an invalid sample."""
        if type(sample) is not self._type:
            return Reason.TYPE, f"{type(sample).__name__} instead of {self._type.__name__}"
        try:
            msgspec.convert({"rows": [msgspec.structs.astuple(sample)]}, self._batch)
        except msgspec.ValidationError as error:
            return Reason.VALUE, f"{self._with_name(str(error))}: {sample!r}"
        for metric, get, types in self._states:
            if type(get(sample)) not in types:
                return Reason.VALUE, f"{metric.name} is not a {metric.type.__name__}: {sample!r}"
        return Reason.KEY, f"the key {self._key(sample)!r} is not a valid name"

    def _with_name(self, message: str) -> str:
        """Replaces the path ``$.rows[0][3]`` in a message by the name of the field."""
        return re.sub(r"`\$\.rows\[0\]\[(\d+)\]`", lambda found: f"`{self._names[int(found[1])]}`", message)


def _hint(metric: MetricField) -> Any:  # noqa: ANN401 - a type for msgspec
    hint = _TYPES.get(metric.type, metric.type)
    return hint | None if metric.optional else hint


def _key_getter(key: Sequence[str]) -> Callable[[Any], object]:
    return attrgetter(*key) if key else lambda _sample: ()


def _is_key(key: object) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return all(len(part) <= _MAX_KEY_LENGTH and _KEY.fullmatch(part) for part in parts)
