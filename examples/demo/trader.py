"""The trader: passes quotes and order requests to desks, and chooses the instruments."""

from __future__ import annotations

import random
from typing import Any

from decahertz_client import Client, OrderRequest
from demo.account import START_EQUITY, Account
from demo.broker import Broker
from demo.desk import WARM_UP_QUOTES, Desk, RequestDesk
from demo.market import Contract, Key, Quote, View
from demo.strategies import ByRequest, MarketMaker, MeanReversion, Momentum

FAVOURITES = ("ES-FUT", "BTC-PERP", "BTC-USD", "USD/JPY", "EUR/USD", "ETH-USD")
"""Instruments of the synthetic market that it trades before all others: some of each kind."""
TRENDING, RANGING = 0.9, 0.7  # deviations between the means: a trend begins above, and ends below


class Trader:
    """Passes quotes to the desks of all strategies."""

    def __init__(self, recorder: Client, *, instruments: int, seed: int) -> None:
        self.views: dict[Key, View] = {}
        self.broker = Broker(recorder, self.views, random.Random(seed))  # noqa: S311 - a market, no secret
        strategies = (MeanReversion(), Momentum(), MarketMaker())
        self.accounts = [Account(strategy, recorder) for strategy in strategies]
        self._recorder = recorder
        self._regime = ""
        self._max_instruments = instruments
        self._carried_over: set[Key] = set()
        self._contracts: dict[Key, Contract | None] = {}
        self._favourites: set[Key] = set()
        """Preferred instruments that have not had a quote yet."""
        self._by_request = Account(ByRequest(), recorder)
        self._requested: list[RequestDesk] = []

    @property
    def is_complete(self) -> bool:
        """Whether the maximum number of instruments is reached."""
        return len(self.views) >= self._max_instruments

    @property
    def topics(self) -> list[str]:
        """Topics of the quotes of all instruments traded or carried over."""
        return sorted({f"quotes:{instrument}" for _, instrument in {*self.views, *self._carried_over}})

    def take(self, data: dict[str, Any]) -> None:
        """Takes a quote event from the WebSocket; one-sided quotes are ignored."""
        if data.get("bid") is None or data.get("ask") is None:
            return
        key = data["venue"], data["instrument"]
        quote = Quote(data["bid"], data["ask"], data.get("bid_size") or 0.0, data.get("ask_size") or 0.0)
        view = self.views.get(key)
        if view is None:
            if not self._is_traded(key):
                return
            view = self.views[key] = View(quote)
            self._favourites.discard(key)
        view.take(quote)
        self.broker.on_quote(key, quote)
        for account in self.accounts:
            self._desk(account, key).decide(view)

    def _is_traded(self, key: Key) -> bool:
        if key in self._carried_over or key in self._favourites:
            return True
        has_room = len(self.views) + len(self._favourites) < self._max_instruments
        return has_room and self._contracts.get(key, Contract()) is not None

    def define(self, instruments: list[dict[str, Any]]) -> None:
        """Takes the definitions of the instruments."""
        for item in instruments:
            if item["definition"] is not None:
                key = item["venue"], item["instrument"]
                self._contracts[key] = Contract.defined(item["definition"])
        known = {key[1]: key for key in self._contracts}
        chosen = [known[name] for name in FAVOURITES if name in known]
        self._favourites = set(chosen[: self._max_instruments])

    def carry_over(self, account: Account, positions: dict[Key, tuple[float, float]], result: float) -> None:
        """Starts with the positions (position and average price) and the result of earlier runs."""
        account.cash = START_EQUITY + result
        for key, (position, average) in positions.items():
            self._carried_over.add(key)
            desk = self._desk(account, key)
            desk.carry_over(position, average)
            if desk.contract.is_paid:
                account.cash -= desk.money_in(position, average)

    def report(self) -> None:
        """Reports each strategy, and the regime of the market if that has changed; called once a second."""
        for account in self.accounts:
            account.report(self.views)
        trends = [abs(view.trend) for view in self.views.values() if view.count >= WARM_UP_QUOTES]
        if trends:
            trend = sum(trends) / len(trends)
            border = RANGING if self._regime == "trending" else TRENDING
            regime = "trending" if trend > border else "ranging"
            if regime != self._regime:
                self._regime = regime
                self._recorder.regime(regime=regime)

    def execute(self, request: OrderRequest) -> str:
        """Sends the order of a request that was begun; returns why it cannot, or an empty text."""
        body = request.body
        key = body["venue"], body["instrument"]
        if request.kind != "equity" or body["order_type"] not in ("market", "limit"):
            return "the demo trades market and limit orders in one instrument"
        if key not in self.views:
            return f"the demo does not trade {key[1]} at {key[0]}"
        desk = RequestDesk(self._by_request, key, self.broker, self._contract(key), request)
        self._requested = [one for one in self._requested if one.order is not None]
        self._requested.append(desk)
        desk.start(self.views[key])
        return ""

    def check_time(self) -> None:
        """Checks the age of orders and positions, also if no quotes arrive."""
        for requested in self._requested:
            requested.decide(self.views[requested.key])
        for account in self.accounts:
            for key, desk in account.desks.items():
                if key in self.views:
                    desk.decide(self.views[key])

    def _desk(self, account: Account, key: Key) -> Desk:
        desk = account.desks.get(key)
        if desk is None:
            desk = account.desks[key] = Desk(account, key, self.broker, self._contract(key))
        return desk

    def _contract(self, key: Key) -> Contract:
        return self._contracts.get(key) or Contract()
