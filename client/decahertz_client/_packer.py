"""Encoding: events to MessagePack, and encoded events to batches under consecutive sequence numbers."""

from __future__ import annotations

import enum
import math
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Union

import msgpack  # type: ignore[import-untyped]  # it ships no types

from decahertz_client._correction import Corrections
from decahertz_client._times import FIRST_NS

Item = Union[dict[str, Any], tuple[Any, ...]]
"""An event in the ring: fields by name, or values in the order of a method's parameters."""

_CHUNK = 64  # events corrected between two offers of the interpreter lock to the trading thread
# A MessagePack double whose exponent bits are all ones: NaN or an infinity.
_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")


class Batch:
    """Encoded events under consecutive sequence numbers, kept until acknowledged."""

    __slots__ = ("events", "first", "is_uncertain", "was_sent")

    def __init__(self, first: int, events: list[bytes], is_uncertain: bool = False) -> None:  # noqa: FBT001, FBT002 - private
        self.first = first
        self.events = events
        self.was_sent = False
        self.is_uncertain = is_uncertain
        """An attempt was sent whose outcome is unknown: the server may hold these numbers already."""

    @property
    def size(self) -> int:
        """Bytes of all events."""
        return sum(map(len, self.events))


class Outbox:
    """Batches that are numbered and not yet acknowledged, in order; the first is the one to send.

    ::

        append ──► [ first | … | last ] ──► replace_first (acknowledged, rejected, split)
    """

    def __init__(self) -> None:
        self.next_sequence = 1
        self._batches: deque[Batch] = deque()
        self._last_size = 0

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)

    @property
    def first(self) -> Batch:
        return self._batches[0]

    def append(self, events: Iterable[bytes], max_bytes: int) -> None:
        """Numbers new events and adds them to the last batch, or to a new one once that is full."""
        for event in events:
            self._last_size += len(event)
            if not self._batches or self._last_size > max_bytes:
                self._batches.append(Batch(self.next_sequence, []))
                self._last_size = len(event)
            self._batches[-1].events.append(event)
            self.next_sequence += 1

    def replace_first(self, pieces: Sequence[Batch]) -> None:
        """Puts the pieces in the place of the first batch, leaving out empty ones."""
        self._batches.popleft()
        self._batches.extendleft(piece for piece in reversed(pieces) if piece.events)

    def divide_first(self, max_bytes: int) -> None:
        """Splits the first batch into batches of at most ``max_bytes``, or of one larger event each."""
        batch = self.first
        pieces: list[Batch] = []
        size = max_bytes
        for number, event in enumerate(batch.events, batch.first):
            size += len(event)
            if size > max_bytes:
                size = len(event)
                pieces.append(Batch(number, [], batch.is_uncertain))
                pieces[-1].was_sent = batch.was_sent
            pieces[-1].events.append(event)
        if len(pieces) > 1:
            self.replace_first(pieces)

    def halve_first(self) -> None:
        """Splits the first batch in two."""
        batch = self.first
        middle = len(batch.events) // 2
        parts = ((batch.first, batch.events[:middle]), (batch.first + middle, batch.events[middle:]))
        self.replace_first([Batch(first, events, batch.is_uncertain) for first, events in parts])

    def reject(self, positions: Iterable[int]) -> None:
        """Removes these events from the first batch.

        If the server may hold some of the events already, the others keep their numbers, with holes between
        them. Otherwise all that follow are renumbered, so that an emitter that is regularly wrong leaves no
        holes at all.
        """
        batch = self.first
        edges = [-1, *sorted(positions), len(batch.events)]
        pieces = [
            Batch(batch.first + low + 1, batch.events[low + 1 : high], batch.is_uncertain)
            for low, high in zip(edges, edges[1:])
        ]
        if any(other.is_uncertain for other in self._batches):
            self.replace_first(pieces)
            return
        self.replace_first([Batch(batch.first, [event for piece in pieces for event in piece.events])])
        sequence = batch.first
        for other in self._batches:
            other.first = sequence
            sequence += len(other.events)
        self.next_sequence = sequence

    def remove_unsent(self) -> int:
        """Removes the batches that the server cannot hold; returns the number of events in them."""
        unsent = sum(len(batch.events) for batch in self._batches if not batch.is_uncertain)
        self._batches = deque(batch for batch in self._batches if batch.is_uncertain)
        return unsent


