"""The account of a strategy: its cash, its desks, and what it reports."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from decahertz_client import Client
from demo.market import NOTIONAL, Key, View
from demo.strategies import Strategy

if TYPE_CHECKING:
    from demo.desk import Desk

START_EQUITY = 1_000_000.0
FUNDING_SECONDS = 5  # between two payments of funding: hours of a real market


class Account:
    """Cash and desks of one strategy."""

    def __init__(self, strategy: Strategy, recorder: Client) -> None:
        self.strategy = strategy
        self.recorder = recorder
        self.cash = START_EQUITY
        self.desks: dict[Key, Desk] = {}
        self._funded = time.time_ns() // (FUNDING_SECONDS * 10**9)
        started = f"{time.time_ns() // 10**6:x}"
        self._numbers = (f"{strategy.name}-{started}-{n}" for n in itertools.count(1))

    def next_number(self) -> str:
        """Returns an order id that is unique across all runs."""
        return next(self._numbers)

    def report(self, views: dict[Key, View]) -> None:
        """Reports equity, open positions and exposure, and sends a heartbeat."""
        name = self.strategy.name
        equity, gross, largest = self.cash, 0.0, NOTIONAL
        period = time.time_ns() // (FUNDING_SECONDS * 10**9)
        for key, desk in self.desks.items():
            mark = views[key].quote.mid if key in views else desk.average
            if desk.position:
                if period != self._funded:
                    desk.fund(period, mark)
                equity += desk.equity(mark)
                gross += desk.money_in(abs(desk.position), mark)
                desk.report(mark)
            if mark:
                largest += max(NOTIONAL, desk.money_in(desk.contract.quantity(mark), mark))
        self._funded = period
        limit = 1.25 * largest  # a price may rise while a position is open
        self.recorder.equity(strategy=name, equity=equity, cash=self.cash)
        self.recorder.risk(
            name="gross-exposure", value=gross, limit=limit, strategy=name, breached=gross > limit
        )
        self.recorder.heartbeat(component=name)
