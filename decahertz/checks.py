"""What a collector returned, looked at before anybody else has to deal with it.

A sample of the wrong type, with a value that nothing downstream can take, or with a key that another one
has already, is left out and counted; the rest pass. The good case is what costs: a thousand samples of
fourteen metrics, ten times a second. Therefore a batch is first looked at as a whole, by functions that
run in C, and sample by sample only when that finds something.
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

from decahertz.sample import MetricField, Sample, SampleSchema

# The bounds refuse NaN and the infinities, and integers beyond a database's eight bytes.
_Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_TYPES: dict[type, Any] = {float: _Finite, int: _Integer, bool: bool}
# As the names of events: a segment of a topic.
_INNER = r":*\x00-\x1f\ud800-\udfff"
_KEY = re.compile(rf"[^\s{_INNER}](?:[^{_INNER}]*[^\s{_INNER}])?")
_LONGEST_KEY = 256
_LONGEST_PROBLEM = 500


class Reason(StrEnum):
    """Why a sample was left out."""

    TYPE = "type"
    """It is not of the collector's declared sample type."""
    VALUE = "value"
    """A value is NaN, infinite, out of range or of another type than declared."""
    KEY = "key"
    """A part of the key cannot stand in a topic: empty, too long, with a colon or an asterisk."""
    DUPLICATE = "duplicate"
    """Another sample of the same batch has the same key; the first one stands."""


class Checked(NamedTuple):
    """The samples that pass, and what happened to the others."""

    samples: tuple[Sample, ...]
    dropped: Counter[Reason]
    problem: str
    """What is wrong with the first one that was left out; empty when all passed."""


class SampleCheck:
    """Checks the batches of one collector. Keys seen in the batch before are not looked at again."""

    def __init__(self, schema: SampleSchema) -> None:
        """Derive from the declaration what a sample has to look like."""
        self._type = schema.type
        hints = {metric.name: _hint(metric) for metric in schema.metrics}
        names = self._type.__struct_fields__
        self._names = names
        row = tuple(hints.get(name, str) for name in names)
        self._rows: Any = list[tuple[row]]  # type: ignore[valid-type] # made at run time
        self._states = [(m, attrgetter(m.name)) for m in schema.metrics if m.states]
        self._key = _key_getter(schema.key)
        self._known: AbstractSet[object] = set()

    def __call__(self, samples: Iterable[Sample]) -> Checked:
        """Take what ``sample`` returned; an error that iterating over it raises is not caught."""
        taken = tuple(samples)
        dropped: Counter[Reason] = Counter()
        problems: list[str] = []
        sound = taken if self._all_sound(taken) else tuple(self._sound_ones(taken, dropped, problems))
        keys = {*map(self._key, sound)}
        if len(keys) < len(sound):
            sound, doubles = self._first_ones(sound)
            dropped[Reason.DUPLICATE] += len(doubles)
            problems.append(f"two samples have the key {doubles[0]!r}")
        self._known = keys
        return Checked(sound, dropped, problems[0][:_LONGEST_PROBLEM] if problems else "")

    def _all_sound(self, samples: Sequence[Sample]) -> bool:
        """Whether all of them pass, duplicates aside."""
        if not {*map(type, samples)} <= {self._type}:
            return False
        try:
            msgspec.convert([msgspec.structs.astuple(sample) for sample in samples], self._rows)
        except msgspec.ValidationError:
            return False
        for metric, get in self._states:
            if not {*map(type, map(get, samples))} <= {metric.type, type(None)}:
                return False
        return all(map(_is_key, {*map(self._key, samples)} - self._known))

    def _sound_ones(
        self,
        samples: Sequence[Sample],
        dropped: Counter[Reason],
        problems: list[str],
    ) -> Iterator[Sample]:
        """Halve again and again: one bad sample among a thousand takes twenty looks, not a thousand."""
        if len(samples) == 1:
            reason, problem = self._examine(samples[0])
            dropped[reason] += 1
            problems.append(problem)
            return
        middle = len(samples) // 2
        for half in (samples[:middle], samples[middle:]):
            if self._all_sound(half):
                yield from half
            else:
                yield from self._sound_ones(half, dropped, problems)

    def _first_ones(self, samples: Sequence[Sample]) -> tuple[tuple[Sample, ...], list[object]]:
        first: dict[object, Sample] = {}
        doubles = []
        for sample in samples:
            key = self._key(sample)
            if first.setdefault(key, sample) is not sample:
                doubles.append(key)
        return tuple(first.values()), doubles

    def _examine(self, sample: Sample) -> tuple[Reason, str]:
        """What is wrong with a sample that does not pass."""
        if type(sample) is not self._type:
            return Reason.TYPE, f"{type(sample).__name__} instead of {self._type.__name__}"
        try:
            msgspec.convert([msgspec.structs.astuple(sample)], self._rows)
        except msgspec.ValidationError as error:
            return Reason.VALUE, f"{self._with_name(str(error))}: {sample!r}"
        for metric, get in self._states:
            if type(get(sample)) not in (metric.type, type(None)):
                return Reason.VALUE, f"{metric.name} is not a {metric.type.__name__}: {sample!r}"
        return Reason.KEY, f"the key {self._key(sample)!r} cannot stand in a topic"

    def _with_name(self, message: str) -> str:
        """``… at `$[0][3]` `` says which field only to somebody who counts."""
        return re.sub(r"`\$\[0\]\[(\d+)\]`", lambda found: f"`{self._names[int(found[1])]}`", message)


def _hint(metric: MetricField) -> Any:  # noqa: ANN401 - a type for msgspec
    hint = _TYPES.get(metric.type, metric.type)
    return hint | None if metric.optional else hint


def _key_getter(key: Sequence[str]) -> Callable[[Any], object]:
    return attrgetter(*key) if key else lambda _sample: ()


def _is_key(key: object) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return all(len(part) <= _LONGEST_KEY and _KEY.fullmatch(part) for part in parts)
