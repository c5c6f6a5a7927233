"""The audit log: every change through the API leaves an entry, and no change goes without."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import asyncpg
import pytest
from aiohttp import ClientSession

from api.http.access import Scope
from api.http.route import AnyRoute
from api.routes.table import ROUTES
from api.settings import ApiSettings
from decahertz.audit import TOPIC as AUDIT
from decahertz.audit import AuditEntry
from decahertz.clock import to_datetime
from storage.write.audit import AuditStore
from tests.alert_examples import watchdog_alert
from tests.api.helpers import RECORDER, Stack, quote, reader, wait_for

ACKNOWLEDGE = "/api/v1/alerts/{}/acknowledge"
BODY = {"who": "ada", "comment": "adds a disk", "until": "2100-01-01T00:00:00Z"}
UNAUDITED = {
    *("/api/v1/events", "/api/v1/signals/generate", "/api/v1/metrics/history", "/api/v1/session"),
    "/api/v1/background/warm-cache",
    *("/api/v1/orders/check", "/api/v1/templates/{template_id}/dry-run"),
}
"""Events and signals are the record; histories, checks and dry runs queries; sessions and caches change
nothing."""


@pytest.fixture
def api_settings() -> ApiSettings:
    return ApiSettings(port=0, require_keys=True)


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def entries(stack: Stack, key: str, query: str = "") -> list[dict[str, Any]]:
    async with (
        ClientSession(stack.api.url, headers=headers(key)) as session,
        session.get(f"/api/v1/audit{query}") as response,
    ):
        assert response.status == 200, await response.text()
        items: list[dict[str, Any]] = json.loads(await response.read())["items"]
        return items


def test_every_route_that_changes_something_is_audited() -> None:
    def audited(route: AnyRoute) -> bool:
        return bool(route.audit)

    changing = [route for route in ROUTES if route.method != "GET" and route.path not in UNAUDITED]
    assert changing
    assert [route.path for route in changing if not audited(route)] == []
    assert not any(audited(route) for route in ROUTES if route not in changing)


async def test_an_acknowledgement_and_its_entry_are_one(stored: Stack) -> None:
    trade, admin = await stored.key(Scope.TRADE), await stored.key(Scope.ADMIN)
    await stored.keys.refresh()
    alert = watchdog_alert(1)
    await stored.api._parts.alert_store.report([alert])
    async with ClientSession(stored.api.url, headers=headers(trade) | {"X-Request-ID": "find-me"}) as session:
        for comment in ("adds a disk", "added it"):
            async with session.post(
                ACKNOWLEDGE.format(alert.id), json=BODY | {"comment": comment}
            ) as response:
                assert response.status == 200, await response.text()
    second, first = await entries(stored, admin, f"?target={alert.id}")
    assert first == first | {
        "recorder": RECORDER,
        "actor": "test",
        "key_id": trade.split("_")[1],
        "address": "127.0.0.1",
        "action": "alert.acknowledge",
        "result": "done",
        "before": None,
        "request_id": "find-me",
    }
    assert first["after"] == first["after"] | {"who": "ada", "comment": "adds a disk"}
    assert second["before"] == first["after"]
    assert second["after"]["comment"] == "added it"
    assert first["time_ns"] <= second["time_ns"]
    assert await entries(stored, admin, "?action=key.create") == []
    assert len(await entries(stored, admin, f"?end={second['time_ns']}")) == 1


async def test_a_refused_call_is_recorded_and_changes_nothing(stored: Stack) -> None:
    read, trade, admin = [await stored.key(s) for s in (Scope.READ, Scope.TRADE, Scope.ADMIN)]
    await stored.keys.refresh()
    alert = watchdog_alert(1)
    await stored.api._parts.alert_store.report([alert])
    path = ACKNOWLEDGE.format(alert.id)
    async with ClientSession(stored.api.url) as session:
        for key, target, body, status in (
            (None, path, BODY, 401),
            (read, path, BODY, 403),
            (trade, path, {"who": ""}, 422),
            (trade, ACKNOWLEDGE.format("unknown"), BODY, 404),
        ):
            given = headers(key) if key else {}
            async with session.post(target, json=body, headers=given) as response:
                assert response.status == status
    found = await entries(stored, admin)
    assert [(entry["result"], entry["target"]) for entry in found] == [
        ("not-found", "unknown"),
        ("invalid-body", alert.id),
        ("insufficient-scope", alert.id),
    ]
    assert all(entry["before"] is None for entry in found)
    assert [entry["after"] for entry in found] == [None, {"fields": ["who"]}, None]
    assert (await stored.api._parts.queries.alert(alert.id)) == alert
    # One actor cannot fill the table with refusals.
    async with ClientSession(stored.api.url, headers=headers(read)) as session:

        async def refused_again() -> None:
            async with session.post(path, json=BODY) as response:
                assert response.status == 403

        await asyncio.gather(*(refused_again() for _ in range(100)))
    recorded = len(await entries(stored, admin, "?result=insufficient-scope"))
    too_many, failed = (
        stored.counted("decahertz_api_audit_unrecorded_total", reason=reason)
        for reason in ("too_many", "database")
    )
    assert too_many > 0
    assert recorded + too_many + failed == 101


async def test_without_its_entry_a_change_is_not_made(stored: Stack) -> None:
    """The entry cannot be stored: the acknowledgement is not either."""
    trade = await stored.key(Scope.TRADE)
    await stored.keys.refresh()
    alert = watchdog_alert(1)
    await stored.api._parts.alert_store.report([alert])
    async with stored.database.query() as connection:
        await connection.execute("ALTER TABLE audit RENAME TO audit_elsewhere")
    async with (
        ClientSession(stored.api.url, headers=headers(trade)) as session,
        session.post(ACKNOWLEDGE.format(alert.id), json=BODY) as response,
    ):
        assert response.status >= 500
        assert "audit" not in await response.text()
    assert (await stored.api._parts.queries.alert(alert.id)) == alert


async def test_while_the_database_is_away_a_change_is_refused(stack: Stack) -> None:
    async with (
        ClientSession(stack.api.url) as session,
        session.post(ACKNOWLEDGE.format("any"), json=BODY) as response,
    ):
        assert response.status == 503
        assert json.loads(await response.read())["type"].endswith(":database-unavailable")
    assert stack.counted("decahertz_api_audit_unrecorded_total", reason="database") == 1


async def test_rows_of_the_audit_log_cannot_be_changed_or_removed(stored: Stack) -> None:
    await AuditStore(stored.database).add(entry())
    for statement in ("UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"):
        async with stored.database.query() as connection:
            with pytest.raises(asyncpg.RaiseError, match="never changed or removed"):
                await connection.execute(statement)


def entry(**fields: Any) -> AuditEntry:  # noqa: ANN401 - any field
    given: dict[str, Any] = {
        "time_ns": 1,
        "recorder": "",
        "actor": "command line (ada)",
        "action": "key.create",
        "target": "k",
    }
    return AuditEntry(**given | fields)


async def test_pages_and_filters_of_the_audit_log(stored: Stack) -> None:
    admin, store = await stored.key(Scope.ADMIN), AuditStore(stored.database)
    await stored.keys.refresh()
    for number in range(5):
        await store.add(entry(id=f"e{number}", time_ns=10, target=f"k{number}", after={"number": number}))
    async with ClientSession(stored.api.url, headers=headers(admin)) as session:
        found: list[str] = []
        cursor = ""
        while True:
            async with session.get(f"/api/v1/audit?limit=2{cursor}") as response:
                page = json.loads(await response.read())
            found += [item["id"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
    assert found == ["e4", "e3", "e2", "e1", "e0"]
    (one,) = await entries(stored, admin, "?target=k3&actor=command line (ada)")
    assert one["after"] == {"number": 3}


async def test_the_feed_tells_each_entry_of_a_busy_minute_once(stored: Stack) -> None:
    """More entries than one read brings, and one that becomes visible after younger ones."""
    heard: list[str] = []
    stored.bus.subscribe(AUDIT, lambda message: heard.append(cast("AuditEntry", message).id))
    begin_ns = stored.clock.time_ns()
    rows = [
        (to_datetime(begin_ns), f"e{number:04}", begin_ns + number, "", "ada", "order.take", "r", "done")
        for number in range(2_500)
    ]
    names = ["time", "id", "time_ns", "recorder", "actor", "action", "target", "result"]
    late = rows.pop(7)
    for some in (rows, [late]):
        async with stored.database.query() as connection:
            await connection.copy_records_to_table("audit", records=some, columns=names)
        stored.auditor.stored()
        await wait_for(lambda: len(heard) >= len(rows), "all are told")
    await wait_for(lambda: late[1] in heard, "the late one is told")
    assert sorted(heard) == sorted([late[1], *(row[1] for row in rows)])


@pytest.mark.parametrize("scope", [Scope.READ, Scope.ADMIN])
async def test_only_keys_with_the_scope_admin_hear_the_topic_audit(stored: Stack, scope: Scope) -> None:
    key = await stored.key(Scope.READ, scope)
    async with reader(stored, additional_headers=headers(key)) as ears:
        await ears.say(type="subscribe", topics=["audit"])
        answer = await ears.hear()
        await ears.say(type="subscribe", topics=["**"])
        assert (await ears.hear())["type"] == "snapshot"
        # As from the command line: by another process, which only the table tells of.
        made = entry(time_ns=stored.clock.time_ns(), after={"scopes": ["read"]})
        await AuditStore(stored.database).add(made)
        stored.auditor.stored()
        if scope is Scope.ADMIN:
            assert answer["type"] == "snapshot"
            heard = await ears.hear()
            assert (heard["type"], heard["topic"], heard["data"]["id"]) == ("event", "audit", made.id)
            assert heard["data"]["after"] == {"scopes": ["read"]}
        else:
            assert (answer["type"], answer["code"]) == ("error", "insufficient_scope")
            await ears.until_pong()
            await stored.emit(quote())
            assert (await ears.hear())["topic"] == "quotes:A"