class Packer:
    """Encodes events and batches as MessagePack. ``fields`` names the values of each type's tuple.

    Values are corrected where encoding or the time shows that they need it, and everywhere from the first
    event on that the server has refused: see :mod:`decahertz_client._correction`.
    """

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self.corrections = Corrections()
        self._fields = fields
        self._packer = msgpack.Packer(default=_to_plain)
        self._corrects_all = False

    def pack(self, items: Iterable[Item]) -> tuple[list[bytes], list[str]]:
        """Encodes each event by itself; also returns why each of the missing ones could not be encoded."""
        events: list[bytes] = []
        errors: list[str] = []
        pack, corrects_all = self._packer.pack, self._corrects_all
        for item in items:
            named = item.items() if isinstance(item, dict) else zip(self._fields[item[0]], item)
            fields = {name: value for name, value in named if value is not None}
            time_ns = fields["time_ns"]
            if corrects_all or type(time_ns) is not int or time_ns < FIRST_NS:
                fields = self.corrections.correct(fields)
            try:
                events.append(pack(fields))
            except Exception:  # noqa: BLE001 - a value's own methods may raise anything
                try:
                    events.append(pack(self.corrections.correct(fields)))
                except Exception:  # noqa: BLE001 - the same
                    errors.append(self._describe_failure(fields))
        if _NOT_FINITE.search(b"".join(events)):
            checked = [(event, _not_finite_field(msgpack.unpackb(event))) for event in events]
            errors += [error for _, error in checked if error]
            events = [event for event, error in checked if not error]
        return events, errors

    def correct_all(self, batches: Iterable[Batch]) -> bool:
        """Corrects all events from now on, and those of ``batches``; returns whether any of these changed.

        Only the first call does anything.
        """
        before = self.corrections.count
        if not self._corrects_all:
            self._corrects_all = True
            for batch in batches:
                for start in range(0, len(batch.events), _CHUNK):
                    chunk = slice(start, start + _CHUNK)
                    batch.events[chunk] = [self._corrected(event) for event in batch.events[chunk]]
                    time.sleep(0)  # lets a trading thread that waits for the interpreter go first
        return self.corrections.count > before

    def _corrected(self, event: bytes) -> bytes:
        packed: bytes = self._packer.pack(self.corrections.correct(msgpack.unpackb(event)))
        return packed

    def pack_batch(self, source: str, epoch: int, batch: Batch, drops: dict[str, int]) -> bytes:
        """Encodes the body of a request, an ``EventBatch``."""
        head = {"source": source, "epoch": epoch, "first_sequence": batch.first, "dropped": drops}
        pack = self._packer.pack
        parts = [self._packer.pack_map_header(len(head) + 1)]
        parts += [pack(part) for pair in head.items() for part in pair]
        parts += [pack("events"), self._packer.pack_array_header(len(batch.events)), *batch.events]
        return b"".join(parts)

    def _describe_failure(self, fields: dict[str, Any]) -> str:
        for name, value in fields.items():
            try:
                self._packer.pack(value)
            except Exception as error:  # noqa: BLE001, PERF203 - see pack
                kind = type(value).__name__
                return f"{fields.get('type')!s:.40}.{name:.40} is a {kind}: {str(error) or repr(error):.80}"
        return f"{fields.get('type')!s:.40}"


def _to_plain(value: Any) -> Any:  # noqa: ANN401 - any object of the trading process
    """Converts enumeration members, decimals and NumPy scalars to what MessagePack can express."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Decimal):
        return float(value)
    item = getattr(value, "item", None)
    if item is None:
        raise TypeError("not a number, a text or a list of these")
    return item()


def _not_finite_field(event: dict[str, Any]) -> str:
    """Names the field of an event that is NaN or infinite; empty if none is."""
    for name, value in event.items():
        for number in value if isinstance(value, list) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                return f"{event['type']}.{name} is {number}"
    return ""
