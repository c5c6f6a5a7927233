"""The newest fills of a holding, folded in the order of their times in whatever order they arrive.

A fill that arrives in order is folded at once. One that is late, a bust or a correction marks the place from
which the fold differs; :meth:`FillLog.settle` folds again from the nearest state before it, once for all that
arrived since, and :meth:`FillLog.add` does where they have become many. Changes are returned as effects, the
old ones with a negative sign, so that sums over many holdings follow.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import Struct, field

from decahertz.accounting import CostMethod
from decahertz.event import Fill
from decahertz.executions import AMENDMENTS, Place, Report, corrected, executions, report_of
from decahertz.round_trip import Booking, OpenRoundTrip

_ENCODER = msgspec.msgpack.Encoder()
_FILLS = msgspec.msgpack.Decoder(Fill)
_TRIPS = msgspec.msgpack.Decoder(OpenRoundTrip)
_NO_EFFECT = Booking(0.0, 0.0, None)


class Rules(NamedTuple):
    """How a log is kept."""

    cost: CostMethod
    limit: int
    """Reports that it keeps at least."""

    @property
    def state_fills(self) -> int:
        """Fills between two states that are kept."""
        return max(min(self.limit // 16, 64), 1)


class Effect(NamedTuple):
    """A contribution of a fill to the results; with a negative sign, one that is withdrawn."""

    time_ns: int
    booking: Booking
    sign: int


class KeptFill(Struct, array_like=True):
    """A report of a fill."""

    place: Place
    ids: int
    """Digest of its ids."""
    report: bytes
    """The fill, encoded."""
    content: bytes | None = None
    """The fill that counts at this place; empty: none does; ``None``: the report itself."""
    booking: Booking = _NO_EFFECT
    state: bytes = b""
    """The round trip after it; of most fills, none is kept."""


class FillLog(Struct):
    """The fold of one holding. Older fills than those kept are only in ``base``."""

    trip: OpenRoundTrip = field(default_factory=OpenRoundTrip)
    base: OpenRoundTrip = field(default_factory=OpenRoundTrip)
    """The round trip before the first fill kept."""
    base_place: Place | None = None
    """Place of the last fill in it."""
    kept: list[KeptFill] = []
    changed_from: Place | None = None
    """First place from which the fold is to be done again."""
    unsettled: int = 0
    """Reports since then."""
    since_state: int = 0
    """Fills folded since the last state that is kept."""
    amendments: int = 0
    """Busts and corrections that are kept."""
    misplaced: int = 0
    """Reports that came when the fills around their time were not kept any more: they count, but not where
    they belong."""

    def add(self, place: Place, fill: Fill, ids: int, rules: Rules) -> list[Effect]:
        """Adds a report, with the digest of its ids; returns the effects that are known at once."""
        is_amendment = fill.kind in AMENDMENTS
        is_newest = place > self._last_place
        one = KeptFill(place, ids, _ENCODER.encode(fill))
        if is_newest and self.changed_from is None and not (is_amendment or self.amendments):
            self.kept.append(one)
            one.booking = self.trip.book(fill, rules.cost)
            if self._keep_state(one, rules):
                self._trim(rules.limit)
            return [Effect(place[0], one.booking, 1)]
        if self.base_place is not None and place < self.base_place:
            self.misplaced += 1
        self.kept.insert(bisect_right(self.kept, place, key=_place), one)
        self.amendments += is_amendment
        self._change(place)
        if is_amendment and self.base_place is not None:
            self.misplaced += not any(other.ids == ids and other is not one for other in self.kept)
        self._decide(ids)
        self.unsettled += 1
        # Where nothing else settles, as when a long past is replayed, the list would grow without end.
        return self.settle(rules) if self.unsettled >= rules.state_fills else []

    def precedes(self, place: Place, ids: int) -> bool:
        """Whether a report with these ids is kept that has a later place."""
        return any(one.ids == ids for one in self.kept[bisect_right(self.kept, place, key=_place) :])

    def settle(self, rules: Rules) -> list[Effect]:
        """Folds again what has changed; returns the effects that differ."""
        if self.changed_from is None:
            return []
        start = bisect_left(self.kept, self.changed_from, key=_place)
        self.changed_from, self.unsettled = None, 0
        at = next((i for i in range(start - 1, -1, -1) if self.kept[i].state), -1)
        self.since_state = 0
        self.trip = _TRIPS.decode(self.kept[at].state if at >= 0 else _ENCODER.encode(self.base))
        effects: list[Effect] = []
        for index in range(at + 1, len(self.kept)):
            one = self.kept[index]
            one.state = b""
            booking = _NO_EFFECT
            if one.content != b"":
                booking = self.trip.book(_FILLS.decode(one.content or one.report), rules.cost)
            if booking != one.booking:
                effects += [Effect(one.place[0], one.booking, -1), Effect(one.place[0], booking, 1)]
                one.booking = booking
            self._keep_state(one, rules)
        self._trim(rules.limit)
        return [effect for effect in effects if effect.booking is not _NO_EFFECT]

    @property
    def _last_place(self) -> Place:
        if self.kept:
            return self.kept[-1].place
        return self.base_place or (0, "", 0, 0)

    def _change(self, place: Place) -> None:
        self.changed_from = place if self.changed_from is None else min(self.changed_from, place)

    def _decide(self, ids: int) -> None:
        """Decides again which reports with these ids count."""
        group = {one.place: one for one in self.kept if one.ids == ids}
        fills = {place: _FILLS.decode(one.report) for place, one in group.items()}
        reports: Iterator[Report] = (report_of(place, fill) for place, fill in fills.items())
        found = executions(reports)
        for place, one in group.items():
            source = found.get(place)
            content: bytes | None = b""
            if source == place:
                content = None
            elif source is not None:
                content = _ENCODER.encode(corrected(fills[place], fills[source], place[0]))
            if content != one.content:
                one.content = content
                self._change(place)

    def _keep_state(self, newest: KeptFill, rules: Rules) -> bool:
        """Keeps the state after the newest fill if the last one is long ago; returns whether it did."""
        self.since_state += 1
        if self.since_state < rules.state_fills:
            return False
        self.since_state = 0
        newest.state = _ENCODER.encode(self.trip)
        return True

    def _trim(self, limit: int) -> None:
        """Drops the oldest reports up to a state, if more than ``limit`` stay."""
        end = 0
        for index in range(len(self.kept) - limit):
            if self.kept[index].state:
                end = index + 1
        if not end:
            return
        last = self.kept[end - 1]
        self.base, self.base_place = _TRIPS.decode(last.state), last.place
        if self.amendments:
            self.amendments -= sum(_FILLS.decode(one.report).kind in AMENDMENTS for one in self.kept[:end])
        del self.kept[:end]


def _place(one: KeptFill) -> Place:
    return one.place
