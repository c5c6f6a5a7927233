"""Alerts over REST and WebSocket: webhook, list, acknowledgement."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from api.alertmanager.webhook import AT_ONCE, Webhook, alerts_of
from api.http.problems import ProblemError
from api.routes import alerts as routes
from decahertz.alert import TOPIC
from tests.alert_examples import alert, ns, reported, watchdog_alert, webhook
from tests.api.checked import Caller
from tests.api.helpers import RECORDER, Stack, reader

TAKEN = {"who": "ada", "comment": "on it", "until": "2100-01-01T00:00:00Z"}
DAY = 24 * 3600
JSON = {"Content-Type": "application/json"}


async def posted(caller: Caller, *alerts: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    reply = await caller.post("alerts/webhook", json=webhook(*alerts, **more))
    assert reply.status == 200, reply.body
    assert isinstance(reply.body, dict)
    return reply.body


async def listed(caller: Caller, query: str = "") -> list[dict[str, Any]]:
    reply = await caller.get(f"alerts?{query}")
    assert reply.status == 200, reply.body
    items: list[dict[str, Any]] = reply.body["items"]
    return items


async def test_a_webhook_is_stored_once_and_shown(stored_caller: Caller) -> None:
    assert await posted(stored_caller, reported(0)) == {"changed": 1, "unchanged": 0, "truncated": 0}
    assert await posted(stored_caller, reported(0)) == {"changed": 0, "unchanged": 1, "truncated": 0}
    (item,) = await listed(stored_caller)
    assert item | {"updated_ns": 0} == {
        "id": alert(0).id,
        "fingerprint": "00c0ffee00c0ffee",
        "origin": "prometheus",
        "name": "FeedStale",
        "severity": "page",
        "state": "firing",
        "recorder": "desk-1",
        "labels": {"alertname": "FeedStale", "recorder": "desk-1", "severity": "page", "venue": "XETR"},
        "summary": "XETR has been stale for 20 s",
        "description": "",
        "runbook_url": "docs/FeedStale.md",
        "starts_ns": ns(0),
        "ends_ns": None,
        "updated_ns": 0,
        "value": None,
        "threshold": None,
        "acknowledgement": None,
    }
    assert (await stored_caller.get(f"alerts/{item['id']}")).body == item


async def test_an_alert_that_fires_again_is_another_one(stored_caller: Caller) -> None:
    await posted(stored_caller, reported(0))
    await posted(stored_caller, reported(0, 60))
    await posted(stored_caller, reported(90))
    seen = [(a["starts_ns"], a["ends_ns"], a["state"]) for a in await listed(stored_caller)]
    assert seen == [(ns(90), None, "firing"), (ns(0), ns(60), "resolved")]


async def test_a_group_may_hold_both_and_leave_some_out(stored_caller: Caller) -> None:
    group = (reported(0, 60), reported(0, fingerprint="0" * 16))
    assert await posted(stored_caller, *group, truncatedAlerts=7) == {
        "changed": 2,
        "unchanged": 0,
        "truncated": 7,
    }


async def test_what_an_alert_of_another_rule_lacks_is_filled_in(stored_caller: Caller) -> None:
    labels = {"alertname": "MyOwnRule"}
    await posted(stored_caller, reported(0, labels=labels, annotations={"value": "3.5", "threshold": "<b>"}))
    (item,) = await listed(stored_caller)
    shown = (item["recorder"], item["severity"], item["summary"], item["value"], item["threshold"])
    assert shown == (RECORDER, "", "MyOwnRule", 3.5, None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "hello"}, "version"),
        (webhook(reported(0), version="3"), "version"),
        (webhook(reported(0), alerts={}), "alerts"),
        (webhook(reported(0, status="pending")), "alerts[0].status"),
        (webhook(reported(0), reported(0, fingerprint="12")), "alerts[1].fingerprint"),
        (webhook(reported(0, fingerprint="0" * 16 + "\n")), "alerts[0].fingerprint"),
        (webhook(reported(0, startsAt="yesterday")), "alerts[0].startsAt"),
        (webhook(reported(0, startsAt="0001-01-01T00:00:00Z")), "alerts[0].startsAt"),
        (webhook(reported(0, endsAt="soon")), "alerts[0].endsAt"),
        (webhook(reported(0, endsAt="9999-01-01T00:00:00Z", status="resolved")), "alerts[0].endsAt"),
        (webhook(reported(0, startsAt="2262-01-01T00:00:00Z")), "alerts[0].startsAt"),
        (webhook(reported(0, labels={"severity": "page"})), "alerts[0].labels.alertname"),
        (webhook(reported(0, labels={"alertname": "a\0b"})), "alerts[0].labels[...]"),
        ([], None),
    ],
)
async def test_a_body_that_is_not_alertmanagers_is_refused_with_the_field(
    caller: Caller, body: object, field: str | None
) -> None:
    reply = await caller.post("alerts/webhook", json=body)
    assert reply.status == 400
    assert reply.problem("invalid-webhook")["errors"][0].get("field") == field
    assert (await caller.post("alerts/webhook", data=b"{", headers=JSON)).problem("malformed-body")


async def test_a_large_group_is_stored_in_parts(stored_caller: Caller) -> None:
    group = [reported(0, fingerprint=f"{n:016x}") for n in range(2 * AT_ONCE + 1)]
    first = await posted(stored_caller, *group, group[0])
    assert first == {"changed": len(group), "unchanged": 0, "truncated": 0}
    assert (await posted(stored_caller, *group))["unchanged"] == len(group)
    assert len(await listed(stored_caller, "state=firing&limit=1000")) == len(group)


@pytest.mark.parametrize("report", [reported(DAY + 1), reported(0, DAY + 1)])
async def test_times_more_than_a_day_in_the_future_are_refused(report: dict[str, Any]) -> None:
    group = msgspec.convert(webhook(report), Webhook)
    with pytest.raises(ProblemError, match=r"^alerts\[0\]\.\w+sAt: is more than a day in the future"):
        await alerts_of(group, RECORDER, ns(0))
    assert len(await alerts_of(group, RECORDER, ns(1))) == 1


async def test_a_large_group_leaves_time_for_others() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    body = webhook(*(reported(0, fingerprint=f"{n:016x}") for n in range(3 * AT_ONCE)))
    task = asyncio.create_task(others())
    try:
        found = await alerts_of(msgspec.convert(body, Webhook), RECORDER, ns(0))
    finally:
        task.cancel()
    assert len(found) == 3 * AT_ONCE
    assert turns > 0


async def test_a_firing_alert_never_has_an_end(stored_caller: Caller) -> None:
    await posted(stored_caller, reported(0, status="resolved"))  # endsAt of the year 1
    await posted(stored_caller, reported(0, 60, status="firing", fingerprint="1" * 16))
    assert [(a["state"], a["ends_ns"]) for a in await listed(stored_caller)] == [("firing", None)] * 2


async def test_a_cursor_leads_through_all_alerts_once(stored_caller: Caller) -> None:
    await posted(stored_caller, *(reported(0, fingerprint=f"{n:016x}") for n in range(5)))
    ids, cursor = [], ""
    while True:
        page = (await stored_caller.get(f"alerts?limit=2&severity=page{cursor}")).body
        ids += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert ids == [f"{n:016x}-{ns(0)}" for n in reversed(range(5))]
    assert (await stored_caller.get("fills" + cursor.replace("&", "?"))).problem("invalid-cursor")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=firing", 1),
        ("state=resolved&name=FeedStale&severity=page&origin=prometheus&recorder=desk-1", 1),
        ("origin=watchdog", 0),
        (f"start={ns(60)}", 1),
        (f"end={ns(90)}", 1),
    ],
)
async def test_the_list_can_be_narrowed(stored_caller: Caller, query: str, found: int) -> None:
    await posted(stored_caller, reported(0, 60), reported(90))
    assert len(await listed(stored_caller, query)) == found


async def test_a_database_that_hangs_does_not_hang_the_list(
    stored: Stack, stored_caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await posted(stored_caller, reported(0))
    monkeypatch.setattr(routes, "_DATABASE_SECONDS", 0.2)

    async with stored.database.query() as connection, connection.transaction():
        await connection.execute("LOCK TABLE alerts")
        async with asyncio.timeout(20):
            problem = (await stored_caller.get("alerts")).problem("database-unavailable")
            assert problem["detail"] == "the database does not respond; try again"
            assert [a["id"] for a in await listed(stored_caller, "state=firing")] == [alert(0).id]
            for reply in (
                await stored_caller.get("alerts/unknown-1"),
                await stored_caller.post("alerts/webhook", json=webhook(reported(90))),
                await stored_caller.post("alerts/webhook", json=webhook(reported(91))),
                await stored_caller.post(f"alerts/{alert(0).id}/acknowledge", json=TAKEN),
            ):
                assert reply.problem("database-unavailable")
    await posted(stored_caller, reported(92))
    assert len(await listed(stored_caller, "state=firing")) == 1


async def test_unknown_alerts_and_parameters_are_refused(stored_caller: Caller) -> None:
    assert (await stored_caller.get("alerts/nothing-1")).problem("not-found")
    assert (await stored_caller.post("alerts/nothing-1/acknowledge", json=TAKEN)).problem("not-found")
    assert (await stored_caller.get("alerts?state=pending")).problem("invalid-parameter")
    problem = (await stored_caller.get("alerts?start=2&end=1")).problem("invalid-parameter")
    assert problem["errors"][0]["field"] == "start"


async def test_without_a_database_the_webhook_is_to_be_sent_again_and_firing_alerts_are_shown(
    stack: Stack, caller: Caller
) -> None:
    reply = await caller.post("alerts/webhook", json=webhook(reported(0)))
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    first, second = watchdog_alert(0), watchdog_alert(5, venue="XNYS")
    for firing in (first, second):
        stack.bus.publish(TOPIC, firing)
    assert await listed(caller, "state=firing") == [msgspec.to_builtins(a) for a in (second, first)]
    assert await listed(caller, "state=firing&origin=prometheus") == []
    assert (await caller.get(f"alerts/{first.id}")).body == msgspec.to_builtins(first)
    assert (await caller.get("alerts")).problem("database-unavailable")
    assert (await caller.post(f"alerts/{first.id}/acknowledge", json=TAKEN)).problem("database-unavailable")
    stack.bus.publish(TOPIC, watchdog_alert(0, 9))
    assert [a["id"] for a in await listed(caller, "state=firing")] == [second.id]


async def test_readers_get_the_firing_alerts_and_then_every_change(
    stored: Stack, stored_caller: Caller
) -> None:
    await posted(stored_caller, reported(0), reported(0, 60, fingerprint="1" * 16))
    firing = await listed(stored_caller, "state=firing")
    async with reader(stored, "decahertz.v1.msgpack") as client:
        assert await client.subscribe("alerts") == [
            {"topic": "alerts", "time_ns": a["updated_ns"], "data": a} for a in firing
        ]
        assert await client.subscribe("*", "alerts") == []
        await posted(stored_caller, reported(0))
        await posted(stored_caller, reported(0, 60))
        stored.bus.publish(TOPIC, watchdog_alert(0))
        heard = [message for message in await client.until_pong() if message["topic"] == "alerts"]
        assert [(m["type"], m["topic"], m["data"]["state"]) for m in heard] == [
            ("event", "alerts", "resolved"),
            ("event", "alerts", "firing"),
        ]
        assert heard[1]["sequence"] == heard[0]["sequence"]  # that of the newest event: alerts have none
        assert heard[1]["data"] == msgspec.to_builtins(watchdog_alert(0))


async def test_an_acknowledgement_is_kept_and_told(stored: Stack, stored_caller: Caller) -> None:
    firing = watchdog_alert(0)
    stored.bus.publish(TOPIC, firing)  # not stored yet
    async with reader(stored) as client:
        await client.subscribe("alerts")
        reply = await stored_caller.post(f"alerts/{firing.id}/acknowledge", json=TAKEN)
        assert reply.status == 200
        assert reply.body["silence_problem"] is None
        (event,) = await client.until_pong()
    shown = (await stored_caller.get(f"alerts/{firing.id}")).body
    assert event["data"] == shown == reply.body["alert"]
    assert shown["acknowledgement"] | {"time_ns": 0} == {
        "who": "ada",
        "comment": "on it",
        "time_ns": 0,
        "until_ns": 4_102_444_800 * 10**9,
        "silence_id": None,
    }
    assert await listed(stored_caller) == [shown]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"until": "tomorrow"}, "until"),
        ({"until": 1}, "until"),
        ({"until": None}, "until"),
        ({"until": "9999-01-01T00:00:00Z"}, "until"),
        ({"who": ""}, "who"),
        ({"comment": "a\0b"}, "comment"),
        ({"silence": True}, "silence"),
    ],
)
async def test_a_bad_acknowledgement_is_refused_with_the_field(
    caller: Caller, change: dict[str, object], field: str
) -> None:
    reply = await caller.post("alerts/some-1/acknowledge", json=TAKEN | change)
    assert reply.problem("invalid-body")["errors"][0]["field"] == field
