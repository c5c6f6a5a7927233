"""The conditions of the alerts, and their thresholds in the section ``[alerts]``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from decahertz.app.settings import Settings, check_contradictions, load
from decahertz.conditions import CONDITION_BY_ALERT, CONDITIONS
from decahertz.settings import SettingsError
from decahertz.thresholds import AlertsSettings
from decahertz.watchdog.self_metrics import export_thresholds


def loaded(**environ: str) -> Settings:
    return load(environ={"HOME": "/nonexistent", **environ}, file=None)


def test_names_and_keys_are_unique_and_say_their_unit() -> None:
    assert len(CONDITION_BY_ALERT) == len(CONDITIONS)
    keys = [condition.key for condition in CONDITIONS if condition.key]
    assert len(keys) == len(set(keys))
    for condition in CONDITIONS:
        assert re.fullmatch(r"[A-Z][a-z]+(?:[A-Z][a-z]+)+", condition.alert)
        assert condition.key.endswith(condition.unit.value)
        assert condition.help.endswith(".")


def test_defaults_lie_within_their_bounds_and_do_not_contradict() -> None:
    settings = loaded()
    check_contradictions(settings)
    for condition in CONDITIONS:
        expected = condition.default if condition.key else None
        assert settings.alerts.threshold(condition) == expected
        assert condition.default < condition.below


@pytest.mark.parametrize("value", ["much", "nan", "inf", "-1", "true", ""])
def test_a_threshold_that_is_no_usable_number_is_refused_with_its_key(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^alerts\.loop_lag_seconds: .*\(from the environment\)$"):
        loaded(DECAHERTZ_ALERTS_LOOP_LAG_SECONDS=value)


def test_a_threshold_that_no_value_can_exceed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "decahertz.toml"
    file.write_text("[alerts]\ncpu_ratio = 1.0\n")
    with pytest.raises(SettingsError, match=r"^alerts\.cpu_ratio: 1\.0 is invalid"):
        load(file=file, environ={"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"DECAHERTZ_ALERTS_ORDER_FILL_SECONDS": "0.5"},
            r"^alerts\.order_fill_seconds: 0\.5 s are less than alerts\.order_ack_seconds \(1 s\)",
        ),
        (
            {"DECAHERTZ_SPOOL_MAX_AGE_HOURS": "0.05"},
            r"^alerts\.spool_age_seconds: 300 s are not below spool\.max_age_hours \(180 s\)",
        ),
        (
            {"DECAHERTZ_ALERTS_DISABLED": "FeedStale,FeedMut"},
            r"^alerts\.disabled: there is no alert FeedMut; did you mean FeedMute\?",
        ),
        ({"DECAHERTZ_ALERTS_DISABLED": "RecorderDown"}, r"^alerts\.disabled: RecorderDown does not depend"),
        (
            {"DECAHERTZ_ALERTS_EXPIRE_HOURS": "0.1"},
            r"^alerts\.expire_hours: 0\.1 h are not above the 6 minutes after which Alertmanager repeats",
        ),
    ],
)
def test_contradictions_are_refused_with_the_key(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_contradictions(loaded(**environ))


def test_the_registry_has_the_threshold_of_every_alert_that_is_not_disabled() -> None:
    registry = CollectorRegistry()
    export_thresholds(registry, AlertsSettings(loop_lag_seconds=2.5, disabled=("FeedMute",)))

    def value(alert: str) -> float | None:
        return registry.get_sample_value("decahertz_alert_threshold", {"alert": alert})

    assert value("EventLoopLag") == 2.5
    assert value("FeedStale") == 15.0
    assert value("FeedMute") is None
    assert value("RecorderDown") is None
    assert sum(value(c.alert) is not None for c in CONDITIONS) == sum(bool(c.key) for c in CONDITIONS) - 1
