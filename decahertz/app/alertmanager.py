"""The configuration of Alertmanager: routes, inhibition, and receivers by the section ``[alertmanager]``.

Alertmanager expands no environment variables, so ``decahertz alertmanager-config`` writes the whole file.
Passwords and keys stay in files of their own, which the configuration only names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from decahertz.settings import SettingsError

_URL = r"^(https?://[^\s@]+)?$"
_WEBHOOK = "/api/v1/alerts/webhook"
_NO_FILE = Path()

_HEAD = """\
# Written by `decahertz alertmanager-config`: routes, inhibition and receivers of alerts. docs/alerts.md says
# how to get them by e-mail and in Slack.
"""
_ROUTES = """\
route:
  receiver: desk
  group_by: [alertname, recorder]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 4h
  routes:
    - receiver: dead-mans-switch
      matchers: [alertname = DeadMansSwitch]
      group_wait: 0s
      group_interval: 1m
      repeat_interval: 1m
    - receiver: decahertz # all alerts, and again and again: an end that got lost is noticed
      group_wait: 1s
      repeat_interval: 5m
      continue: true
    - receiver: desk
      matchers: [severity = page]
      group_wait: 1s
      repeat_interval: 1h

inhibit_rules:
  # A recorder that is down explains all of its alerts.
  - source_matchers: [alertname = RecorderDown]
    target_matchers: [alertname !~ RecorderDown|DeadMansSwitch]
    equal: [recorder]
  # What waits for the database. Losses and a spool that gets full are not silenced.
  - source_matchers: [alertname = DatabaseLost]
    target_matchers: [alertname =~ SpoolOld|RollUpBehind]
    equal: [recorder]
  - source_matchers: [alertname = DatabaseLost]
    target_matchers: [alertname = ComponentUnhealthy, component =~ postgres|recorder|storage|tiers|alerts]
    equal: [recorder]
  - source_matchers: [alertname = FeedStale]
    target_matchers: [alertname = FeedMute]
    equal: [recorder, venue]
  # The mean spread of a crossed book is near zero: any spread is a multiple of it.
  - source_matchers: [alertname = BookCrossed]
    target_matchers: [alertname = SpreadBlowOut]
    equal: [recorder, venue, instrument]
  - source_matchers: [alertname = EventLoopLag]
    target_matchers: [alertname = CyclesMissed]
    equal: [recorder]
  - source_matchers: [alertname =~ EventLoopLag|CyclesMissed|ClockStepped|KeysOverBudget]
    target_matchers: [alertname = ComponentUnhealthy, component = sampler]
    equal: [recorder]
  - source_matchers: [alertname =~ SpoolLarge|EventsDropped|SamplesDropped]
    target_matchers: [alertname = ComponentUnhealthy, component = spool]
    equal: [recorder]
"""
REPORTED_AGAIN_SECONDS = 6 * 60
"""The recorder hears of an alert that fires at least this often: `repeat_interval` and `group_interval`."""
_TEXT = "{{ range .Alerts }}{{ .Annotations.summary }}\\n{{ .Annotations.runbook_url }}\\n{{ end }}"


class AlertmanagerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Receivers that `decahertz alertmanager-config` writes."""

    recorder_url: Annotated[
        str,
        Meta(
            pattern=_URL,
            description="Address of the API as Alertmanager reaches it; empty: this machine, api.port.",
        ),
    ] = ""
    recorder_key_file: Annotated[
        Path, Meta(description="File with a key of the API with the scope ingest, as Alertmanager finds it.")
    ] = _NO_FILE
    recorder_ca_file: Annotated[
        Path,
        Meta(
            description="File with the certificate of the API or of its authority, as Alertmanager finds it;"
            " empty: those of the system."
        ),
    ] = _NO_FILE
    email_to: Annotated[str, Meta(description="Addresses to send alerts to; empty: no e-mail.")] = ""
    email_from: Annotated[str, Meta(description="Address of the sender.")] = ""
    smtp_host: Annotated[
        str, Meta(pattern=r"^([^\s:]+:\d+)?$", description="Mail server with its port: smtp.example.com:587.")
    ] = ""
    smtp_user: Annotated[str, Meta(description="User at the mail server; empty: no login.")] = ""
    smtp_password_file: Annotated[
        Path, Meta(description="File with the password, as Alertmanager finds it.")
    ] = _NO_FILE
    slack_url_file: Annotated[
        Path,
        Meta(
            description="File with a webhook URL of Slack or of a chat that takes the same, as Alertmanager"
            " finds it; empty: none."
        ),
    ] = _NO_FILE
    slack_channel: Annotated[str, Meta(description="Channel; empty: that of the webhook.")] = ""
    dead_mans_switch_url: Annotated[
        str,
        Meta(
            pattern=_URL,
            description="Webhook of a service that expects the alert DeadMansSwitch every minute and calls"
            " when it is missing; empty: none.",
        ),
    ] = ""

    @property
    def has_slack(self) -> bool:
        """Whether alerts go to a chat."""
        return self.slack_url_file != _NO_FILE

    def check(self) -> None:
        """Raises :class:`~decahertz.settings.SettingsError` for receivers that lack a setting."""
        for key in ("email_from", "smtp_host"):
            if self.email_to and not getattr(self, key):
                raise SettingsError(f"alertmanager.{key}", "is empty, and alertmanager.email_to needs it")
        if self.smtp_user and self.smtp_password_file == _NO_FILE:
            raise SettingsError(
                "alertmanager.smtp_password_file", "is empty, and alertmanager.smtp_user needs it"
            )


