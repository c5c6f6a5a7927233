"""The configuration of Alertmanager: as shipped, and with receivers by settings."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from decahertz.app.alertmanager import REPORTED_AGAIN_SECONDS, AlertmanagerSettings, alertmanager_config
from decahertz.app.settings import check_contradictions, load
from decahertz.conditions import CONDITION_BY_ALERT
from decahertz.settings import SettingsError
from tests.pipeline.running import ROOT, environment, run
from tests.servers import require

SHIPPED = ROOT / "prometheus/alertmanager.yml"
MAIL = {
    "DECAHERTZ_ALERTMANAGER_EMAIL_TO": "desk@example.com, ada@example.com",
    "DECAHERTZ_ALERTMANAGER_EMAIL_FROM": "decahertz@example.com",
    "DECAHERTZ_ALERTMANAGER_SMTP_HOST": "smtp.example.com:587",
    "DECAHERTZ_ALERTMANAGER_SMTP_USER": "decahertz",
    "DECAHERTZ_ALERTMANAGER_SMTP_PASSWORD_FILE": "/run/secrets/smtp_password",
}
SLACK = {
    "DECAHERTZ_ALERTMANAGER_SLACK_URL_FILE": "/run/secrets/slack_url",
    "DECAHERTZ_ALERTMANAGER_SLACK_CHANNEL": "#alerts",
}
SWITCH = {"DECAHERTZ_ALERTMANAGER_DEAD_MANS_SWITCH_URL": "https://hc.example.com/ping/1"}


def amtool(*arguments: str) -> str:
    done = subprocess.run(
        [require("amtool"), *arguments], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def receivers_of(text: str) -> dict[str, Any]:
    return {receiver.pop("name"): receiver for receiver in yaml.safe_load(text)["receivers"]}


def test_only_the_recorder_is_told_as_shipped() -> None:
    amtool("check-config", str(SHIPPED))
    webhook = {"url": "http://127.0.0.1:8000/api/v1/alerts/webhook", "send_resolved": True}
    only = {"webhook_configs": [webhook]}
    assert receivers_of(SHIPPED.read_text()) == {"decahertz": only, "desk": {}, "dead-mans-switch": only}


def test_the_recorder_hears_again_of_alerts_that_fire_as_often_as_expiry_expects() -> None:
    route = yaml.safe_load(SHIPPED.read_text())["route"]
    [repeated] = [one for one in route["routes"] if one["receiver"] == "decahertz"]
    minutes = [int(text.removesuffix("m")) for text in (repeated["repeat_interval"], route["group_interval"])]
    assert sum(minutes) * 60 == REPORTED_AGAIN_SECONDS


def test_receivers_are_written_by_settings_and_secrets_stay_in_their_files(tmp_path: Path) -> None:
    file = tmp_path / "alertmanager.yml"
    env = environment(
        tmp_path, **MAIL, **SLACK, **SWITCH, DECAHERTZ_ALERTMANAGER_RECORDER_URL="http://decahertz:8000/"
    )
    for _ in range(2):  # the second run replaces the file
        done = run("alertmanager-config", "--output", str(file), env=env)
        assert done.returncode == 0, done.stderr
    amtool("check-config", str(file))
    receivers = receivers_of(file.read_text())

    [recorder] = receivers["decahertz"]["webhook_configs"]
    assert recorder["url"] == "http://decahertz:8000/api/v1/alerts/webhook"
    desk = receivers["desk"]
    assert desk["email_configs"] == [
        {
            "to": "desk@example.com, ada@example.com",
            "from": "decahertz@example.com",
            "smarthost": "smtp.example.com:587",
            "auth_username": "decahertz",
            "auth_password_file": "/run/secrets/smtp_password",
            "send_resolved": True,
        }
    ]
    [slack] = desk["slack_configs"]
    assert (slack["api_url_file"], slack["channel"]) == ("/run/secrets/slack_url", "#alerts")
    switch = [webhook["url"] for webhook in receivers["dead-mans-switch"]["webhook_configs"]]
    assert switch == ["http://decahertz:8000/api/v1/alerts/webhook", "https://hc.example.com/ping/1"]
    assert run("alertmanager-config", env=env).stdout == file.read_text()


def test_a_text_with_quotes_and_lines_stays_one_text() -> None:
    nasty = 'a"b: [c]\n- {d} \\ # é'
    text = alertmanager_config(
        AlertmanagerSettings(email_to=nasty, email_from="f", smtp_host="h:1"), "http://h"
    )
    assert receivers_of(text)["desk"]["email_configs"][0]["to"] == nasty


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"DECAHERTZ_ALERTMANAGER_EMAIL_TO": "a@b.c"}, r"^alertmanager\.email_from: is empty"),
        (
            {**MAIL, "DECAHERTZ_ALERTMANAGER_SMTP_PASSWORD_FILE": "."},
            r"^alertmanager\.smtp_password_file: is empty, and alertmanager\.smtp_user needs it",
        ),
        ({"DECAHERTZ_ALERTMANAGER_SMTP_HOST": "smtp.example.com"}, r"^alertmanager\.smtp_host: "),
        ({"DECAHERTZ_ALERTMANAGER_RECORDER_URL": "decahertz:8000"}, r"^alertmanager\.recorder_url: "),
    ],
)
def test_receivers_that_cannot_work_are_refused_with_the_key(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_contradictions(load(environ={"HOME": "/nonexistent", **environ}, file=None))


@pytest.mark.parametrize(
    ("alert", "receiver"),
    [("DeadMansSwitch", "dead-mans-switch"), ("FeedStale", "decahertz,desk"), ("Own", "decahertz,desk")],
)
def test_an_alert_goes_to_its_receiver(alert: str, receiver: str) -> None:
    route = ("config", "routes", "test", f"--config.file={SHIPPED}")
    assert amtool(*route, f"alertname={alert}", "severity=page") == receiver


def test_inhibition_names_alerts_that_exist_and_never_silences_a_loss_or_the_switch() -> None:
    silenced = set()
    for rule in yaml.safe_load(SHIPPED.read_text())["inhibit_rules"]:
        assert "recorder" in rule["equal"]
        for matcher in [*rule["source_matchers"], *rule["target_matchers"]]:
            label, operator, value = matcher.split()
            if label == "alertname":
                assert set(value.split("|")) <= CONDITION_BY_ALERT.keys()
                if matcher in rule["target_matchers"] and not operator.startswith("!"):
                    silenced |= set(value.split("|"))
    lossy = {
        "SamplesDropped",
        "EventsDropped",
        "SpoolLarge",
        "LedgerUnbalanced",
        "DatabaseLost",
        "DeadMansSwitch",
    }
    assert not silenced & lossy
