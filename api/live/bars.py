"""Bars for the topics ``bars:{instrument}:{timeframe}``, made from the ticks that are recorded.

A series begins with the ticks of its current bar so far, from the database and the ring; from then on it
follows the ticks. A bar is a state while it forms, and an event once its time is over; one that a late tick
changes afterwards is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from api.live.messages import ErrorCode
from api.live.replay import ReplayError
from decahertz.clock import NS_PER_MICROSECOND, NS_PER_SECOND
from decahertz.duration import parse_duration
from decahertz.event import Tick
from decahertz.topic import Pattern, TopicError, segment, segment_name
from storage.database import DatabaseError
from storage.spool.errors import SpoolError

if TYPE_CHECKING:
    from api.live.replay import EventSource
    from api.live.ring import EventRing
    from decahertz.clock import Clock
    from decahertz.event import AnyEvent

TOPIC: Final = "bars"
_SEGMENTS = 3
_LONGEST_NS = 3600 * NS_PER_SECOND
_CLOCKS_NS = 60 * NS_PER_SECOND
"""How much the clocks of venue and recorder may differ."""
_KEPT_SECONDS = 60.0
"""A series without subscribers is dropped after that."""


class LiveBar(Struct, frozen=True, kw_only=True):
    """A bar of all venues; the fields as in ``GET /api/v1/market/bars/{instrument}``."""

    instrument: str
    timeframe: str
    closed: bool
    """Whether its time is over."""
    time_ns: int
    """Start of the bar."""
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int
    vwap: float | None


class _Bar:
    """A bar while it forms."""

    __slots__ = (
        "changed",
        "close",
        "closed",
        "first_ns",
        "high",
        "last_ns",
        "low",
        "open",
        "trades",
        "value",
        "volume",
    )

    def __init__(self, tick: Tick) -> None:
        self.open = self.high = self.low = self.close = tick.price
        self.first_ns = self.last_ns = tick.time_ns
        self.volume = self.value = 0.0
        self.trades = 0
        self.changed = self.closed = False

    def add(self, tick: Tick) -> None:
        price, time_ns = tick.price, tick.time_ns
        if time_ns < self.first_ns:
            self.open, self.first_ns = price, time_ns
        if time_ns >= self.last_ns:
            self.close, self.last_ns = price, time_ns
        self.high, self.low = max(self.high, price), min(self.low, price)
        self.volume += tick.size
        self.value += price * tick.size
        self.trades += 1
        self.changed = True


class _Series:
    """The current bar of one instrument and the one before."""

    def __init__(self, instrument: str, timeframe: str, width_ns: int) -> None:
        self.topic = f"{TOPIC}:{segment(instrument)}:{timeframe}"
        self._instrument = instrument
        self._timeframe = timeframe
        self._width_ns = width_ns
        self._bars: dict[int, _Bar] = {}

    def add(self, tick: Tick) -> None:
        start_ns = tick.time_ns - tick.time_ns % self._width_ns
        bar = self._bars.get(start_ns)
        if bar is None:
            newest_ns = max(self._bars, default=0)
            if start_ns < newest_ns - self._width_ns:
                return  # too late for the live feed; the database has it
            bar = self._bars[start_ns] = _Bar(tick)
        bar.add(tick)

    def newest(self) -> LiveBar | None:
        """The newest bar; ``None`` before the first tick."""
        start_ns = max(self._bars, default=None)
        return None if start_ns is None else self._live(start_ns, self._bars[start_ns])

    def changes(self, now_ns: int) -> Iterator[LiveBar]:
        """Bars that have changed or ended."""
        for start_ns, bar in sorted(self._bars.items()):
            ended = start_ns + self._width_ns <= now_ns
            if bar.changed or ended is not bar.closed:
                bar.changed, bar.closed = False, ended
                yield self._live(start_ns, bar)
        for start_ns in sorted(self._bars)[:-2]:
            del self._bars[start_ns]

    def _live(self, start_ns: int, bar: _Bar) -> LiveBar:
        return LiveBar(
            instrument=self._instrument,
            timeframe=self._timeframe,
            closed=bar.closed,
            time_ns=start_ns,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
            trades=bar.trades,
            vwap=bar.value / bar.volume if bar.volume else None,
        )


class _Group:
    """The series of one pattern: of one instrument, or of all."""

    def __init__(self, instrument: str, timeframe: str, width_ns: int, wanted_until: float) -> None:
        self.instrument = None if instrument == "*" else segment_name(instrument)
        self.wanted_until = wanted_until
        """Time of the event loop until which it is kept without subscribers."""
        self.series: dict[str, _Series] = {}
        self._timeframe = timeframe
        self._width_ns = width_ns

    def fold(self, events: Iterable[AnyEvent]) -> None:
        for event in events:
            if isinstance(event, Tick) and self.instrument in (None, event.instrument):
                series = self.series.get(event.instrument)
                if series is None:
                    series = _Series(event.instrument, self._timeframe, self._width_ns)
                    self.series[event.instrument] = series
                series.add(event)


class Bars:
    """The bars that clients subscribe to."""

    def __init__(self, source: EventSource, ring: EventRing, clock: Clock) -> None:
        self._source = source
        self._ring = ring
        self._clock = clock
        self._groups: dict[str, _Group] = {}

    @property
    def is_active(self) -> bool:
        """Whether there are any."""
        return bool(self._groups)

    async def prepare(self, patterns: Sequence[Pattern], now: float, newest: Callable[[], int]) -> None:
        """Makes the series of new patterns. ``now`` is the time of the event loop.

        Raises :class:`~decahertz.topic.TopicError` for an impossible timeframe, and
        :class:`~api.live.replay.ReplayError` without a database.
        """
        for pattern in patterns:
            if pattern.segments[0] != TOPIC:
                continue
            width_ns = _width(pattern)
            group = self._groups.get(pattern.text)
            if group is None:
                _, instrument, timeframe = pattern.segments
                group = _Group(instrument, timeframe, width_ns, now)
                await self._fill(group, width_ns, newest)
                group = self._groups.setdefault(pattern.text, group)
            group.wanted_until = now + _KEPT_SECONDS

    def take(self, events: Sequence[AnyEvent]) -> None:
        """Folds new events."""
        for group in self._groups.values():
            group.fold(events)

    def states(self) -> Iterator[tuple[str, LiveBar]]:
        """The newest bars, by topic."""
        found = {
            series.topic: series.newest()
            for group in self._groups.values()
            for series in group.series.values()
        }
        return ((topic, bar) for topic, bar in found.items() if bar is not None)

    def changes(self, now: float, has_audience: Callable[[str], bool]) -> dict[str, list[LiveBar]]:
        """Changed bars by topic. Drops what nobody has wanted for a while."""
        found: dict[str, list[LiveBar]] = {}
        now_ns = self._clock.time_ns()
        for text, group in list(self._groups.items()):
            for series in group.series.values():
                changes = list(series.changes(now_ns))
                if changes and series.topic not in found:
                    found[series.topic] = changes
            if any(has_audience(series.topic) for series in group.series.values()) or has_audience(text):
                group.wanted_until = now + _KEPT_SECONDS
            elif now > group.wanted_until:
                del self._groups[text]
        return found

    async def _fill(self, group: _Group, width_ns: int, newest: Callable[[], int]) -> None:
        """Folds the ticks of the current bar so far; nothing is missing when it returns."""
        now_ns = self._clock.time_ns()
        start_ns = now_ns - now_ns % width_ns
        after = (start_ns - _CLOCKS_NS) // NS_PER_MICROSECOND
        keys = None if group.instrument is None else [group.instrument]
        try:
            while after < self._ring.floor:
                upto = newest()
                async with aclosing(self._source.pages({Tick: keys}, after, upto)) as pages:
                    async for found, _ in pages:
                        group.fold(event for _, event in found if event.time_ns >= start_ns)
                after = upto
        except (DatabaseError, SpoolError) as error:
            raise ReplayError(ErrorCode.UNAVAILABLE, "the database does not respond; try again") from error
        group.fold(event for _, event in self._ring.after(after) if event.time_ns >= start_ns)


def _width(pattern: Pattern) -> int:
    """The timeframe of a pattern of bars. Raises :class:`~decahertz.topic.TopicError`."""
    segments = pattern.segments
    try:
        width_ns = parse_duration(segments[2]) if len(segments) == _SEGMENTS else 0
    except ValueError:
        width_ns = 0
    if not NS_PER_SECOND <= width_ns <= _LONGEST_NS:
        raise TopicError(f"{pattern.text!r}: bars are named bars:BTC-USD:1m, with a timeframe from 1s to 1h")
    return width_ns
