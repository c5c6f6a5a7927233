"""Units, colours, thresholds and value mappings: the same thing looks the same on every dashboard."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit

OK, DEGRADED, FAILED, NEUTRAL = "#73BF69", "#EAB839", "#F2495C", "#8E8E8E"
BUY, SELL = "#5794F2", "#FF9830"
"""Buys and bids, sells and asks."""
UP, DOWN = OK, FAILED
MID, MICRO, VWAP, SESSION = "#D8D9DA", "#37872D", "#B877D9", "#C4A2D9"
TEXT = "text"


@dataclass(frozen=True, slots=True)
class Display:
    """A Grafana unit and the number of decimals; ``None`` lets Grafana choose."""

    unit: str
    decimals: int | None = None


_DISPLAYS = {
    Unit.NONE: Display("short"),
    Unit.SECONDS: Display("s"),
    Unit.BYTES: Display("bytes"),
    Unit.RATIO: Display("percentunit"),
    Unit.PER_SECOND: Display("suffix:/s"),
    Unit.BASIS_POINTS: Display("suffix: bps", 2),
    # "short" would abbreviate a price to 64.0 K, and without decimals Grafana shows 1.08 for 1.08494.
    Unit.PRICE: Display("none", 5),
    Unit.QUANTITY: Display("short"),
    Unit.MONEY: Display("locale", 2),
    Unit.R: Display("suffix: R", 2),
}
RATIO = _DISPLAYS[Unit.RATIO]
COUNT = Display("locale", 0)
WHOLE_MONEY = Display("locale", 0)
"""Equity and exposure."""
PLAIN = Display("short")
TIME = Display("dateTimeAsIso")
AGO = Display("dateTimeFromNow")
NAME = Display("string")
"""Texts. With the unit of a number Grafana shows an order with the id 4711 as 4.71 K, and its link, too."""


def display_of(unit: Unit) -> Display:
    """How Grafana shows a unit."""
    return _DISPLAYS[unit]


def thresholds(*steps: tuple[float, str], base: str = TEXT) -> build.ThresholdsConfig:
    """Colours from a value on; ``base`` is the colour below the first one."""
    first = model.Threshold(value=None, color=base)
    rest = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps([first, *rest])


def rising(degraded: float, failed: float | None = None) -> build.ThresholdsConfig:
    """Green, then yellow from ``degraded`` on, then red from ``failed`` on."""
    steps = [(degraded, DEGRADED)] if failed is not None else [(degraded, FAILED)]
    return thresholds(*steps, *([(failed, FAILED)] if failed is not None else []), base=OK)


def no_colour() -> build.ThresholdsConfig:
    """A figure without a judgement."""
    return thresholds()


def signed() -> build.ThresholdsConfig:
    """Red below zero, green above."""
    return thresholds((0, TEXT), (1e-9, UP), base=DOWN)


def states(**colours: str) -> model.ValueMap:
    """Values with their colours, in the order of severity."""
    return model.ValueMap(
        options={
            name: model.ValueMappingResult(color=colour, index=index)
            for index, (name, colour) in enumerate(colours.items())
        }
    )


def texts(*values: tuple[float, str, str]) -> model.ValueMap:
    """Numbers that stand for a state: value, text and colour."""
    return model.ValueMap(
        options={
            f"{value:g}": model.ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, text, colour) in enumerate(values)
        }
    )


VERDICTS = {
    "live": OK,
    "quiet": "#96D98D",
    "stale": "#E02F44",
    "mute": FAILED,
    "gap": DEGRADED,
    "closed": NEUTRAL,
}
VERDICT = states(**VERDICTS)
HEALTH = texts((1, "ok", OK), (0.5, "degraded", DEGRADED), (0, "failed", FAILED))
YES_NO = texts((1, "yes", OK), (0, "no", FAILED))
UP_DOWN = texts((1, "up", OK), (0, "down", FAILED))
SIDE = states(buy=BUY, sell=SELL, flat=NEUTRAL)
ORDER_STATE = states(
    submitted=DEGRADED,
    accepted=BUY,
    partially_filled=BUY,
    unresolved=FAILED,
    filled=OK,
    cancelled=NEUTRAL,
    rejected=FAILED,
    expired=NEUTRAL,
)
GAP_STATE = states(open=FAILED, announced=DEGRADED, recovered=OK)
SEVERITY = states(page=FAILED, ticket=DEGRADED)
ALERT_STATE = states(firing=FAILED, resolved=OK)
Thresholds = build.ThresholdsConfig
BREACHED = model.ValueMap(
    options={
        "true": model.ValueMappingResult(text="breached", color=FAILED, index=0),
        "false": model.ValueMappingResult(text="within", color=OK, index=1),
    }
)
