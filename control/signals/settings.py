"""Settings of generated signals: ``[signals]``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from msgspec import Meta, Struct

from decahertz.duration import DURATION_PATTERN
from decahertz.event import Name
from decahertz.settings import Seconds


class ScheduleSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One schedule: the section ``[signals.schedules.NAME]``."""

    generator: Annotated[str, Meta(description="Generator, by entry-point name.")]
    venue: Annotated[Name, Meta(description="Venue of the ticks.")]
    instrument: Annotated[Name, Meta(description="The instrument.")]
    timeframe: Annotated[str, Meta(pattern=DURATION_PATTERN, description="Width of the bars.")] = "1m"
    parameters: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[^=\s]+=.*$")], ...],
        Meta(description="Parameters of the generator: `fast=10`."),
    ] = ()
    strategy: Annotated[
        str, Meta(max_length=128, description="Strategy of the signals; empty: the name of the schedule.")
    ] = ""
    cron: Annotated[
        str,
        Meta(
            max_length=256,
            description="When to evaluate, in accounting.timezone: `*/5 9-17 * * MON-FRI`; empty: at the end"
            " of every bar.",
        ),
    ] = ""


class SignalsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Signals that the recorder generates."""

    enabled: Annotated[
        tuple[str, ...], Meta(description="Signal generators to load, by entry-point name.")
    ] = ("moving_average_cross", "opening_range_breakout", "z_score_reversion")
    settle_seconds: Annotated[
        Seconds, Meta(description="How long late ticks of a bar are waited for before it is evaluated.")
    ] = 1.0
    schedules: Mapping[str, ScheduleSettings] = MappingProxyType({})
