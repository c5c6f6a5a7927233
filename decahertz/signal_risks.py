"""The money at risk of the signals that led to orders: the R of a trade whose fills do not state it."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

from msgspec import Struct

from decahertz.event import Fill, Order, Signal

_KEPT = 10_000
"""Newest signals, and newest orders with a signal, that are kept."""
_SignalKey: TypeAlias = tuple[str, str]
"""(strategy, signal_id)."""
_OrderKey: TypeAlias = tuple[str, str, str, str, str]
"""(strategy, account, venue, instrument, order_id)."""
_KeyT = TypeVar("_KeyT")
_ValueT = TypeVar("_ValueT")


class SignalRisks(Struct):
    """Risks of the newest signals, and which orders belong to them."""

    _risks: dict[_SignalKey, float] = {}
    _signals: dict[_OrderKey, str] = {}

    def take(self, event: Signal | Order) -> None:
        """Learns from a signal with a risk, or from an order that names its signal."""
        if isinstance(event, Signal):
            if event.risk is not None:
                _put(self._risks, (event.strategy, event.signal_id), event.risk)
        elif event.signal_id is not None:
            _put(self._signals, _key(event), event.signal_id)

    def risk(self, fill: Fill) -> float | None:
        """The risk of the signal that a fill's order belongs to; ``None``: it is not known."""
        signal_id = self._signals.get(_key(fill)) if self._signals else None
        return None if signal_id is None else self._risks.get((fill.strategy, signal_id))


def _key(event: Order | Fill) -> _OrderKey:
    return event.strategy, event.account, event.venue, event.instrument, event.order_id


def _put(newest: dict[_KeyT, _ValueT], key: _KeyT, value: _ValueT) -> None:
    newest.pop(key, None)
    newest[key] = value
    if len(newest) > _KEPT:
        del newest[next(iter(newest))]
