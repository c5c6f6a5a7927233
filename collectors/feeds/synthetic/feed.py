"""The feed ``synthetic``: a random market for demos, load tests and trying out alert rules."""

from __future__ import annotations

import asyncio
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from collectors.feeds.pulse import Pulse
from collectors.feeds.synthetic.market import Rates, SyntheticMarket
from collectors.feeds.synthetic.names import definition, listings
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import AnyEvent, Name
from decahertz.feed import BaseFeed, Emit

_BEHIND_NS = NS_PER_SECOND
"""After a longer delay (a suspended machine) the market continues where it was instead of catching up."""


class SyntheticOptions(Rates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[feeds.synthetic]`` of the settings."""

    instruments: Annotated[int, Meta(ge=0, le=10_000, description="Number of instruments.")] = 20
    venues: Annotated[
        tuple[Name, ...],
        Meta(min_length=1, description="Venues; the instruments are spread over them."),
    ] = ("synthetic",)
    seed: Annotated[int, Meta(description="The same seed yields the same market.")] = 1
    pause_kind: Annotated[
        Literal["quiet", "silent", "closed"],
        Meta(description="quiet: heartbeats continue; silent: they stop; closed: a closing one comes first."),
    ] = "quiet"
    batch_seconds: Annotated[
        float,
        Meta(ge=0.001, le=1, description="Interval between batches of events."),
    ] = 0.02


class SyntheticFeed(BaseFeed[SyntheticOptions]):
    """Quotes and ticks of instruments whose prices follow a seeded random walk."""

    name: ClassVar[str] = "synthetic"
    options_type: ClassVar[type[Struct]] = SyntheticOptions

    def __init__(self, clock: Clock, options: SyntheticOptions) -> None:
        super().__init__(clock, options)
        self._pulses = [Pulse(clock, f"feed-{self.name}", venue) for venue in options.venues]
        self._is_closed = False

    async def run(self, emit: Emit) -> None:
        """Emits the definitions of the instruments, then market events until cancelled."""
        options = self.options
        listed = listings(options.instruments, options.venues)
        market = SyntheticMarket(listed, options, options.seed)
        now_ns = self.clock.time_ns()
        await emit([definition(listing, now_ns) for listing in listed], now_ns)
        batch_ns = int(options.batch_seconds * NS_PER_SECOND)
        anchor_ns = due_ns = self.clock.monotonic_ns()
        while True:
            monotonic_ns, now_ns = self.clock.monotonic_ns(), self.clock.time_ns()
            if monotonic_ns - due_ns > _BEHIND_NS:
                self.count("stalls")
                anchor_ns += monotonic_ns - due_ns
                due_ns = monotonic_ns
            elapsed_ns = monotonic_ns - anchor_ns
            elapsed = elapsed_ns / NS_PER_SECOND
            events = market.until(elapsed, now_ns - elapsed_ns)
            events += self._heartbeats(now_ns, is_pause=options.is_pause(elapsed))
            if events:
                await emit(events, now_ns)
            due_ns += batch_ns
            await asyncio.sleep(max(0, due_ns - self.clock.monotonic_ns()) / NS_PER_SECOND)

    def _heartbeats(self, now_ns: int, *, is_pause: bool) -> list[AnyEvent]:
        kind = self.options.pause_kind if is_pause else "quiet"
        if kind == "quiet":
            self._is_closed = False
            return [due for pulse in self._pulses for due in pulse.next(now_ns)]
        if kind == "silent" or self._is_closed:
            return []
        self._is_closed = True
        return [closing for pulse in self._pulses for closing in pulse.closed(now_ns)]
