"""Checks before an order request is queued, by the section ``[risk.orders]`` of the settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from collectors.execution.sample import ExecutionSample
from collectors.market.sample import MarketSample, Verdict
from decahertz.event import Side
from decahertz.order_requests import (
    AnyOrderRequest,
    EquityRequest,
    ManualLegsRequest,
    OptionStrategyRequest,
)
from decahertz.risk.measures import open_orders_of

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from decahertz.clock import Clock
    from decahertz.contracts import Contracts
    from decahertz.latest import LatestSamples
    from decahertz.risk_limits import OrderLimits

_LIVING: Final = frozenset({Verdict.LIVE, Verdict.QUIET})
_BASIS_POINTS: Final = 10_000.0


HALTED: Final = "halted"
_MARKET: Final = ("feed-not-live", "market-closed", "mid-too-old")
RULES: Final = (HALTED, *_MARKET, "max-quantity", "max-notional", "price-collar", "open-orders")
"""All rules, in the order in which they are shown."""


class Violation(NamedTuple):
    """A rule that a request violates."""

    rule: str
    """`halted`, `market-closed`, `feed-not-live`, `mid-too-old`, `max-quantity`, `max-notional`,
    `price-collar` or `open-orders`."""
    reason: str


class RequestViolationError(Exception):
    """Raised for a request that violates rules."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{rule}: {reason}" for rule, reason in violations))
        self.violations = tuple(violations)


class Trade(NamedTuple):
    """One instrument of a request; all options of a strategy are one, under their underlying."""

    instrument: str
    quantity: float
    """Of options, that of the largest leg."""


class PreTradeChecks:
    """Judges requests by the newest samples of the market. Unknown values speak against a request."""

    def __init__(
        self,
        settings: OrderLimits,
        latest: LatestSamples,
        clock: Clock,
        contracts: Contracts,
    ) -> None:
        self._settings = settings
        self._latest = latest
        self._clock = clock
        self._contracts = contracts

    @property
    def counts_requests(self) -> bool:
        """Whether :meth:`violations` needs to know how many requests are open."""
        return self._settings.max_open_orders is not None

    @property
    def rules(self) -> set[str]:
        """The rules that the settings ask for."""
        settings = self._settings
        asked = {
            "max-quantity": settings.max_quantity,
            "max-notional": settings.max_notional,
            "price-collar": settings.price_collar_bps,
            "open-orders": settings.max_open_orders,
        }
        found = {rule for rule, value in asked.items() if value is not None}
        return found | set(_MARKET) if settings.require_live_feed else found

    def violations(self, body: AnyOrderRequest, open_requests: int) -> list[Violation]:
        """Returns every rule that a request violates.

        ``open_requests`` is the number of requests of its strategy that are not over.
        """
        return list(self._violations(body, open_requests))

    def _violations(self, body: AnyOrderRequest, open_requests: int) -> Iterator[Violation]:
        settings = self._settings
        trades = list(_trades(body))
        markets = self._markets(body.venue, {body.instrument, *(trade.instrument for trade in trades)})
        for trade in trades:
            yield from self._market(body.venue, trade.instrument, markets)
            most = settings.max_quantity
            if most is not None and trade.quantity > most:
                reason = f"{trade.quantity:g} of {trade.instrument} is more than {most:g}"
                yield Violation("max-quantity", reason)
        if settings.max_notional is not None:
            yield from self._notional(body, trades, markets, settings.max_notional)
        if settings.price_collar_bps is not None:
            yield from _collar(body, markets, settings.price_collar_bps)
        if settings.max_open_orders is not None:
            yield from self._open_orders(body.strategy, open_requests, settings.max_open_orders)

    def _market(
        self, venue: str, instrument: str, markets: dict[tuple[str, str], MarketSample]
    ) -> Iterator[Violation]:
        if not self._settings.require_live_feed:
            return
        sample = markets.get((venue, instrument))
        if sample is None:
            yield Violation("feed-not-live", f"the recorder has no market of {instrument} at {venue}")
        elif sample.verdict is Verdict.CLOSED:
            yield Violation("market-closed", f"the market of {instrument} at {venue} is closed")
        elif sample.verdict not in _LIVING:
            reason = f"the feed of {instrument} at {venue} is {sample.verdict.value}"
            yield Violation("feed-not-live", reason)
        elif sample.mid is None or sample.age_seconds is None:
            yield Violation("mid-too-old", f"{instrument} at {venue} has no mid")
        elif sample.age_seconds > self._settings.max_mid_age_seconds:
            age, most = sample.age_seconds, self._settings.max_mid_age_seconds
            reason = f"the mid of {instrument} at {venue} is {age:.1f} s old, more than {most:g} s"
            yield Violation("mid-too-old", reason)

    def _notional(
        self,
        body: AnyOrderRequest,
        trades: Sequence[Trade],
        markets: dict[tuple[str, str], MarketSample],
        most: float,
    ) -> Iterator[Violation]:
        """Options have no prices here: their requests are limited by their quantity."""
        if not isinstance(body, EquityRequest | ManualLegsRequest):
            return
        total, now_ns = 0.0, self._clock.time_ns()
        for trade in trades:
            sample = markets.get((body.venue, trade.instrument))
            prices = [] if sample is None or sample.mid is None else [sample.mid]
            if isinstance(body, EquityRequest):
                prices += [price for price in (body.limit_price, body.stop_price) if price is not None]
            if not prices:
                yield Violation("max-notional", f"there is no price of {trade.instrument} at {body.venue}")
                return
            value = self._contracts.notional(
                body.venue, trade.instrument, trade.quantity, max(prices), now_ns
            )
            if value is None:
                yield Violation("max-notional", f"there is no rate for the value of {trade.instrument}")
                return
            total += value
        if total > most:
            yield Violation("max-notional", f"its value of {total:,.2f} is more than {most:,.2f}")

    def _open_orders(self, strategy: str, open_requests: int, most: int) -> Iterator[Violation]:
        batch = self._latest.get("execution")
        samples = [] if batch is None else [s for s in batch.samples if isinstance(s, ExecutionSample)]
        count = open_requests + open_orders_of(samples)[strategy]
        if count >= most:
            reason = f"{strategy} has {count} open orders and requests, most are {most}"
            yield Violation("open-orders", reason)

    def _markets(self, venue: str, instruments: Container[str]) -> dict[tuple[str, str], MarketSample]:
        batch = self._latest.get("market")
        samples = () if batch is None else batch.samples
        return {
            (venue, s.instrument): s
            for s in samples
            if isinstance(s, MarketSample) and s.instrument in instruments and s.venue == venue
        }


