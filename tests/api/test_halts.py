"""Halts over HTTP, and the checks before an order request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from api.http.access import Scope
from collectors.risk.sample import DESK
from control.checks import PreTradeChecks
from control.halts import Halts
from control.settings import ControlSettings
from decahertz.accounting import AccountingSettings
from decahertz.alert import TOPIC as ALERTS
from decahertz.audit import AuditEntry
from decahertz.contracts import Contracts
from decahertz.halts import Halt, HaltScope
from decahertz.risk_limits import OrderLimits
from storage.database import DatabaseUnavailableError
from storage.write.halts import HaltStore
from tests.alert_examples import watchdog_alert
from tests.api.checked import Caller, Reply
from tests.api.helpers import Reader, Stack, reader, wait_for
from tests.control.requests import EQUITY, request
from tests.storage_examples import RECORDER as STORED_BY


@pytest.fixture
async def desk(stored: Stack, stored_caller: Caller) -> Caller:
    """Asks an API of which a key with the scope ``trade`` exists."""
    await stored.key(Scope.TRADE)
    await stored.keys.refresh()
    return stored_caller


async def halt(desk: Caller, **fields: object) -> Reply:
    return await desk.post("risk/halts", json={"scope": "desk", "reason": "news", **fields})


async def resume(desk: Caller, halt_id: str) -> Reply:
    return await desk.post(f"risk/halts/{halt_id}/resume", json={"reason": "looked at it"})


async def submit(desk: Caller, **fields: object) -> Reply:
    return await desk.post("orders", json=EQUITY | fields)


async def take(desk: Caller) -> list[dict[str, Any]]:
    body = {"holder": "trader", "session": "s-1", "capacity": 10}
    taken: list[dict[str, Any]] = (await desk.post("orders/take", json=body)).body["taken"]
    return taken


async def hear(live: Reader, kind: str) -> dict[str, Any]:
    """The next message of the topic ``risk`` of this type, after those that say whether trading may go on."""
    while (told := (await live.hear())["data"])["type"] != kind:
        assert told["type"] == "can_trade"
    found: dict[str, Any] = told
    return found


SCOPES: list[tuple[dict[str, str], bool]] = [
    ({"scope": "desk"}, True),
    ({"scope": "strategy", "strategy": "momentum"}, True),
    ({"scope": "strategy", "strategy": "other"}, False),
    ({"scope": "instrument", "instrument": "BTC-USD"}, True),
    ({"scope": "instrument", "instrument": "BTC-USD", "venue": "synthetic"}, True),
    ({"scope": "instrument", "instrument": "BTC-USD", "venue": "kraken"}, False),
    ({"scope": "instrument", "instrument": "ETH-USD"}, False),
]


@pytest.mark.parametrize(("fields", "stops"), SCOPES)
async def test_a_halt_stops_what_it_names_at_every_step_until_a_person_resumes(
    desk: Caller,
    fields: dict[str, str],
    stops: bool,  # noqa: FBT001 - a parameter
) -> None:
    begun = (await submit(desk)).body["request_id"]
    (taken,) = await take(desk)
    waiting = (await submit(desk)).body["request_id"]
    halted = await halt(desk, **fields)
    assert halted.status == 201
    again = await halt(desk, **fields)
    assert (again.status, again.body["halt_id"]) == (200, halted.body["halt_id"])
    refused = await submit(desk)
    assert refused.status == (422 if stops else 201)
    begin = await desk.post(f"orders/{begun}/begin", json={"token": taken["token"]})
    assert begin.status == (409 if stops else 200)
    if stops:
        (violated,) = refused.problem("order-refused")["errors"]
        assert violated["rule"] == "halted"
        assert "is halted: news" in begin.problem("request-conflict")["detail"]
        assert await take(desk) == []
    resumed = await resume(desk, halted.body["halt_id"])
    assert (resumed.body["resume_reason"], resumed.body["resumed_by"]) == ("looked at it", "local")
    if stops:
        taken_again = {one["request_id"]: one["attempts"] for one in await take(desk)}
        # The one that was not begun is back; its attempt under the halt does not count.
        assert taken_again == {begun: 1, waiting: 1}
    assert (await resume(desk, halted.body["halt_id"])).status == 404


async def test_a_leg_of_a_halted_instrument_is_not_taken(desk: Caller) -> None:
    legs = [{"instrument": "BTC-USD", "side": "buy"}, {"instrument": "ETH-USD", "side": "sell"}]
    body = {**EQUITY, "kind": "manual_legs", "legs": legs, "quantity": 1, "order_type": "market"}
    del body["side"], body["limit_price"]
    assert (await desk.post("orders", json=body)).status == 201
    await halt(desk, scope="instrument", instrument="ETH-USD")
    assert await take(desk) == []
    assert (await desk.post("orders", json=body)).status == 422


async def test_a_halt_is_told_at_once_and_speaks_against_trading(desk: Caller, stored: Stack) -> None:
    async with reader(stored) as live:
        await live.subscribe("risk")
        halted = (await halt(desk, scope="strategy", strategy="momentum")).body
        told = await hear(live, "trading_halted")
        assert told["halt"]["halt_id"] == halted["halt_id"]
        report = (await desk.get("risk")).body
        assert report["can_trade"] is False
        assert "strategy momentum is halted: news" in report["objections"]
        assert (await desk.get("risk/halts")).body["items"] == [halted]
        await resume(desk, halted["halt_id"])
        await hear(live, "trading_resumed")
    assert (await desk.get("risk/halts")).body["items"] == []
    entries = (await desk.get(f"audit?target={halted['halt_id']}")).body["items"]
    assert [entry["action"] for entry in entries] == ["trading.resume", "trading.halt"]


async def test_a_halt_survives_the_recorder(desk: Caller, stored: Stack) -> None:
    halted = (await halt(desk)).body
    store = HaltStore(stored.database, STORED_BY)
    next_run = Halts(store, stored.bus, stored.clock, ControlSettings(), recorder=STORED_BY)
    assert next_run.refusal("momentum", "synthetic", ["BTC-USD"])  # not read yet
    await next_run.start()
    assert [one.halt_id for one in next_run.active] == [halted["halt_id"]]
    assert "the desk is halted: news" in next_run.refusal("momentum", "synthetic", ["BTC-USD"])
    await next_run.stop()


class _Away(HaltStore):
    """The database is away once."""

    is_away = True

    async def add(self, halt: Halt, audit: Callable[[Halt], AuditEntry]) -> bool:
        if self.is_away:
            self.is_away = False
            raise DatabaseUnavailableError("gone")
        return await super().add(halt, audit)


async def test_a_halt_while_the_database_is_away_counts_and_is_stored_later(
    desk: Caller, stored: Stack
) -> None:
    stored.halts._store = _Away(stored.database, STORED_BY)
    problem = (await halt(desk)).problem("database-unavailable")
    assert problem["detail"] == "the halt counts from now on; it is stored when the database responds"
    (active,) = (await desk.get("risk/halts")).body["items"]
    await wait_for(lambda: stored.halts.status().detail == "", "it is stored")
    (kept,) = await HaltStore(stored.database, STORED_BY).active()
    assert kept.halt_id == active["halt_id"]


async def test_limits_and_alerts_halt_where_somebody_can_resume(stored: Stack) -> None:
    settings = ControlSettings(halt_on_alerts=("FeedStale",))
    halts = Halts(HaltStore(stored.database, "other"), stored.bus, stored.clock, settings, recorder="other")
    await halts.start()
    halts.may_halt = lambda: False
    halts.exceeded(DESK, "daily_loss is 3, its hard limit 2")
    assert halts.active == []
    halts.may_halt = lambda: True
    for _ in range(2):
        halts.exceeded(DESK, "daily_loss is 3, its hard limit 2")
        halts.exceeded("momentum", "drawdown is 3, its hard limit 2")
    alert = watchdog_alert(1)
    stored.bus.publish(ALERTS, alert)
    assert [one.scope for one in halts.active] == [HaltScope.DESK, HaltScope.STRATEGY]
    await wait_for(lambda: halts.status().detail == "", "both are stored")
    assert len(await HaltStore(stored.database, "other").active()) == 2
    await halts.stop()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": " \n\u3000"}, "reason"),
        ({"scope": "strategy"}, "strategy"),
        ({"scope": "instrument"}, "instrument"),
        ({"scope": "desk", "strategy": "momentum"}, "strategy"),
        ({"scope": "strategy", "strategy": "momentum", "venue": "kraken"}, "venue"),
        ({"scope": "world"}, "scope"),
    ],
)
async def test_a_refused_halt_names_the_field(desk: Caller, fields: dict[str, str], field: str) -> None:
    refused = await halt(desk, **fields)
    assert [error["field"] for error in refused.problem("invalid-body")["errors"]] == [field]
    assert (await desk.get("risk/halts")).body["items"] == []


async def test_an_unknown_market_speaks_against_a_request(desk: Caller, stored: Stack) -> None:
    contracts = Contracts(AccountingSettings(), stored.clock)
    checks = PreTradeChecks(OrderLimits(max_quantity=0.4), stored.latest, stored.clock, contracts)
    assert [rule for rule, _ in checks.violations(request(), 0)] == ["feed-not-live", "max-quantity"]
    stored.queue._checks = checks
    refused = await submit(desk)
    assert [error["rule"] for error in refused.problem("order-refused")["errors"]] == [
        "feed-not-live",
        "max-quantity",
    ]
    await asyncio.sleep(0)
    (entry,) = (await desk.get("audit?result=order-refused")).body["items"]
    assert sorted(entry["after"]["rules"]) == ["feed-not-live", "max-quantity"]
    assert await take(desk) == []
