"""The market state of one instrument."""

from __future__ import annotations

import math

from msgspec import Struct

from collectors.common.values import is_usable
from collectors.common.windows import RateWindow, TradeWindow
from collectors.market.cadence import Cadence
from collectors.market.feed_state import FeedState
from collectors.market.link import Link
from collectors.market.volatility import RealisedVariance
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Quote, Side, Tick
from decahertz.histogram import Observations
from decahertz.trading_days import TradingDays

_MOST_GAPS = 2**62
"""A feed can report any number; a sample has eight bytes for it."""


class VenueState(Struct):
    """The state that all instruments of a venue share."""

    link: Link
    latencies: Observations
    feeds: dict[str, FeedState] = {}
    """By emitter."""
    received_ns: int = 0
    """Time of receipt of the last message or heartbeat of the venue."""


class InstrumentState(Struct):
    """One instrument at one venue.

    A quote or tick is late if its venue time, or its sequence number at the same time, is below the newest of
    its type. Late messages are counted and change no price; the quantity of a late tick counts as traded.

    A tick without the aggressor's side takes its sign from the last change of the price (the tick test of
    C. M. C. Lee, M. J. Ready: *Inferring Trade Direction from Intraday Data*, Journal of Finance 46 (1991)).
    A late one, or one before the first change, counts for neither side.

    A session is the trading day of the newest tick, by venue time. A tick of an earlier one is not in it.
    """

    venue: str
    instrument: str
    venue_state: VenueState
    rate_window: RateWindow
    trade_window: TradeWindow
    variance: RealisedVariance
    cadence: Cadence
    feed: FeedState | None = None
    """The feed of the newest message; ``None``: no message yet."""
    link: Link | None = None
    received_ns: int = 0
    """Time of receipt of the newest message; 0: none yet."""
    is_changed: bool = True
    """Whether a message has come, or was missed, since the newest sample."""
    live_until_ns: int = 0
    """Until then its verdict is live, if no heartbeat says otherwise; 0: not known."""
    changed_ns: int = 0
    """Time of receipt of the last change of bid, ask or last price; 0: none yet."""
    latency_ns: int | None = None
    sampling_ns: int | None = None
    """From the receipt of the newest message to the cycle that sampled it first."""
    clock_faults: int = 0
    """Messages whose venue time is after their receipt."""
    gaps: int = 0
    gap_ns: int = 0
    """Time of receipt of the last message after a gap; 0: none."""
    late: int = 0
    bid: float | None = None
    ask: float | None = None
    bid_size: float | None = None
    ask_size: float | None = None
    mid: float | None = None
    spread: float | None = None
    spread_bps: float | None = None
    micro_price: float | None = None
    quotes: int = 0
    quotes_pushed: int = 0
    crossed_quotes: int = 0
    locked_quotes: int = 0
    volatility: float | None = None
    _quote_time_ns: int = 0
    _quote_sequence: int | None = None
    last: float | None = None
    ticks: int = 0
    ticks_pushed: int = 0
    traded: float = 0.0
    _tick_time_ns: int = 0
    _tick_sequence: int | None = None
    new_quantity: float = 0.0
    """Traded since the last push of the windows."""
    new_value: float = 0.0
    new_signed: float = 0.0
    """Of it, what buyers took less what sellers took."""
    _direction: int = 0
    """Sign of the last change of the price; 0: none yet."""
    session_start_ns: int = 0
    session_end_ns: int = 0
    session_quantity: float = 0.0
    session_value: float = 0.0
    session_vwap: float | None = None

    @property
    def venue_ns(self) -> int:
        """Newest time by the venue's clock of a quote or tick; 0: none yet."""
        return max(self._quote_time_ns, self._tick_time_ns)

    @property
    def sequences(self) -> tuple[int | None, int | None]:
        """The venue's numbers of the newest quote and the newest tick."""
        return self._quote_sequence, self._tick_sequence

    def take_quote(self, quote: Quote, received_ns: int) -> None:
        """Updates the state by a quote."""
        self.quotes += 1
        time_ns = quote.time_ns
        if time_ns <= self._quote_time_ns and _is_late(
            time_ns, quote.sequence, self._quote_time_ns, self._quote_sequence
        ):
            self._receive(quote, received_ns, is_late=True)
            return
        self._receive(quote, received_ns, is_late=False)
        self._quote_time_ns = time_ns
        self._quote_sequence = quote.sequence
        bid, ask = quote.bid, quote.ask
        self.bid_size = bid_size = quote.bid_size
        self.ask_size = ask_size = quote.ask_size
        if bid is None or ask is None:
            self.micro_price = None
        else:
            if bid >= ask:
                self._count_crossed(is_locked=bid == ask)
            if bid_size is None or ask_size is None or not (size := bid_size + ask_size):
                self.micro_price = None
            else:  # the shares first: the products could overflow
                self.micro_price = bid * (ask_size / size) + ask * (bid_size / size)
        if bid == self.bid and ask == self.ask:
            return
        self.changed_ns = received_ns
        self.bid = bid
        self.ask = ask
        if bid is None or ask is None:
            self.mid = self.spread = self.spread_bps = None
            return
        self.mid = mid = (bid + ask) / 2
        self.spread = spread = ask - bid
        bps = spread / mid * 10_000 if mid > 0 else math.inf
        self.spread_bps = bps if -math.inf < bps < math.inf else None

    def take_tick(self, tick: Tick, received_ns: int, days: TradingDays) -> None:
        """Updates the state by a tick; ``days`` are the sessions."""
        self.ticks += 1
        price, size, time_ns = tick.price, tick.size, tick.time_ns
        is_late = time_ns <= self._tick_time_ns and _is_late(
            time_ns, tick.sequence, self._tick_time_ns, self._tick_sequence
        )
        if not is_late and self.last is not None and price != self.last:
            self._direction = 1 if price > self.last else -1
        if is_usable(price) and is_usable(size):
            value = price * size
            self.traded += size
            self.new_quantity += size
            self.new_value += value
            side = tick.side
            if side is not None:
                self.new_signed += size if side is Side.BUY else -size
            elif not is_late:
                self.new_signed += size * self._direction
            if time_ns >= self.session_end_ns:
                self._begin_session(time_ns, days)
            if time_ns >= self.session_start_ns:
                self.session_quantity += size
                self.session_value += value
                if self.session_quantity:
                    self.session_vwap = self.session_value / self.session_quantity
        self._receive(tick, received_ns, is_late=is_late)
        if not is_late:
            self._tick_time_ns = time_ns
            self._tick_sequence = tick.sequence
            if price != self.last:
                self.changed_ns = received_ns
                self.last = price

    def resume_session(self, days: TradingDays) -> None:
        """Forgets the session if the settings have changed since."""
        start_ns = self.session_start_ns
        if self.session_end_ns and start_ns != days.start_ns(days.day_of(start_ns)):
            self.session_start_ns = self.session_end_ns = 0

    def _count_crossed(self, *, is_locked: bool) -> None:
        if is_locked:
            self.locked_quotes += 1
        else:
            self.crossed_quotes += 1

    def _begin_session(self, time_ns: int, days: TradingDays) -> None:
        day = days.day_of(time_ns)
        self.session_start_ns, self.session_end_ns = days.start_ns(day), days.start_ns(day + 1)
        self.session_quantity = self.session_value = 0.0
        self.session_vwap = None

    def push(self, index: int) -> None:
        """Advances the windows to cycle number ``index``, with what came since the last call."""
        quotes, ticks = self.quotes, self.ticks
        self.rate_window.push(index, quotes - self.quotes_pushed, ticks - self.ticks_pushed)
        self.quotes_pushed, self.ticks_pushed = quotes, ticks
        trades = self.trade_window
        if self.new_quantity or index >= trades.due:
            trades.push(index, self.new_quantity, self.new_value, self.new_signed)
            self.new_quantity = self.new_value = self.new_signed = 0.0

    def shift(self, cycles: int) -> None:
        """Numbers the cycles of the windows again."""
        self.rate_window.shift(cycles)
        self.trade_window.shift(cycles)

    def miss(self, count: int, received_ns: int) -> None:
        """Counts missed messages, of which the recorder learned at ``received_ns``."""
        self.gaps = min(self.gaps + count, _MOST_GAPS)
        self.gap_ns = received_ns
        self.is_changed = True
        self.live_until_ns = 0

    def _receive(self, message: Quote | Tick, received_ns: int, *, is_late: bool) -> None:
        self.received_ns = self.venue_state.received_ns = received_ns
        self.is_changed = True
        if message.missed:
            self.miss(message.missed, received_ns)
        if is_late:
            self.late += 1
            return
        self.latency_ns = latency_ns = received_ns - message.time_ns
        if latency_ns >= 0:
            self.venue_state.latencies.observe(latency_ns / NS_PER_SECOND)
        else:
            self.clock_faults += 1


def _is_late(time_ns: int, sequence: int | None, newest_ns: int, newest_sequence: int | None) -> bool:
    if time_ns != newest_ns:
        return time_ns < newest_ns
    return sequence is not None and newest_sequence is not None and sequence < newest_sequence