def alertmanager_config(settings: AlertmanagerSettings, recorder_url: str) -> str:
    """Returns the configuration as YAML; ``recorder_url`` is the API's address if the settings name none.

    Raises :class:`~decahertz.settings.SettingsError` for receivers that lack a setting.
    """
    settings.check()
    webhook = (settings.recorder_url or recorder_url).rstrip("/") + _WEBHOOK
    recorder = ["    webhook_configs:", *_webhook(webhook), *_http_config(settings)]
    receivers = [
        "receivers:",
        "  - name: decahertz",
        *recorder,
        "",
        "  - name: desk" + ("" if settings.email_to or settings.has_slack else " # nobody, until it is set"),
        *_email(settings),
        *_slack(settings),
        "",
        "  - name: dead-mans-switch",
        *recorder,
        *([*_webhook(settings.dead_mans_switch_url)] if settings.dead_mans_switch_url else []),
    ]
    return "\n".join([_HEAD, _ROUTES, *receivers]) + "\n"


def _webhook(url: str) -> Iterator[str]:
    yield f"      - url: {_quoted(url)}"
    yield "        send_resolved: true"


def _http_config(settings: AlertmanagerSettings) -> Iterator[str]:
    if settings.recorder_key_file != _NO_FILE or settings.recorder_ca_file != _NO_FILE:
        yield "        http_config:"
    if settings.recorder_key_file != _NO_FILE:
        yield "          authorization:"
        yield f"            credentials_file: {_quoted(str(settings.recorder_key_file))}"
    if settings.recorder_ca_file != _NO_FILE:
        yield "          tls_config:"
        yield f"            ca_file: {_quoted(str(settings.recorder_ca_file))}"


def _email(settings: AlertmanagerSettings) -> Iterator[str]:
    if not settings.email_to:
        return
    yield "    email_configs:"
    yield f"      - to: {_quoted(settings.email_to)}"
    yield f"        from: {_quoted(settings.email_from)}"
    yield f"        smarthost: {_quoted(settings.smtp_host)}"
    yield "        send_resolved: true"
    if settings.smtp_user:
        yield f"        auth_username: {_quoted(settings.smtp_user)}"
        yield f"        auth_password_file: {_quoted(str(settings.smtp_password_file))}"


def _slack(settings: AlertmanagerSettings) -> Iterator[str]:
    if not settings.has_slack:
        return
    yield "    slack_configs:"
    yield f"      - api_url_file: {_quoted(str(settings.slack_url_file))}"
    if settings.slack_channel:
        yield f"        channel: {_quoted(settings.slack_channel)}"
    yield "        send_resolved: true"
    yield f'        text: "{_TEXT}"'


def _quoted(text: str) -> str:
    """A string of YAML: JSON's are YAML too."""
    return msgspec.json.encode(text).decode()