def instruments_of(body: AnyOrderRequest) -> list[str]:
    """The instruments that a request trades, the one that it names first."""
    return list(dict.fromkeys([body.instrument, *(trade.instrument for trade in _trades(body))]))


def _trades(body: AnyOrderRequest) -> Iterator[Trade]:
    if isinstance(body, ManualLegsRequest):
        for leg in body.legs:
            yield Trade(leg.instrument, float(body.quantity * leg.ratio))
    elif isinstance(body, OptionStrategyRequest):
        yield Trade(body.instrument, float(body.quantity * max(leg.ratio for leg in body.legs)))
    else:
        yield Trade(body.instrument, float(body.quantity))


def inapplicable_rules(body: AnyOrderRequest) -> set[str]:
    """Returns the rules that say nothing about a request: options have no prices, market orders no limit."""
    is_option = isinstance(body, OptionStrategyRequest)
    found = {"max-notional"} if is_option else set()
    return found | {"price-collar"} if is_option or body.limit_price is None else found


def _collar(
    body: AnyOrderRequest, markets: Mapping[tuple[str, str], MarketSample], most: float
) -> Iterator[Violation]:
    """A limit that is worse than the mid by more than the collar; a better one only waits.

    Several legs are bought as one unit at their net price: its distance from the net mid is measured in basis
    points of the mids of all legs, bought or sold, for the net may be near zero.
    """
    limit = body.limit_price
    if limit is None or isinstance(body, OptionStrategyRequest):
        return
    if isinstance(body, EquityRequest):
        what, legs = "mid", [(body.instrument, body.side, 1)]
        limit = limit if body.side is Side.BUY else -limit
    else:
        what, legs = "net mid", [(leg.instrument, leg.side, leg.ratio) for leg in body.legs]
    net = gross = 0.0
    for instrument, side, ratio in legs:
        sample = markets.get((body.venue, instrument))
        if sample is None or sample.mid is None or sample.mid <= 0:
            yield Violation("price-collar", f"there is no mid of {instrument} at {body.venue}")
            return
        net += ratio * sample.mid * (1 if side is Side.BUY else -1)
        gross += ratio * sample.mid
    distance = (limit - net) / gross * _BASIS_POINTS
    if distance > most:
        shown = gross if isinstance(body, EquityRequest) else net
        worse = f"{distance:.1f} bps worse than the {what} {shown:g}"
        yield Violation("price-collar", f"{body.limit_price:g} is {worse}, most are {most:g} bps")
