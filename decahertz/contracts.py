"""Completes fills, ends of orders and cash flows by the definitions of instruments and the rates at the time.

An emitter rarely knows the multiplier of a contract or what a yen was worth. So the recorder adds both when
a fill or the end of an order arrives, before it is published and stored: all that compute with them, now or
after a restart, find the same numbers in them. Values that an emitter states are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, TypeVar

import msgspec
import structlog
from msgspec import Struct, field
from msgspec.structs import replace

from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.definitions import MAX_DEFINITIONS, Definitions, settlement_currency
from decahertz.event import (
    FINAL_ORDER_STATES,
    AnyEvent,
    Cash,
    Event,
    EventBatch,
    Fill,
    Instrument,
    Order,
    Quote,
    Signal,
)
from decahertz.health import ComponentStatus, Health
from decahertz.key_budget import KeyBudget
from decahertz.rates import Mid, NoRate, Rate, Rates
from decahertz.signal_risks import SignalRisks

_DEGRADED_NS = 600 * NS_PER_SECOND
"""Time for which health shows an amount without a rate."""
_LARGEST = 1e100
_TradingT = TypeVar("_TradingT", Fill, Order)


class _State(Struct, array_like=True):
    definitions: list[Instrument]
    mids: list[tuple[str, str, Mid]]
    risks: SignalRisks = field(default_factory=SignalRisks)


class Contracts:
    """Knows instruments and rates, and completes events with them.

    It learns from every batch before it completes the fills in it. It takes part in the checkpoints of the
    collectors, so that the first fill after a restart finds the definitions and mids of before.
    """

    checkpoint_name: ClassVar[str] = "contracts/1"
    events_taken: ClassVar[frozenset[type[Event]]] = frozenset({Quote, Instrument, Signal, Order})
    budgets: ClassVar[Sequence[KeyBudget]] = ()

    def __init__(self, settings: AccountingSettings, clock: Clock) -> None:
        self._clock = clock
        self._mids: dict[tuple[str, str], Mid] = {}
        self.rates = Rates(settings, lambda venue, instrument: self._mids.get((venue, instrument)))
        self.definitions = Definitions(self.rates.codes)
        self._pinned: dict[tuple[str, str], Instrument] = {}
        self._risks = SignalRisks()
        self._quoted: dict[tuple[str, str], tuple[str, str] | None] = {}
        """By the names in quotes: the pair that they are of, if it is one."""
        self.fills = 0
        """Fills completed or looked at."""
        self.undefined_fills = 0
        """Fills of instruments without a definition."""
        self.unrated = 0
        """Amounts of fills and cash flows in a currency that no rate was known of."""
        self._last_reason = ""
        self._last_ns: int | None = None
        self._log = structlog.get_logger(part="contracts")

    def completed(self, batch: EventBatch, new: Sequence[tuple[int, int]] | None = None) -> EventBatch:
        """Returns the batch with its fills, cash flows and definitions completed; itself if none changes.

        ``new`` are the ranges of sequences that were not seen before; ``None``: all of them. From the
        others it learns nothing, as a restart does not find them again.
        """
        changed: list[AnyEvent] | None = None
        completed: AnyEvent
        for index, event in enumerate(batch.events):
            if isinstance(event, Quote):
                if new is None or _is_among(batch.first_sequence + index, new):
                    self._take_quote(event)
                continue
            if isinstance(event, Instrument):
                is_new = new is None or _is_among(batch.first_sequence + index, new)
                completed = self._instrument(event, is_new=is_new)
            elif isinstance(event, Fill):
                completed = self._fill(event)
            elif isinstance(event, Cash):
                completed = self._cash(event)
            elif isinstance(event, Order):
                self._risks.take(event)
                completed = self._order(event) if event.state in FINAL_ORDER_STATES else event
            else:
                if isinstance(event, Signal):
                    self._risks.take(event)
                continue
            if completed is not event:
                changed = changed or list(batch.events)
                changed[index] = completed
        return batch if changed is None else replace(batch, events=tuple(changed))

    def pin(self, definitions: Sequence[Instrument]) -> None:
        """Makes these definitions the user's: they replace those that a feed or client sends of them."""
        self._pinned = {(one.venue, one.instrument): one for one in definitions}

    def adopt(self, definitions: Iterable[Instrument]) -> None:
        """Learns definitions of before the start, unless newer ones are known."""
        for definition in definitions:
            self._define(definition)

    def on_event(self, event: Event, received_ns: int) -> None:  # noqa: ARG002 - as a collector
        """Learns from an event of before the start."""
        if isinstance(event, Quote):
            self._take_quote(event)
        elif isinstance(event, Instrument):
            self._define(event)
        elif isinstance(event, Signal | Order):
            self._risks.take(event)

    def event_failed(self, error: Exception) -> None:
        """Logs that an event of before the start could not be taken."""
        self._log.error("event_refused", reason=str(error))

    def repeat_cycle(self, time_ns: int, index: int) -> None:
        """Cycles change nothing."""

    def checkpoint(self) -> bytes:
        """Returns the encoded state."""
        mids = [(*key, mid) for key, mid in self._mids.items()]
        return msgspec.msgpack.encode(_State(list(self.definitions), mids, self._risks))

    def resume(self, state: bytes) -> bool:
        """Continues from an encoded state; returns whether it could be read."""
        try:
            found = msgspec.msgpack.decode(state, type=_State)
        except msgspec.MsgspecError as error:
            self._log.warning("checkpoint_not_used", reason=str(error))
            return False
        self.adopt(found.definitions)
        self._risks = found.risks
        self._mids.update(((venue, instrument), mid) for venue, instrument, mid in found.mids)
        return True

    def notional(
        self, venue: str, instrument: str, quantity: float, price: float, time_ns: int
    ) -> float | None:
        """The value of a quantity in the account currency; ``None``: no rate is known.

        Without a definition, quantity times price is taken for it.
        """
        definition = self.definitions.get(venue, instrument)
        if definition is None:
            return quantity * price
        value = quantity * definition.multiplier * (1.0 if definition.inverse else price)
        if definition.quote_currency is None:
            return value
        rate = self.rates.rate(definition.quote_currency, time_ns)
        return None if isinstance(rate, NoRate) else value * rate.value

    def status(self) -> ComponentStatus:
        """Degraded for ten minutes after an amount that could not be converted."""
        last_ns = self._last_ns
        if last_ns is None or self._clock.monotonic_ns() - last_ns > _DEGRADED_NS:
            return ComponentStatus(name="exchange rates", health=Health.OK)
        return ComponentStatus(
            name="exchange rates",
            health=Health.DEGRADED,
            detail=f"fills and cash flows without a rate: {self.unrated} ({self._last_reason});"
            " record quotes of such a pair and define it, or set accounting.pegs",
        )

    def _take_quote(self, quote: Quote) -> None:
        name = (quote.venue, quote.instrument)
        try:
            key = self._quoted[name]
        except KeyError:
            key = self._pair_named(name)
        bid, ask = quote.bid, quote.ask
        if key is None or bid is None or ask is None:
            return
        before = self._mids.get(key)
        price = (bid + ask) / 2
        if (before is None or quote.time_ns >= before.time_ns) and 0 < price < _LARGEST:
            self._mids[key] = Mid(price, quote.time_ns)

    def _pair_named(self, name: tuple[str, str]) -> tuple[str, str] | None:
        definition = self.definitions.get(*name)
        key = None if definition is None else (definition.venue, definition.instrument)
        if key is not None and not self.rates.is_pair(*key):
            key = None
        if len(self._quoted) >= MAX_DEFINITIONS:
            self._quoted.clear()
        self._quoted[name] = key
        return key

    def _instrument(self, event: Instrument, *, is_new: bool) -> Instrument:
        """Takes a definition; returns it, or the user's definition in its place."""
        pinned = self._pinned.get((event.venue, event.instrument))
        if pinned is not None:
            replaced = replace(pinned, time_ns=event.time_ns)
            event = event if replaced == event else replaced
        if is_new:
            self._define(event)
        return event

    def _define(self, definition: Instrument) -> None:
        if self.definitions.take(definition):
            self.rates.define(definition)
            self._quoted.clear()

    def _fill(self, fill: Fill) -> Fill:
        self.fills += 1
        definition = self.definitions.get(fill.venue, fill.instrument)
        if definition is None:
            self.undefined_fills += fill.multiplier is None
        else:
            fill = _with_contract(fill, definition)
        if fill.risk is None and (risk := self._risks.risk(fill)) is not None:
            fill = replace(fill, risk=risk)
        rate, fee_rate = fill.rate, fill.fee_rate
        pair = (fill.base_currency, None if definition is None else definition.quote_currency, fill.price)
        if rate is None and fill.currency is not None:
            rate = self._rate(fill.currency, fill.time_ns, pair)
        fee_currency = fill.fee_currency or fill.currency
        if fee_rate is None and fee_currency is not None:
            is_other = fee_currency != fill.currency
            fee_rate = self._rate(fee_currency, fill.time_ns, pair) if is_other else rate
        if (rate, fee_rate) == (fill.rate, fill.fee_rate):
            return fill
        return replace(fill, rate=rate, fee_rate=fee_rate)

    def _order(self, order: Order) -> Order:
        """The end of an order with its contract. A missing rate is not an incident: no money has moved."""
        definition = self.definitions.get(order.venue, order.instrument)
        if definition is not None:
            order = _with_contract(order, definition)
        if order.rate is not None or order.currency is None:
            return order
        rate = self.rates.rate(order.currency, order.time_ns)
        return replace(order, rate=rate.value) if isinstance(rate, Rate) else order

    def _cash(self, cash: Cash) -> Cash:
        if cash.currency is None or cash.rate is not None:
            return cash
        rate = self._rate(cash.currency, cash.time_ns)
        return cash if rate is None else replace(cash, rate=rate)

    def _rate(
        self, currency: str, time_ns: int, pair: tuple[str | None, str | None, float] | None = None
    ) -> float | None:
        """The rate of a currency; if no mids tell it, by the price of a fill in a pair with it."""
        rate = self.rates.rate(currency, time_ns)
        if isinstance(rate, Rate):
            return rate.value
        if pair is not None and (value := self._rate_by_price(currency, time_ns, *pair)) is not None:
            return value
        self.unrated += 1
        self._last_reason, self._last_ns = rate.reason, self._clock.monotonic_ns()
        return None

    def _rate_by_price(
        self, currency: str, time_ns: int, base: str | None, quote: str | None, price: float
    ) -> float | None:
        if base is None or quote is None or not 0 < price < _LARGEST:
            return None
        code = self.rates.codes.code
        if code(currency) == code(base):
            other, factor = quote, price
        elif code(currency) == code(quote):
            other, factor = base, 1 / price
        else:
            return None
        rate = self.rates.rate(other, time_ns)
        return None if isinstance(rate, NoRate) else rate.value * factor


def _is_among(sequence: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(low <= sequence <= high for low, high in ranges)


def _with_contract(event: _TradingT, definition: Instrument) -> _TradingT:
    """A fill or order with those fields of a definition that its emitter did not state."""
    known = {
        "multiplier": definition.multiplier,
        "inverse": definition.inverse,
        "lot_size": definition.lot_size,
        "base_currency": definition.base_currency,
        "currency": settlement_currency(definition),
    }
    added = {
        name: value
        for name, value in known.items()
        if value is not None and getattr(event, name, value) is None
    }
    return replace(event, **added) if added else event
