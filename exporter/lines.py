"""Text of exposition lines, and the caches that make it fast.

Between two scrapes only the values change; the text before them stays the same until a key appears or is
retired. So the prefixes are cached, with the constant label of the recorder in them. The values of a family
are encoded as one JSON list, which takes a few nanoseconds each, split at the commas and interleaved with the
prefixes.

JSON writes numbers as Prometheus reads them: the shortest form that parses to the same double, exponents as
in ``1e22``, integers in full. A missing value is ``null``, and its series is omitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from decahertz.clock import NS_PER_SECOND
from exporter.family import Family, label_pairs

_ENCODER = msgspec.json.Encoder()
_NULL = b"null"
_NS_PER_MS = 1_000_000


class KeyLabels:
    """Cached text of one key."""

    __slots__ = ("created", "pairs", "states")

    def __init__(self, pairs: bytes, created_ns: int) -> None:
        self.pairs = pairs
        """Labels, escaped, without the braces."""
        self.created = seconds_text(created_ns)
        """When the key was first seen."""
        self.states: dict[tuple[bytes, str | None], bytes] = {}
        """Lines of a family of states, by series and current state."""


class KeySet:
    """Cached text that stays valid as long as the keys are the same."""

    __slots__ = ("_created", "_prefixes", "labels")

    def __init__(self, labels: dict[Any, KeyLabels]) -> None:
        self.labels = labels
        self._prefixes: dict[bytes, list[bytes]] = {}
        self._created: dict[bytes, list[bytes]] = {}

    def prefixes(self, family: Family) -> list[bytes]:
        """Text before the value, by key; starts with a line break."""
        prefixes = self._prefixes.get(family.series)
        if prefixes is None:
            start = b"\n" + family.series
            prefixes = [b"%b{%b} " % (start, labels.pairs) for labels in self.labels.values()]
            self._prefixes[family.series] = prefixes
        return prefixes

    def created(self, family: Family) -> list[bytes]:
        """Lines that say when the counters of each key started, by key; start with a line break."""
        created = self._created.get(family.series)
        if created is None:
            name = family.name.encode()
            created = [created_line(name, labels.pairs, labels.created) for labels in self.labels.values()]
            self._created[family.series] = created
        return created


def created_line(name: bytes, pairs: bytes, created: bytes) -> bytes:
    """Renders the line of a counter or histogram that says since when it counts."""
    return b"\n%b_created{%b} %b" % (name, pairs, created)


def seconds_text(time_ns: int) -> bytes:
    """Renders a time as Unix seconds."""
    return b"%d.%03d" % divmod(time_ns // _NS_PER_MS, NS_PER_SECOND // _NS_PER_MS)


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


def interleave(prefixes: Sequence[bytes], values: list[bytes], suffixes: Sequence[bytes] = ()) -> bytes:
    """Joins prefix, value and suffix of each series; omits series without a value."""
    if _NULL in values:
        parts = zip(prefixes, values, suffixes or (b"",) * len(prefixes), strict=True)
        return b"".join([p + v + s for p, v, s in parts if v != _NULL])
    stride = 3 if suffixes else 2
    joined = [b""] * (stride * len(prefixes))
    joined[::stride] = prefixes
    joined[1::stride] = values
    if suffixes:
        joined[2::stride] = suffixes
    return b"".join(joined)


def state_block(family: Family, labels: KeyLabels, state: str | None) -> bytes:
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
