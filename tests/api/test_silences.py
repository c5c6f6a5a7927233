"""A real Alertmanager: its webhook, silences in it, and what happens when it does not answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from api.alertmanager.firing import FiringAlerts
from api.alertmanager.silences import SilenceError, Silences
from decahertz.alert import Acknowledgement
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.fakes import ManualClock
from storage.write.alert_queue import AlertmanagerError
from tests.alert_examples import alert, ns, reported, webhook
from tests.api.checked import Caller
from tests.api.helpers import Stack, reader
from tests.servers import alertmanager, free_port

CONFIGURATION = "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n"
TAKEN = {"who": "ada", "comment": "on it", "until": "2100-01-01T00:00:00Z"}


@pytest.fixture
def port() -> int:
    """The port of Alertmanager, when it runs."""
    return free_port()


@pytest.fixture
def silences(port: int) -> Silences | None:
    """Silences in the Alertmanager of the test."""
    return Silences(f"http://127.0.0.1:{port}/", 5.0)


async def acknowledged(caller: Caller, **change: str) -> dict[str, Any]:
    reply = await caller.post(f"alerts/{alert(0).id}/acknowledge", json=TAKEN | change)
    assert reply.status == 200, reply.body
    assert isinstance(reply.body, dict)
    return reply.body


async def test_an_acknowledgement_silences_the_alert_in_alertmanager(
    stored_caller: Caller, port: int, tmp_path: Path
) -> None:
    await stored_caller.post("alerts/webhook", json=webhook(reported(0)))
    async with alertmanager(tmp_path, CONFIGURATION, port) as url, ClientSession() as session:
        first = await acknowledged(stored_caller)
        second = await acknowledged(stored_caller, who="bob")
        assert (first["silence_problem"], second["silence_problem"]) == (None, None)
        async with session.get(f"{url}/api/v2/silences") as response:
            made = {silence["id"]: silence for silence in await response.json()}
    silence = made.pop(second["alert"]["acknowledgement"]["silence_id"])
    assert silence["status"]["state"] == "active"
    assert (silence["createdBy"], silence["comment"], silence["endsAt"]) == (
        "bob",
        "on it",
        "2100-01-01T00:00:00.000Z",
    )
    assert {matcher["name"]: matcher["value"] for matcher in silence["matchers"]} == {
        "alertname": "FeedStale",
        "recorder": "desk-1",
        "venue": "XETR",
    }
    assert {earlier["status"]["state"] for earlier in made.values()} <= {"expired"}


async def test_a_failure_of_alertmanager_is_told_and_loses_no_acknowledgement(stored_caller: Caller) -> None:
    await stored_caller.post("alerts/webhook", json=webhook(reported(0)))
    body = await acknowledged(stored_caller)
    assert body["silence_problem"].startswith("Alertmanager: Cannot connect to host 127.0.0.1")
    shown = (await stored_caller.get(f"alerts/{alert(0).id}")).body
    assert shown == body["alert"]
    assert (shown["acknowledgement"]["who"], shown["acknowledgement"]["silence_id"]) == ("ada", None)


async def test_a_resolved_alert_is_acknowledged_without_a_silence(stored_caller: Caller) -> None:
    await stored_caller.post("alerts/webhook", json=webhook(reported(0, 60)))
    body = await acknowledged(stored_caller)
    assert (body["alert"]["acknowledgement"]["who"], body["silence_problem"]) == ("ada", None)


async def test_what_alertmanager_refuses_or_does_not_have_is_named(port: int, tmp_path: Path) -> None:
    past = Acknowledgement(who="ada", comment="on it", time_ns=ns(0), until_ns=ns(1))
    later = msgspec.structs.replace(past, until_ns=4_102_444_800 * 10**9)
    unknown = alert(
        0, acknowledgement=msgspec.structs.replace(later, silence_id="00000000-0000-4000-8000-000000000000")
    )
    async with alertmanager(tmp_path, CONFIGURATION, port) as url:
        with pytest.raises(SilenceError, match=r"^Alertmanager answered 400: "):
            await Silences(url, 5.0).silence(alert(0), past)
        with pytest.raises(SilenceError, match=r"not an Alertmanager: check alerts\.alertmanager_url$"):
            await Silences(f"{url}/elsewhere", 5.0).silence(alert(0), later)
        assert await Silences(url, 5.0).silence(unknown, later)


async def test_alertmanager_says_which_alerts_fire_silenced_ones_too(port: int, tmp_path: Path) -> None:
    posted = {"labels": alert(0).labels, "startsAt": "2026-01-01T00:00:00Z"}
    ended = {"labels": {"alertname": "Old"}, "endsAt": "2026-01-01T00:00:00Z"}
    async with (
        alertmanager(tmp_path, CONFIGURATION, port) as url,
        ClientSession(raise_for_status=True) as session,
    ):
        await session.post(f"{url}/api/v2/alerts", json=[posted, ended])
        later = Acknowledgement(who="ada", comment="on it", time_ns=ns(0), until_ns=4_102_444_800 * 10**9)
        await Silences(url, 5.0).silence(alert(0), later)
        async with session.get(f"{url}/api/v2/alerts") as response:
            (shown,) = await response.json()
        started_ns = SystemClock().time_ns()
        assert await FiringAlerts(url, 5.0, ManualClock(started_ns)).fingerprints() is None
        settled = FiringAlerts(url, 5.0, ManualClock(started_ns + 301 * NS_PER_SECOND))
        assert await settled.fingerprints() == {shown["fingerprint"]}
        with pytest.raises(AlertmanagerError, match=r"^Alertmanager: 404"):
            await FiringAlerts(f"{url}/elsewhere", 5.0, ManualClock(started_ns)).fingerprints()
    with pytest.raises(AlertmanagerError, match=r"^Alertmanager: Cannot connect to host 127\.0\.0\.1"):
        await settled.fingerprints()


async def test_alertmanager_reports_an_alert_and_its_end(
    stored: Stack, stored_caller: Caller, port: int, tmp_path: Path
) -> None:
    configuration = (
        "route:\n  receiver: recorder\n  group_by: [alertname]\n  group_wait: 10ms\n  group_interval: 200ms\n"
        "receivers:\n  - name: recorder\n    webhook_configs:\n"
        f"      - url: {stored.api.url}/api/v1/alerts/webhook\n        send_resolved: true\n"
    )
    posted = {
        "labels": {"alertname": "FeedStale", "recorder": "desk-1", "severity": "page", "venue": "XETR"},
        "annotations": {"summary": "XETR has been stale for 20 s", "value": "20"},
        "startsAt": "2026-01-01T00:00:00Z",
    }
    async with (
        alertmanager(tmp_path, configuration, port) as url,
        ClientSession(raise_for_status=True) as session,
        reader(stored) as client,
    ):
        await client.subscribe("alerts")
        await session.post(f"{url}/api/v2/alerts", json=[posted])
        fired = (await client.hear())["data"]
        ended = posted | {"endsAt": "2026-01-01T00:01:00Z"}
        await session.post(f"{url}/api/v2/alerts", json=[ended])
        resolved = (await client.hear())["data"]
    assert (fired["state"], fired["ends_ns"], fired["value"]) == ("firing", None, 20.0)
    assert (resolved["id"], resolved["state"]) == (fired["id"], "resolved")
    assert resolved["ends_ns"] == ns(60)
    assert (await stored_caller.get(f"alerts/{fired['id']}")).body == resolved
