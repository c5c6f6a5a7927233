"""Fakes for tests: a manual clock and timer, a message log and example events.

Plugin authors import them from :mod:`decahertz.testing`.
"""

from __future__ import annotations

import asyncio

import msgspec

from decahertz.bus import Bus, Message
from decahertz.clock import NS_PER_SECOND, Cycle, Grid
from decahertz.event import AnyEvent, Arrival
from decahertz.sample import SampleBatch

START_NS = 1_767_225_600 * NS_PER_SECOND
"""2026-01-01T00:00:00Z: where the clocks of tests start."""
LIMIT_SECONDS = 10.0
"""Timeout of the checks, by the real clock."""

# A market and a strategy that buys, sells and is flat again: every event type, as on the wire. Times are
# milliseconds after the start.
_EXAMPLES = b"""[
{"type":"heartbeat","time_ns":1,"component":"feed","connection":"open","venue":"SIM"},
{"type":"instrument","time_ns":2,"venue":"SIM","instrument":"EUR/USD","kind":"fx","base_currency":"EUR","quote_currency":"USD","tick_size":0.0001,"lot_size":0.01,"aliases":["EURUSD"]},
{"type":"quote","time_ns":3,"venue":"SIM","instrument":"EUR/USD","bid":1.0999,"ask":1.1001,"bid_size":5,"ask_size":3,"sequence":1},
{"type":"tick","time_ns":4,"venue":"SIM","instrument":"EUR/USD","price":1.1,"size":0.5,"side":"buy","trade_id":"t1","sequence":2},
{"type":"regime","time_ns":5,"regime":"trend","strategy":"momentum","confidence":0.7},
{"type":"signal","time_ns":6,"strategy":"momentum","venue":"SIM","instrument":"EUR/USD","signal_id":"s1","direction":"buy","price":1.1,"risk":0.5},
{"type":"order","time_ns":7,"strategy":"momentum","venue":"SIM","instrument":"EUR/USD","order_id":"o1","state":"submitted","side":"buy","quantity":2,"arrival_price":1.1,"signal_id":"s1"},
{"type":"order","time_ns":8,"strategy":"momentum","venue":"SIM","instrument":"EUR/USD","order_id":"o1","state":"accepted","side":"buy","quantity":2},
{"type":"fill","time_ns":9,"strategy":"momentum","venue":"SIM","instrument":"EUR/USD","order_id":"o1","fill_id":"f1","side":"buy","price":1.1001,"quantity":2,"fee":0.01,"liquidity":"taker","risk":0.5},
{"type":"order","time_ns":10,"strategy":"momentum","venue":"SIM","instrument":"EUR/USD","order_id":"o1","state":"filled","side":"buy","quantity":2,"filled_quantity":2},
{"type":"position","time_ns":11,"strategy":"momentum","venue":"SIM","instrument":"EUR/USD","quantity":2,"average_price":1.1001,"mark_price":1.1},
{"type":"cash","time_ns":12,"strategy":"momentum","cash_id":"c1","kind":"funding","amount":-0.01,"currency":"USD","venue":"SIM","instrument":"EUR/USD"},
{"type":"equity","time_ns":13,"strategy":"momentum","equity":10000,"cash":9997.8},
{"type":"quote","time_ns":14,"venue":"SIM","instrument":"EUR/USD","bid":1.1009,"ask":1.1011,"bid_size":1,"ask_size":9,"sequence":5,"missed":2},
{"type":"order","time_ns":15,"strategy":"momentum","venue":"SIM","instrument":"EUR/USD","order_id":"o2","state":"submitted","side":"sell","quantity":2,"arrival_price":1.101},
{"type":"fill","time_ns":16,"strategy":"momentum","venue":"SIM","instrument":"EUR/USD","order_id":"o2","fill_id":"f2","side":"sell","price":1.1009,"quantity":2,"fee":0.01},
{"type":"order","time_ns":17,"strategy":"momentum","venue":"SIM","instrument":"EUR/USD","order_id":"o2","state":"filled","side":"sell","quantity":2,"filled_quantity":2},
{"type":"order","time_ns":18,"strategy":"momentum","venue":"SIM","instrument":"EUR/USD","order_id":"o3","state":"rejected","side":"buy","quantity":1,"reason":"limit"},
{"type":"risk","time_ns":19,"name":"exposure","value":2.2,"limit":10,"soft_limit":8,"strategy":"momentum"},
{"type":"news","time_ns":20,"headline":"Rates unchanged","instruments":["EUR/USD"],"sentiment":0.1},
{"type":"log","time_ns":21,"component":"momentum","level":"warning","message":"slow"},
{"type":"quote","time_ns":22,"venue":"SIM","instrument":"EUR/USD","ask":1.1012,"ask_size":1,"sequence":6},
{"type":"heartbeat","time_ns":23,"component":"feed","connection":"closed","venue":"SIM"},
{"type":"gap","time_ns":24,"venue":"SIM","instrument":"EUR/USD","numbering":"quotes","from_sequence":3,"to_sequence":4,"from_ns":1,"to_ns":2,"missing":2}
]"""


