"""Which topic an event goes to. Samples know their own: ``metrics:{collector}:{key…}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from decahertz.event import (
    AnyEvent,
    Equity,
    Event,
    Fill,
    Heartbeat,
    Log,
    News,
    Order,
    Position,
    Quote,
    Regime,
    Risk,
    Signal,
    Tick,
)

METRICS: Final = "metrics"

FAMILIES: Final[Mapping[type[Event], str]] = {
    Quote: "quotes",
    Tick: "ticks",
    Signal: "signals",
    Order: "orders",
    Fill: "fills",
    Position: "positions",
    Equity: "equity",
    Regime: "regime",
    Risk: "risk",
    News: "news",
    Log: "logs",
    Heartbeat: "heartbeats",
}
"""The first segment of the topic of each type of event."""

PER_INSTRUMENT: Final = frozenset({"quotes", "ticks"})
"""Families whose second segment is the instrument; the others are one topic each."""


def event_topic(event: AnyEvent) -> str:
    """``quotes:BTC-USD`` for a quote, ``fills`` for a fill."""
    if isinstance(event, Quote):
        return f"quotes:{event.instrument}"
    if isinstance(event, Tick):
        return f"ticks:{event.instrument}"
    return FAMILIES[type(event)]
