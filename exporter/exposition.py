"""Renders samples as exposition lines, fast.

Between two scrapes only the values change; the text before them stays the same until a key appears or is
retired. So the prefixes are cached, with the constant label of the recorder in them. The values of a family
are encoded as one JSON list, which takes a few nanoseconds each, split at the commas and interleaved with the
prefixes.

JSON writes numbers as Prometheus reads them: the shortest form that parses to the same double, exponents as
in ``1e22``, integers in full. A missing value is ``null``, and its series is omitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec

from decahertz.metric import Kind
from decahertz.sample import Sample, SampleBatch, SampleSchema
from exporter.extremes import Extremes, Frozen
from exporter.family import RECORDER_LABEL, Family, colliding, families_of, label_pairs
from exporter.negotiation import Format

CHUNK_SERIES = 2_000
"""Series per chunk: a few tenths of a millisecond of work."""

_ENCODER = msgspec.json.Encoder()
_NULL = b"null"


class Exposition:
    """Keeps the newest batch of each collector and renders it, with a constant label for the recorder.

    Families come in the order of the schemas and their fields. A family whose name an earlier one claims is
    omitted and listed in ``colliding``.
    """

    def __init__(self, schemas: Sequence[SampleSchema], recorder: str, window_ns: int) -> None:
        """``window_ns`` is the trailing window of the extremes."""
        families = {schema.collector: families_of(schema) for schema in schemas}
        self.colliding = colliding(family for group in families.values() for family in group)
        self._renderers = {
            schema.collector: _CollectorRenderer(
                schema,
                tuple(f for f in families[schema.collector] if f not in self.colliding),
                recorder,
                window_ns,
            )
            for schema in schemas
        }

    @property
    def collectors(self) -> tuple[str, ...]:
        """Names of the collectors, in order of their schemas."""
        return tuple(self._renderers)

    def take(self, batch: SampleBatch, now_ns: int) -> None:
        """Takes the batch of a cycle; ``now_ns`` is monotonic. Every key that is missing from it ends."""
        renderer = self._renderers.get(batch.schema.collector)
        if renderer is not None:
            renderer.take(batch.samples, now_ns)

    def freeze(self) -> dict[str, Frame]:
        """Returns the samples and extremes of all collectors, for one scrape."""
        frames = {name: renderer.freeze() for name, renderer in self._renderers.items()}
        return {name: frame for name, frame in frames.items() if frame is not None}

    def render(
        self, collector: str, frame: Frame, form: Format, taken: Collection[str] = ()
    ) -> Iterator[bytes]:
        """Yields the lines of one collector in chunks of at most :data:`CHUNK_SERIES` series.

        Families that claim a name in ``taken`` are omitted.
        """
        return self._renderers[collector].render(frame, form, taken)


class _KeyLabels:
    """Cached text of one key."""

    __slots__ = ("pairs", "states")

    def __init__(self, pairs: bytes) -> None:
        self.pairs = pairs
        """Labels, escaped, without the braces."""
        self.states: dict[tuple[bytes, str | None], bytes] = {}
        """Lines of a family of states, by series and current state."""


class _KeySet:
    """Cached text that stays valid as long as the keys are the same."""

    __slots__ = ("_prefixes", "keys", "labels")

    def __init__(self, keys: list[Any], labels: dict[Any, _KeyLabels]) -> None:
        self.keys = keys
        """As they came: a key may be there twice."""
        self.labels = labels
        self._prefixes: dict[bytes, list[bytes]] = {}

    def prefixes(self, family: Family) -> list[bytes]:
        """Text before the value, by key; starts with a line break."""
        prefixes = self._prefixes.get(family.series)
        if prefixes is None:
            start = b"\n" + family.series
            prefixes = [b"%b{%b} " % (start, labels.pairs) for labels in self.labels.values()]
            self._prefixes[family.series] = prefixes
        return prefixes


@dataclass(frozen=True, slots=True)
class Frame:
    """Samples and extremes of one collector for one scrape; later cycles do not change them."""

    key_set: _KeySet
    samples: Sequence[Sample]
    extremes: dict[str, Frozen]


class _CollectorRenderer:
    """Renders the families of one sample type."""

    def __init__(
        self, schema: SampleSchema, families: tuple[Family, ...], recorder: str, window_ns: int
    ) -> None:
        self._recorder = recorder
        self._names = (RECORDER_LABEL, *schema.key)
        self._families = families
        self._key_of: Callable[[Sample], Any] = attrgetter(*schema.key) if schema.key else lambda _: ()
        self._value_of = {family.series: attrgetter(family.field.name) for family in families}
        self._is_single = len(schema.key) == 1
        self._key_set = _KeySet([], {})
        self._samples: Sequence[Sample] | None = None
        self._window_ns = window_ns
        self._flagged = dict.fromkeys(family.field.name for family in families if family.extreme)
        self._extremes = Extremes(self._flagged, window_ns)

    def take(self, samples: Sequence[Sample], now_ns: int) -> None:
        self._samples = None  # while a batch cannot be taken, nothing is shown
        try:
            self._samples = self._taken(samples, now_ns)
        except BaseException:
            self._key_set = _KeySet([], {})
            self._extremes = Extremes(self._flagged, self._window_ns)
            raise

    def _taken(self, samples: Sequence[Sample], now_ns: int) -> Sequence[Sample]:
        """Updates keys and extremes; returns the last sample of each key."""
        keys = list(map(self._key_of, samples))
        if keys != self._key_set.keys:
            # Labels of keys that are still present carry over; those of retired keys are dropped.
            known = self._key_set.labels
            labels = {key: known.get(key) or self._key_labels(key) for key in keys}
            positions = {key: position for position, key in enumerate(known)}
            self._extremes.realign([positions.get(key, -1) for key in labels], now_ns)
            self._key_set = _KeySet(keys, labels)
        if len(self._key_set.labels) != len(keys):
            samples = list(dict(zip(keys, samples, strict=True)).values())
        self._extremes.take(samples, now_ns)
        return samples

    def freeze(self) -> Frame | None:
        if self._samples is None:
            return None
        return Frame(self._key_set, self._samples, self._extremes.freeze())

    def render(self, frame: Frame, form: Format, taken: Collection[str]) -> Iterator[bytes]:
        for family in self._families:
            if not family.names.isdisjoint(taken):
                continue
            header = family.headers[form]
            lines = self._state_lines if family.field.metric.kind is Kind.STATE else self._number_lines
            for chunk in lines(family, frame):
                if chunk:  # starts with a line break, which ends the header or is dropped
                    yield b"%b%b\n" % (header, chunk) if header else chunk[1:] + b"\n"
                    header = b""

    def _key_labels(self, key: Any) -> _KeyLabels:  # noqa: ANN401 - a string, or a tuple of strings
        values = (key,) if self._is_single else key
        return _KeyLabels(label_pairs(self._names, (self._recorder, *values)))

    def _number_lines(self, family: Family, frame: Frame) -> Iterator[bytes]:
        prefixes = frame.key_set.prefixes(family)
        value_of = self._value_of[family.series]
        extreme = family.extreme and frame.extremes[family.field.name](family.extreme)
        for start in range(0, len(prefixes), CHUNK_SERIES):
            end = start + CHUNK_SERIES
            values = list(map(value_of, frame.samples[start:end])) if extreme is None else extreme[start:end]
            yield _interleave(prefixes[start:end], number_texts(values))

    def _state_lines(self, family: Family, frame: Frame) -> Iterator[bytes]:
        labels = list(frame.key_set.labels.values())
        value_of = self._value_of[family.series]
        step = max(1, CHUNK_SERIES // len(family.field.states))
        for start in range(0, len(frame.samples), step):
            end = start + step
            yield b"".join(
                [
                    _state_block(family, key_labels, value_of(sample))
                    for key_labels, sample in zip(labels[start:end], frame.samples[start:end], strict=True)
                ]
            )


def number_texts(values: list[Any]) -> list[bytes]:
    """Encodes each value as both formats write it: numbers in shortest form, booleans as 1 and 0.

    A missing value, and one that is not finite or not a number, becomes ``null``.
    """
    try:
        encoded = _ENCODER.encode(values)
    except (TypeError, ValueError, OverflowError):
        return [_number_text(value) for value in values]
    if b'"' in encoded or b"{" in encoded or encoded.count(b"[") > 1:
        return [_number_text(value) for value in values]
    if b"e]" in encoded or b"e," in encoded:
        encoded = encoded.replace(b"true", b"1").replace(b"false", b"0")
    return encoded[1:-1].split(b",")


def _number_text(value: object) -> bytes:
    """Encodes one value of a plugin that violates its declaration."""
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float) and math.isfinite(value):
        return float.__repr__(value).encode()
    return _NULL


def _interleave(prefixes: list[bytes], values: list[bytes]) -> bytes:
    if _NULL in values:
        return b"".join([p + v for p, v in zip(prefixes, values, strict=True) if v != _NULL])
    parts = [b""] * (2 * len(prefixes))
    parts[::2] = prefixes
    parts[1::2] = values
    return b"".join(parts)


def _state_block(family: Family, labels: _KeyLabels, state: str | None) -> bytes:
    """Renders one line per state, 1 for the current one, labelled by the name of the family."""
    block = labels.states.get((family.series, state))
    if block is not None:
        return block
    states = family.field.states
    if state not in states:  # missing, or not declared
        return b""
    lines = []
    for name in states:
        pairs = labels.pairs + b"," + label_pairs((family.name,), (name,))
        lines.append(b"\n%b{%b} %d" % (family.series, pairs, name == state))
    block = labels.states[family.series, state] = b"".join(lines)
    return block
