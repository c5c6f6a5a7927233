"""The present: the newest samples, whether trading may go on, and the alerts that fire now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decahertz.alert import TOPIC, Alert
from decahertz.sample import SampleBatch
from decahertz.trading_state import TOPIC as TRADING
from decahertz.trading_state import TradingState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from decahertz.bus import Bus, Message


class LatestSamples:
    """Holds the newest batch of each collector. A key that is missing from the batch is retired."""

    def __init__(self, bus: Bus) -> None:
        self._batches: dict[str, SampleBatch] = {}
        self.trading: TradingState | None = None
        """The newest state of trading; ``None`` before the first."""
        bus.subscribe("samples:*", self._store)
        bus.subscribe(TRADING, self._store)

    def _store(self, message: Message) -> None:
        if isinstance(message, SampleBatch):
            self._batches[message.schema.collector] = message
        elif isinstance(message, TradingState):
            self.trading = message

    def get(self, collector: str) -> SampleBatch | None:
        """The newest batch of a collector; ``None`` before its first."""
        return self._batches.get(collector)

    def __iter__(self) -> Iterator[SampleBatch]:
        return iter(tuple(self._batches.values()))


class LatestAlerts:
    """Holds the alerts that fire now, from either origin, whether the database has them or not."""

    def __init__(self, bus: Bus) -> None:
        self._firing: dict[str, Alert] = {}
        bus.subscribe(TOPIC, self._store)

    def load(self, alerts: Iterable[Alert]) -> None:
        """Adds the alerts that fired before the start; what arrived since is newer."""
        before = {alert.id: alert for alert in alerts if alert.is_firing}
        self._firing = before | self._firing

    def get(self, alert_id: str) -> Alert | None:
        """The alert, if it fires."""
        return self._firing.get(alert_id)

    def __iter__(self) -> Iterator[Alert]:
        return iter(tuple(self._firing.values()))

    def _store(self, message: Message) -> None:
        if not isinstance(message, Alert):
            return
        if message.is_firing:
            self._firing[message.id] = message
        else:
            self._firing.pop(message.id, None)
