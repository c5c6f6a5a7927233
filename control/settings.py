"""Settings of the control side: ``[control]``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class ControlSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The queue of order requests, and templates."""

    max_attempts: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="Times that an order request is handed out without a begin; then it is dead.",
        ),
    ] = 3
    schedule_grace_seconds: Annotated[
        float,
        Meta(
            ge=1,
            le=86_400,
            description="Time after which a scheduled submission is missed; nothing makes up for it.",
        ),
    ] = 60.0
    halt_on_alerts: Annotated[
        tuple[str, ...],
        Meta(description="Names of alerts that halt the desk when they fire, until a person resumes."),
    ] = ()
