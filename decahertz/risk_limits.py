"""Risk limits: the section ``[risk]`` of the settings.

The keys of ``[risk]`` limit each strategy, those of ``[risk.desk]`` all strategies together, and those of
``[risk.strategies.NAME]`` replace the former for one strategy. Nothing is limited unless it is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from decahertz.settings import SettingsError

OWN_PREFIX = "recorder."
"""Start of the names of the recorder's own measures, in ``risk`` events and samples."""
CAN_TRADE = f"{OWN_PREFIX}can_trade"
"""Name of the event and of the measure that tell whether anything speaks against trading: 1 if nothing does,
otherwise 0."""
NET_EXPOSURE = f"{OWN_PREFIX}net_exposure."
"""Start of the names of the desk's exposures by settlement currency, before the currency."""
NO_CURRENCY = "unknown"
"""Stands for the currency of instruments without a definition."""

Thresholds: TypeAlias = Annotated[tuple[Annotated[float, Meta(gt=0, lt=1e300)], ...], Meta(max_length=2)]
_FORM = " One number: the hard limit. Two: the soft and the hard limit."


class Level(IntEnum):
    """Which limit of a measure is exceeded."""

    OK = 0
    SOFT = 1
    HARD = 2


class Limit(Struct, frozen=True):
    """A limit of one measure. A value above it exceeds it."""

    measure: str
    soft: float | None
    hard: float

    def level(self, value: float) -> Level:
        """Returns which limit a value exceeds."""
        if value > self.hard:
            return Level.HARD
        return Level.SOFT if self.soft is not None and value > self.soft else Level.OK


def _key(description: str) -> Meta:
    return Meta(description=description + _FORM)


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one strategy, or of all together. Amounts are in the account currency."""

    gross_exposure: Annotated[
        Thresholds | None, _key("Limit of the sum of the sizes of all open positions.")
    ] = None
    net_exposure: Annotated[Thresholds | None, _key("Limit of the size of their signed sum.")] = None
    instrument_exposure: Annotated[
        Thresholds | None, _key("Limit of the size of the position in one instrument.")
    ] = None
    currency_exposure: Annotated[
        Thresholds | None, _key("Limit of the size of the signed sum in one settlement currency.")
    ] = None
    daily_loss: Annotated[Thresholds | None, _key("Limit of the loss realised in a day.")] = None
    weekly_loss: Annotated[Thresholds | None, _key("Limit of the loss realised in a week.")] = None
    daily_loss_r: Annotated[Thresholds | None, _key("Limit of the loss of a day in R.")] = None
    weekly_loss_r: Annotated[Thresholds | None, _key("Limit of the loss of a week in R.")] = None
    open_orders: Annotated[Thresholds | None, _key("Limit of the number of open orders.")] = None
    open_positions: Annotated[Thresholds | None, _key("Limit of the number of open positions.")] = None

    drawdown: Annotated[Thresholds | None, _key("Limit of the fall of equity from its highest value.")] = None
    red_days: Annotated[Thresholds | None, _key("Limit of the number of consecutive days with a loss.")] = (
        None
    )

    def limits(self) -> list[Limit]:
        """Returns the limits that are set."""
        found = ((name, getattr(self, name)) for name in MEASURES)
        return [Limit(name, at[0] if len(at) > 1 else None, at[-1]) for name, at in found if at]


MEASURES: tuple[str, ...] = Limits.__struct_fields__
"""The measures that can be limited."""


_Most: TypeAlias = Annotated[float, Meta(gt=0, lt=1e300)]


class OrderLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Checks of an order request before it is queued."""

    max_quantity: Annotated[
        _Most | None, Meta(description="Largest quantity of an order request, of each of its legs.")
    ] = None
    max_notional: Annotated[
        _Most | None,
        Meta(description="Largest value of an order request, in the account currency; not of options."),
    ] = None
    price_collar_bps: Annotated[
        _Most | None,
        Meta(description="How much worse than the mid a limit price may be, in basis points of the mid."),
    ] = None
    max_open_orders: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Open orders and requests of a strategy from which on none is queued."),
    ] = None
    require_live_feed: Annotated[
        bool,
        Meta(description="Queue a request only while the feed of its instruments is live or quiet."),
    ] = True
    max_mid_age_seconds: Annotated[
        _Most, Meta(description="Age of the newest quote or tick from which on none is queued.")
    ] = 5.0
    halt_on_hard_limits: Annotated[
        bool,
        Meta(
            description="A hard limit that is exceeded halts its strategy or the desk until a person resumes."
        ),
    ] = True


class RiskSettings(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section ``[risk]``."""

    desk: Limits = Limits()
    orders: OrderLimits = OrderLimits()
    strategies: Mapping[str, Limits] = MappingProxyType({})

    def of_strategy(self, strategy: str) -> list[Limit]:
        """Returns the limits of a strategy: its own ones, and those of each strategy for the others."""
        own = self.strategies.get(strategy, self)
        chosen = {name: getattr(own, name) for name in MEASURES}
        return Limits(
            **{name: getattr(self, name) if at is None else at for name, at in chosen.items()}
        ).limits()


def check_limits(settings: RiskSettings) -> None:
    """Raises :class:`~decahertz.settings.SettingsError` for a soft limit that is not below its hard one."""
    tables: list[tuple[str, Limits]] = [("risk", settings), ("risk.desk", settings.desk)]
    tables += [(f"risk.strategies.{name}", limits) for name, limits in settings.strategies.items()]
    for prefix, limits in tables:
        for limit in limits.limits():
            if limit.soft is not None and limit.soft >= limit.hard:
                raise SettingsError(
                    f"{prefix}.{limit.measure}",
                    f"the soft limit {limit.soft:g} is not below the hard limit {limit.hard:g}",
                )
