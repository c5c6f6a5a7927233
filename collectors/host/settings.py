"""Settings of the sampler and the choice of collectors: ``[sampler]`` and ``[collectors]``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from decahertz.settings import Seconds


class SamplerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The 10 Hz sampler."""

    budget_seconds: Annotated[
        float,
        Meta(gt=0, le=0.1, description="Time budget of one collector per cycle."),
    ] = 0.02
    step_seconds: Annotated[
        Seconds,
        Meta(description="A larger jump of the wall clock counts as a step, not as drift."),
    ] = 0.05
    checkpoint_seconds: Annotated[
        Seconds,
        Meta(description="Interval of saving the state of the collectors, from which a restart continues."),
    ] = 10.0


class CollectorsSettings(Struct, frozen=True):
    """Which collectors run. Each has its own section, ``[collectors.NAME]``."""

    enabled: Annotated[
        tuple[str, ...],
        Meta(description="Collectors to run, by entry-point name."),
    ] = ("market", "strategy", "portfolio", "execution", "risk", "system")
