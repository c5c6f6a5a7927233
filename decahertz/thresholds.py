"""The thresholds of all alerts: the section ``[alerts]`` of the settings.

The watchdog reads them from here. Prometheus rules read them from the gauge
``decahertz_alert_threshold{alert="FeedStale"}``, which has no series for a disabled alert, so that its rule
finds nothing to compare with.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from decahertz.conditions import CONDITION_BY_ALERT, CONDITIONS, Condition
from decahertz.settings import Seconds, SettingsError


def _explained(condition: Condition) -> str:
    side = "Above" if condition.is_above else "Below"
    return f"{condition.alert} fires {side.lower()} this. {condition.help}"


_Thresholds: Any = msgspec.defstruct(
    "_Thresholds",
    [
        (
            condition.key,
            Annotated[float, Meta(ge=0, lt=condition.below, description=_explained(condition))],
            condition.default,
        )
        for condition in CONDITIONS
        if condition.key
    ],
    frozen=True,
    kw_only=True,
)


class AlertsSettings(_Thresholds, Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):  # type: ignore[misc] # one field per threshold
    """Thresholds of all alerts, and Alertmanager: the section ``[alerts]``."""

    disabled: Annotated[
        tuple[str, ...],
        Meta(description="Alerts that are switched off, in the watchdog and in the Prometheus rules."),
    ] = ()
    expire_hours: Annotated[
        float,
        Meta(
            gt=0,
            le=8760,
            description="Alerts of Prometheus are resolved when Alertmanager has not reported them for this"
            " long; above 0.1, within which Alertmanager repeats its reports as shipped.",
        ),
    ] = 24.0
    alertmanager_url: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^\s@]+)?$",
            description="Address of Alertmanager, for silences; empty: an acknowledgement makes none.",
        ),
    ] = ""
    alertmanager_timeout_seconds: Annotated[Seconds, Meta(description="Timeout for its answer.")] = 3.0

    def threshold(self, condition: Condition) -> float | None:
        """The threshold of a condition; ``None``: it has none, or is disabled."""
        if not condition.key or condition.alert in self.disabled:
            return None
        value: float = getattr(self, condition.key)
        return value


def check_thresholds(settings: AlertsSettings, *, spool_age_seconds: float) -> None:
    """Raises :class:`~decahertz.settings.SettingsError` for settings that contradict each other.

    ``spool_age_seconds`` is the age at which the spool drops entries.
    """
    for name in settings.disabled:
        _check_disabled(name)
    ack, fill = settings.order_ack_seconds, settings.order_fill_seconds
    if fill < ack:
        raise SettingsError(
            "alerts.order_fill_seconds",
            f"{fill:g} s are less than alerts.order_ack_seconds ({ack:g} s): no order is filled before it is"
            " accepted",
        )
    if settings.spool_age_seconds >= spool_age_seconds and "SpoolOld" not in settings.disabled:
        raise SettingsError(
            "alerts.spool_age_seconds",
            f"{settings.spool_age_seconds:g} s are not below spool.max_age_hours ({spool_age_seconds:g} s):"
            " entries would be dropped before the alert",
        )


def _check_disabled(name: str) -> None:
    if name not in CONDITION_BY_ALERT:
        close = difflib.get_close_matches(name, CONDITION_BY_ALERT, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SettingsError("alerts.disabled", f"there is no alert {name}{hint}")
    if not CONDITION_BY_ALERT[name].key:
        raise SettingsError(
            "alerts.disabled", f"{name} does not depend on the recorder: remove its rule from Prometheus"
        )
