"""Samples to exposition lines, fast.

What changes between two scrapes is the values; the text in front of them is the same until a key
appears or is retired. So the prefixes are kept, all values of a family are written as one JSON list,
which takes a few nanoseconds each, split at the commas, and woven between the prefixes.

JSON writes numbers as Prometheus reads them: shortest form that reads back as the same double, exponents
as in ``1e22``, integers of any size in full. A value that does not exist is ``null``: its series is left
out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from decahertz.metric import Kind
from decahertz.sample import Sample, SampleBatch, SampleSchema
from exporter.family import Family, colliding, families_of, label_pairs
from exporter.negotiation import Format

CHUNK_SERIES = 2_000
"""Series rendered in one go, some tenths of a millisecond."""

_ENCODER = msgspec.json.Encoder()
_NULL = b"null"


class Exposition:
    """Renders batches of the given schemas. Families come in the order of the schemas and their fields.

    A family whose name an earlier one claims is left out and listed in ``left_out``.
    """

    def __init__(self, schemas: Sequence[SampleSchema]) -> None:
        """Derive the families."""
        families = {schema.collector: families_of(schema) for schema in schemas}
        self.left_out = colliding(family for group in families.values() for family in group)
        self._tables = {
            schema.collector: _Table(
                schema, tuple(f for f in families[schema.collector] if f not in self.left_out)
            )
            for schema in schemas
        }

    @property
    def collectors(self) -> tuple[str, ...]:
        """The collectors it can render, in order."""
        return tuple(self._tables)

    def render(self, batch: SampleBatch, form: Format, taken: Collection[str] = ()) -> Iterator[bytes]:
        """The lines of one batch in chunks of at most :data:`CHUNK_SERIES` series, whole lines each.

        Families that claim a name of ``taken`` are left out.
        """
        return self._tables[batch.schema.collector].render(batch.samples, form, taken)


class _Key:
    """What is kept for one key, and forgotten with it."""

    __slots__ = ("pairs", "states")

    def __init__(self, pairs: bytes) -> None:
        self.pairs = pairs
        """Its labels, escaped, without the braces."""
        self.states: dict[tuple[bytes, str | None], bytes] = {}
        """The lines of each family of states, for each state that was seen."""


class _Layout:
    """What stays the same while the keys do."""

    __slots__ = ("_prefixes", "entries", "keys")

    def __init__(self, keys: list[Any], entries: dict[Any, _Key]) -> None:
        self.keys = keys
        self.entries = entries
        self._prefixes: dict[bytes, list[bytes]] = {}

    def prefixes(self, family: Family) -> list[bytes]:
        """Per key what stands in front of the value, line break first."""
        prefixes = self._prefixes.get(family.series)
        if prefixes is None:
            start = b"\n" + family.series
            prefixes = [
                b"%b{%b} " % (start, key.pairs) if key.pairs else start + b" "
                for key in self.entries.values()
            ]
            self._prefixes[family.series] = prefixes
        return prefixes


class _Table:
    """The families of one sample type."""

    def __init__(self, schema: SampleSchema, families: tuple[Family, ...]) -> None:
        self._names = schema.key
        self._families = families
        self._key_of: Callable[[Sample], Any] = attrgetter(*schema.key) if schema.key else _no_key
        self._value_of = {family.series: attrgetter(family.field.name) for family in families}
        self._layout = _Layout([], {})

    def render(self, samples: Sequence[Sample], form: Format, taken: Collection[str]) -> Iterator[bytes]:
        layout, samples = self._lay_out(samples)
        for family in self._families:
            if not family.names.isdisjoint(taken):
                continue
            header = family.headers[form]
            lines = self._state_lines if family.field.metric.kind is Kind.STATE else self._number_lines
            for chunk in lines(family, layout, samples):
                if chunk:  # it begins with a line break, which ends the header or is not wanted
                    yield b"%b%b\n" % (header, chunk) if header else chunk[1:] + b"\n"
                    header = b""

    def _lay_out(self, samples: Sequence[Sample]) -> tuple[_Layout, Sequence[Sample]]:
        """The layout for these samples, in their order; of a key that comes twice, the last sample."""
        keys = list(map(self._key_of, samples))
        layout = self._layout
        if keys != layout.keys:
            # Only the labels of keys that are still there are carried over: the retired are forgotten.
            known = layout.entries
            entries = {key: known.get(key) or self._entry(key) for key in keys}
            layout = self._layout = _Layout(keys, entries)
        if len(layout.entries) != len(keys):
            samples = list(dict(zip(keys, samples, strict=True)).values())
        return layout, samples

    def _entry(self, key: Any) -> _Key:  # noqa: ANN401 - a string, or a tuple of several
        return _Key(label_pairs(self._names, key if len(self._names) != 1 else (key,)))

    def _number_lines(self, family: Family, layout: _Layout, samples: Sequence[Sample]) -> Iterator[bytes]:
        prefixes = layout.prefixes(family)
        value_of = self._value_of[family.series]
        for start in range(0, len(samples), CHUNK_SERIES):
            end = start + CHUNK_SERIES
            values = number_texts(list(map(value_of, samples[start:end])))
            yield _weave(prefixes[start:end], values)

    def _state_lines(self, family: Family, layout: _Layout, samples: Sequence[Sample]) -> Iterator[bytes]:
        entries = list(layout.entries.values())
        value_of = self._value_of[family.series]
        states = family.field.states
        step = max(1, CHUNK_SERIES // len(states))
        for start in range(0, len(samples), step):
            end = start + step
            yield b"".join(
                [
                    _state_block(family, entry, value_of(sample))
                    for entry, sample in zip(entries[start:end], samples[start:end], strict=True)
                ]
            )


def number_texts(values: list[Any]) -> list[bytes]:
    """Each value as the formats write it: numbers in shortest form, booleans as 1 and 0.

    What has no value, is not finite or is no number at all becomes ``null``.
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
    """One value of a plugin that did not keep to its declaration."""
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float) and math.isfinite(value):
        return float.__repr__(value).encode()
    return _NULL


def _weave(prefixes: list[bytes], values: list[bytes]) -> bytes:
    if _NULL in values:
        return b"".join([p + v for p, v in zip(prefixes, values, strict=True) if v != _NULL])
    parts = [b""] * (2 * len(prefixes))
    parts[::2] = prefixes
    parts[1::2] = values
    return b"".join(parts)


def _state_block(family: Family, key: _Key, state: str | None) -> bytes:
    """One line per state, 1 for the present one; the label that names it is the family's name."""
    block = key.states.get((family.series, state))
    if block is not None:
        return block
    states = family.field.states
    if state not in states:  # none, or a word that is not declared
        return b""
    lines = []
    for name in states:
        pairs = key.pairs + (b"," if key.pairs else b"") + label_pairs((family.name,), (name,))
        lines.append(b"\n%b{%b} %d" % (family.series, pairs, name == state))
    block = key.states[family.series, state] = b"".join(lines)
    return block


def _no_key(sample: Sample) -> tuple[()]:  # noqa: ARG001 - the signature of an attribute getter
    return ()