class ManualClock:
    """A :class:`~decahertz.clock.Clock` that stands still until it is moved."""

    def __init__(self, time_ns: int = START_NS, monotonic_ns: int = NS_PER_SECOND) -> None:
        self._time_ns = time_ns
        self._monotonic_ns = monotonic_ns

    def time_ns(self) -> int:
        """Wall time, nanoseconds UTC."""
        return self._time_ns

    def monotonic_ns(self) -> int:
        """Monotonic time in nanoseconds."""
        return self._monotonic_ns

    def advance(self, duration_ns: int) -> None:
        """Lets time pass on both clocks."""
        if duration_ns < 0:
            raise ValueError("time does not run backward; step() sets the wall clock")
        self._time_ns += duration_ns
        self._monotonic_ns += duration_ns

    def step(self, by_ns: int) -> None:
        """Sets the wall clock forward or backward, as NTP or a person would."""
        self._time_ns += by_ns


class ManualTimer:
    """A :class:`~decahertz.clock.CycleTimer` whose cycles the test gives."""

    def __init__(self, clock: ManualClock, grid: Grid | None = None) -> None:
        """Each cycle moves ``clock`` to its time."""
        self._clock = clock
        self._grid = grid or Grid()
        self._cycles: asyncio.Queue[Cycle] = asyncio.Queue()
        self._asked = asyncio.Event()

    async def next(self) -> Cycle:
        """Waits for a cycle."""
        self._asked.set()
        return await self._cycles.get()

    async def cycle(
        self, count: int = 1, *, lateness_ns: int = 0, missed: int = 0, stepped_ns: int = 0
    ) -> int:
        """Gives ``count`` cycles and returns the time of the last one, after the host has handled it.

        ``missed`` cycles are skipped before each. Raises ``TimeoutError`` if no host asks for a cycle.
        """
        time_ns = 0
        for _ in range(count):
            await self._host_waits()
            self._asked.clear()
            if stepped_ns:
                self._clock.step(stepped_ns)
            time_ns = self._grid.after(self._clock.time_ns()) + missed * self._grid.interval_ns
            self._clock.advance(time_ns + lateness_ns - self._clock.time_ns())
            self._cycles.put_nowait(Cycle(time_ns, lateness_ns, missed, stepped_ns))
            await self._host_waits()
        return time_ns

    async def _host_waits(self) -> None:
        await asyncio.wait_for(self._asked.wait(), LIMIT_SECONDS)


class MessageLog:
    """Collects the messages published on a bus."""

    def __init__(self, bus: Bus, pattern: str = "**") -> None:
        """Subscribes to the topics that match ``pattern``; by default to all."""
        self.messages: list[Message] = []
        self._subscription = bus.subscribe(pattern, self.messages.append)

    def batches(self, collector: str) -> list[SampleBatch]:
        """The batches of one collector, in order."""
        return [m for m in self.messages if isinstance(m, SampleBatch) and m.schema.collector == collector]

    def events(self) -> list[AnyEvent]:
        """All events, in order."""
        return [event for m in self.messages if isinstance(m, Arrival) for event in m.batch.events]

    def close(self) -> None:
        """Unsubscribes."""
        self._subscription.cancel()


def example_events(time_ns: int = START_NS) -> tuple[AnyEvent, ...]:
    """A sequence of events of every type, from ``time_ns`` on, a millisecond apart."""
    examples = msgspec.json.decode(_EXAMPLES, type=tuple[AnyEvent, ...])
    return tuple(
        msgspec.structs.replace(event, time_ns=time_ns + event.time_ns * 1_000_000) for event in examples
    )
