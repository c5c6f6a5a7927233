"""The queue of order requests over HTTP: submission, the calls of the trading process, cancellation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession
from msgspec.structs import replace

from api.http.access import Scope
from api.settings import ApiSettings
from control.actor import Actor
from control.checks import PreTradeChecks
from control.settings import ControlSettings
from decahertz import order_requests as life
from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND
from decahertz.contracts import Contracts
from decahertz.event import Order, OrderState, Side
from decahertz.risk_limits import OrderLimits
from storage.write.order_requests import Poll
from tests.api.checked import Caller, Reply
from tests.api.helpers import Stack, reader, wait_for
from tests.control.requests import EQUITY, leg, option_strategy

CONDOR = option_strategy(
    "iron_condor",
    leg("buy", "put", 450),
    leg("sell", "put", 460),
    leg("sell", "call", 500),
    leg("buy", "call", 510),
)
LEGS: dict[str, Any] = {
    "kind": "manual_legs",
    "strategy": "spread",
    "venue": "synthetic",
    "instrument": "BTC-USD",
    "legs": [
        {"instrument": "BTC-USD", "side": "buy", "ratio": 1},
        {"instrument": "ETH-USD", "side": "sell", "ratio": 15},
    ],
    "quantity": 1,
    "order_type": "market",
}


@pytest.fixture
async def desk(stored: Stack, stored_caller: Caller) -> Caller:
    """Asks an API of which a key with the scope ``trade`` exists."""
    await stored.key(Scope.TRADE)
    await stored.keys.refresh()
    return stored_caller


async def submit(desk: Caller, key: str | None = None, **fields: object) -> Reply:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await desk.post("orders", json=EQUITY | fields, headers=headers)


async def take(desk: Caller, capacity: int = 10, session: str = "s-1", **fields: object) -> dict[str, Any]:
    body = {"holder": "trader", "session": session, "capacity": capacity, **fields}
    reply = await desk.post("orders/take", json=body)
    assert reply.status == 200, reply.body
    answer: dict[str, Any] = reply.body
    return answer


def known(*taken: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the leases that a process names in its next poll."""
    return [{"request_id": one["request_id"], "token": one["token"]} for one in taken]


async def reached(stored: Stack, request_id: str, state: str) -> None:
    """Waits until a request has this state."""
    async with reader(stored) as live:
        await live.subscribe("orders")
        while (await stored.queue.find(request_id)).state != state:
            assert (await live.hear())["type"] == "event"


async def test_a_request_goes_from_submission_to_done(desk: Caller) -> None:
    submitted = await submit(desk)
    assert submitted.status == 201
    request_id = submitted.body["request_id"]
    assert submitted.headers["Location"] == f"/api/v1/orders/{request_id}"
    assert submitted.body["state"] == "queued"
    news = await take(desk)
    (taken,) = news["taken"]
    assert taken["body"] == taken["body"] | EQUITY
    assert (taken["state"], taken["holder"], taken["attempts"]) == ("taken", "trader", 1)
    begun = await desk.post(f"orders/{request_id}/begin", json={"token": taken["token"]})
    assert begun.body["state"] == "working"
    done = await desk.post(f"orders/{request_id}/ack", json={"token": taken["token"], "order_id": "17"})
    assert (done.body["state"], done.body["order_id"]) == ("done", "17")
    assert (await take(desk))["held"] == []
    entries = (await desk.get(f"audit?target={request_id}")).body["items"]
    assert [(e["action"], e["after"]["change"], e["after"]["state"]) for e in reversed(entries)] == [
        ("order.submit", "order_submitted", "queued"),
        ("order.take", "order_taken", "taken"),
        ("order.begin", "order_begun", "working"),
        ("order.ack", "order_done", "done"),
    ]
    assert entries[-1]["after"]["body"]["limit_price"] == EQUITY["limit_price"]


async def test_a_take_is_stored_and_audited_as_the_life_cycle_has_it(desk: Caller, stored: Stack) -> None:
    request_id = (await submit(desk)).body["request_id"]
    before = await stored.queue.find(request_id)
    await take(desk, lease_seconds=30)
    after = await stored.queue.find(request_id)
    assert after == life.take(before, "trader", "s-1", 30 * NS_PER_SECOND, after.updated_ns)
    entry = (await desk.get(f"audit?target={request_id}")).body["items"][0]
    assert (entry["time_ns"], entry["recorder"]) == (after.updated_ns, stored.queue.recorder)
    assert entry["before"] == {name: getattr(before, name) for name in life.AUDITED}
    shown = {name: getattr(after, name) for name in life.AUDITED}
    assert entry["after"] == {"change": "order_taken", **shown}


async def test_a_repeated_key_is_answered_as_before_also_when_a_new_request_would_be_refused(
    desk: Caller, stored: Stack
) -> None:
    first = await submit(desk, "k-1")
    halt = {"scope": "strategy", "strategy": EQUITY["strategy"], "reason": "test"}
    assert (await desk.post("risk/halts", json=halt)).status == 201
    assert (await submit(desk, "k-2")).problem("order-refused")
    again = await submit(desk, "k-1")
    assert (again.status, again.raw) == (200, first.raw)
    assert stored.queue.refusals == {"halted": 1}
    (await submit(desk, "k-1", quantity=0.6)).problem("idempotency-key-reused")


@pytest.mark.parametrize("body", [EQUITY, CONDOR, LEGS], ids=lambda body: body["kind"])
async def test_every_kind_of_request_is_queued_as_it_was_submitted(
    desk: Caller, body: dict[str, Any]
) -> None:
    assert (await desk.post("orders", json=body)).status == 201
    (taken,) = (await take(desk))["taken"]
    assert taken["body"] == taken["body"] | body


async def test_a_repeated_key_gets_the_same_answer_and_queues_once(desk: Caller) -> None:
    first, second = await submit(desk, "k-1"), await submit(desk, "k-1")
    assert (first.status, second.status) == (201, 200)
    assert first.raw == second.raw
    answers = await asyncio.gather(*(submit(desk, "k-2") for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [200] * 9 + [201]
    assert len({answer.raw for answer in answers}) == 1
    assert len((await take(desk))["taken"]) == 2
    other = await submit(desk, "k-1", quantity=0.6)
    assert other.status == 409
    assert first.body["request_id"] in other.problem("idempotency-key-reused")["detail"]


async def test_the_most_urgent_is_taken_first_and_of_equals_the_oldest(desk: Caller) -> None:
    given = ["normal", "low", "urgent", "normal", "high", "urgent"]
    ids = [(await submit(desk, priority=priority)).body["request_id"] for priority in given]
    order = [(await take(desk, number))["taken"] for number in range(1, 7)]
    # Each answer has all that is held and was not named.
    assert [taken["request_id"] for taken in order[-1]] != []
    held = (await take(desk, 6, held=known(*(news[-1] for news in order))))["held"]
    assert len(held) == 6
    first = [news[-1]["request_id"] for news in order]
    assert first == [ids[2], ids[5], ids[4], ids[0], ids[3], ids[1]]


async def test_a_request_waits_until_a_process_has_room(desk: Caller) -> None:
    for _ in range(3):
        await submit(desk)
    news = await take(desk, 2)
    assert len(news["taken"]) == 2
    held = known(*news["taken"])
    assert (await take(desk, 2, held=held))["taken"] == []
    waiting = asyncio.create_task(take(desk, 2, held=held, wait_seconds=5))
    first = news["taken"][0]
    of_first = f"orders/{first['request_id']}"
    await desk.post(f"{of_first}/begin", json={"token": first["token"]})
    await desk.post(f"{of_first}/ack", json={"token": first["token"]})
    answer = await waiting
    # The one that is done is named and not held any more; nothing is wrong with that.
    assert answer["lost"] == [first["request_id"]]
    assert len(answer["taken"]) == 1


async def test_a_waiting_process_gets_a_request_at_once(desk: Caller, stored: Stack) -> None:
    waiting = asyncio.create_task(take(desk, wait_seconds=5))
    await wait_for(lambda: stored.queue._waiting, "a process waits")
    request_id = (await submit(desk)).body["request_id"]
    assert [taken["request_id"] for taken in (await waiting)["taken"]] == [request_id]


async def test_a_row_that_somebody_else_has_changed_counts_as_it_is_now(desk: Caller, stored: Stack) -> None:
    request_id = (await submit(desk)).body["request_id"]
    (taken,) = (await take(desk))["taken"]
    async with stored.database.query() as connection:
        await connection.execute(
            "UPDATE order_requests SET token = token + 1 WHERE request_id = $1", request_id
        )
    begin = f"orders/{request_id}/begin"
    (await desk.post(begin, json={"token": taken["token"]})).problem("request-conflict")
    assert (await desk.post(begin, json={"token": taken["token"] + 1})).body["state"] == "working"


async def test_a_request_that_was_given_back_and_taken_again_is_news_to_its_process(desk: Caller) -> None:
    request_id = (await submit(desk)).body["request_id"]
    (first,) = (await take(desk))["taken"]
    waiting = asyncio.create_task(take(desk, held=known(first), wait_seconds=5))
    body = {"token": first["token"], "outcome": "retry", "reason": "not now"}
    await desk.post(f"orders/{request_id}/nack", json=body)
    answer = await waiting
    assert answer["lost"] == [request_id]
    assert [taken["token"] for taken in answer["taken"]] == [first["token"] + 1]


async def test_an_answer_that_was_lost_is_sent_again(desk: Caller) -> None:
    await submit(desk)
    (lost,) = (await take(desk))["taken"]
    (again,) = (await take(desk))["taken"]
    assert again == lost | {"lease_until_ns": again["lease_until_ns"]}
    assert (await take(desk, session="s-2"))["taken"] == []


async def test_a_second_poll_of_a_session_ends_the_first(desk: Caller, stored: Stack) -> None:
    first = asyncio.create_task(take(desk, wait_seconds=5))
    await wait_for(lambda: stored.queue._waiting, "a process waits")
    second = asyncio.create_task(take(desk, wait_seconds=5))
    assert (await first)["taken"] == []
    await submit(desk)
    assert len((await second)["taken"]) == 1


async def test_a_process_that_is_gone_takes_nothing(desk: Caller, stored: Stack) -> None:
    assert stored.api._runner is not None
    server = stored.api._runner.server
    assert server is not None
    before = len(server.connections)
    async with ClientSession(stored.api.url) as session:
        body = {"holder": "trader", "session": "s-1", "capacity": 1, "lease_seconds": 60, "wait_seconds": 5}
        asking = asyncio.create_task(session.post("/api/v1/orders/take", json=body))
        await wait_for(lambda: stored.queue._waiting, "a process waits")
        asking.cancel()  # and the connection with it
        await wait_for(lambda: len(server.connections) == before, "the server knows")
        request_id = (await submit(desk)).body["request_id"]
        await wait_for(lambda: not stored.queue._waiting, "its call is over")
    assert (await stored.queue.find(request_id)).attempts == 0
    assert len((await take(desk, session="s-2"))["taken"]) == 1


async def test_what_nobody_has_heard_of_returns_to_the_queue(desk: Caller, stored: Stack) -> None:
    held, new = [(await submit(desk)).body["request_id"] for _ in range(2)]
    assert [one["request_id"] for one in (await take(desk, 1))["taken"]] == [held]
    poll = Poll(holder="trader", session="s-1", capacity=2, lease_ns=NS_PER_SECOND * 60)
    await stored.queue.poll(poll, [], 0.0, Actor(name="ada"), lambda: True)
    states = [(await stored.queue.find(one)).state.value for one in (held, new)]
    assert states == ["taken", "queued"]
    (taken,) = (await take(desk, session="s-2"))["taken"]
    assert (taken["request_id"], taken["attempts"]) == (new, 1)


async def test_only_requests_of_the_named_strategies_are_taken(desk: Caller) -> None:
    await submit(desk, strategy="other")
    mine = (await submit(desk)).body["request_id"]
    taken = (await take(desk, strategies=["momentum"]))["taken"]
    assert [one["request_id"] for one in taken] == [mine]


async def test_a_lease_that_ends_gives_the_request_to_another_process(desk: Caller) -> None:
    request_id = (await submit(desk)).body["request_id"]
    (first,) = (await take(desk, lease_seconds=1))["taken"]
    (second,) = (await take(desk, session="s-2", wait_seconds=5))["taken"]
    assert (second["request_id"], second["attempts"]) == (request_id, 2)
    assert second["token"] > first["token"]
    for call, body in (
        ("begin", {}),
        ("ack", {}),
        ("nack", {"outcome": "retry", "reason": "late"}),
    ):
        reply = await desk.post(f"orders/{request_id}/{call}", json={"token": first["token"], **body})
        assert reply.status == 409
        assert "another process" in reply.problem("request-conflict")["detail"]
    assert (await take(desk, held=known(first)))["lost"] == [request_id]
    assert (await desk.post(f"orders/{request_id}/begin", json={"token": second["token"]})).status == 200


async def test_what_a_lost_process_has_begun_is_unresolved_until_somebody_resolves_it(
    desk: Caller, stored: Stack
) -> None:
    request_id = (await submit(desk)).body["request_id"]
    (taken,) = (await take(desk, lease_seconds=1))["taken"]
    await desk.post(f"orders/{request_id}/begin", json={"token": taken["token"]})
    async with reader(stored) as live:
        await live.subscribe("orders")
        change = (await live.hear())["data"]
    assert (change["type"], change["request_id"]) == ("order_unresolved", request_id)
    assert (await take(desk, session="s-2"))["taken"] == []
    cancelled = await desk.ask("DELETE", f"orders/{request_id}")
    assert "unresolved" in cancelled.problem("request-conflict")["detail"]
    resolved = await desk.post(
        f"orders/{request_id}/resolve", json={"outcome": "queued", "reason": "not at the venue"}
    )
    assert resolved.body["state"] == "queued"
    late = await desk.post(f"orders/{request_id}/ack", json={"token": taken["token"]})
    assert late.status == 409
    assert len((await take(desk, session="s-2"))["taken"]) == 1


async def test_a_process_that_returns_late_says_what_became_of_its_order(desk: Caller, stored: Stack) -> None:
    request_id = (await submit(desk)).body["request_id"]
    (taken,) = (await take(desk, lease_seconds=1))["taken"]
    await desk.post(f"orders/{request_id}/begin", json={"token": taken["token"]})
    await reached(stored, request_id, "unresolved")
    done = await desk.post(f"orders/{request_id}/ack", json={"token": taken["token"], "order_id": "17"})
    assert done.body["state"] == "done"


@pytest.mark.parametrize("outcome", ["retry", "rejected", "cancelled"])
async def test_a_request_that_is_given_back(desk: Caller, outcome: str) -> None:
    request_id = (await submit(desk)).body["request_id"]
    (taken,) = (await take(desk))["taken"]
    body = {"token": taken["token"], "outcome": outcome, "reason": "no margin"}
    given = (await desk.post(f"orders/{request_id}/nack", json=body)).body
    assert given["state"] == {"retry": "queued"}.get(outcome, outcome)
    assert given["reason"] == "no margin"


async def test_after_the_last_attempt_a_request_is_dead_and_can_be_queued_by_hand(desk: Caller) -> None:
    request_id = (await submit(desk)).body["request_id"]
    most = ControlSettings().max_attempts
    for attempt in range(1, most + 1):
        (taken,) = (await take(desk))["taken"]
        assert taken["attempts"] == attempt
        body = {"token": taken["token"], "outcome": "retry", "reason": "not connected"}
        given = (await desk.post(f"orders/{request_id}/nack", json=body)).body
    assert given["state"] == "dead"
    assert given["reason"] == f"not connected; it was attempt {most}"
    body = {"outcome": "queued", "reason": "the broker is back"}
    assert (await desk.post(f"orders/{request_id}/resolve", json=body)).body["attempts"] == 0
    assert len((await take(desk))["taken"]) == 1


async def test_queued_and_taken_requests_are_cancelled_at_once(desk: Caller) -> None:
    queued = (await submit(desk)).body["request_id"]
    cancelled = await desk.ask("DELETE", f"orders/{queued}?reason=changed my mind")
    assert (cancelled.status, cancelled.body["state"]) == (200, "cancelled")
    assert cancelled.body["reason"] == "changed my mind"
    assert (await desk.ask("DELETE", f"orders/{queued}")).status == 200
    taken_id = (await submit(desk)).body["request_id"]
    (taken,) = (await take(desk))["taken"]
    waiting = asyncio.create_task(take(desk, held=known(taken), wait_seconds=5))
    assert (await desk.ask("DELETE", f"orders/{taken_id}")).status == 200
    assert (await waiting)["lost"] == [taken_id]
    refused = await desk.post(f"orders/{taken_id}/begin", json={"token": taken["token"]})
    assert "cancelled" in refused.problem("request-conflict")["detail"]


async def test_the_process_is_asked_to_cancel_what_it_works_on(desk: Caller) -> None:
    request_id = (await submit(desk)).body["request_id"]
    (taken,) = (await take(desk))["taken"]
    await desk.post(f"orders/{request_id}/begin", json={"token": taken["token"]})
    waiting = asyncio.create_task(take(desk, held=known(taken), wait_seconds=5))
    asked = await desk.ask("DELETE", f"orders/{request_id}?reason=news")
    assert (asked.status, asked.body["state"]) == (202, "working")
    (held,) = (await waiting)["held"]
    assert held["cancel_requested_ns"] == asked.body["cancel_requested_ns"]
    assert held["cancel_reason"] == "news"
    body = {"token": taken["token"], "outcome": "cancelled", "reason": "cancelled at the venue"}
    assert (await desk.post(f"orders/{request_id}/nack", json=body)).body["state"] == "cancelled"


async def test_what_is_done_cannot_be_cancelled(desk: Caller) -> None:
    request_id = (await submit(desk)).body["request_id"]
    (taken,) = (await take(desk))["taken"]
    unbegun = await desk.post(f"orders/{request_id}/ack", json={"token": taken["token"]})
    assert unbegun.problem("request-conflict")["detail"] == "it was not begun"
    await desk.post(f"orders/{request_id}/begin", json={"token": taken["token"]})
    await desk.post(f"orders/{request_id}/ack", json={"token": taken["token"]})
    refused = await desk.ask("DELETE", f"orders/{request_id}")
    assert (refused.status, refused.problem("request-conflict")["detail"]) == (409, "it is done")
    assert (await desk.ask("DELETE", "orders/unknown")).status == 404
    results = (await desk.get(f"audit?target={request_id}&action=order.cancel")).body["items"]
    assert [entry["result"] for entry in results] == ["request-conflict"]


async def test_a_request_that_nobody_begins_in_time_expires(desk: Caller, stored: Stack) -> None:
    until_ns = stored.clock.time_ns() + 3 * NS_PER_SECOND
    request_id = (await submit(desk, valid_until=until_ns)).body["request_id"]
    taken_id = (await submit(desk, valid_until=until_ns, priority="high")).body["request_id"]
    (taken,) = (await take(desk, 1))["taken"]
    assert taken["request_id"] == taken_id
    await reached(stored, request_id, "expired")
    refused = await desk.post(f"orders/{taken_id}/begin", json={"token": taken["token"]})
    assert "valid-until" in refused.problem("request-conflict")["detail"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"limit_price": None}, "limit_price"),
        ({"limit_price": -1.0}, "limit_price"),
        ({"order_type": "market"}, "limit_price"),
        ({"order_type": "stop", "limit_price": None}, "stop_price"),
        ({"stop_price": 3.0}, "stop_price"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": "1"}, "quantity"),
        ({"side": "BUY"}, "side"),
        ({"kind": "stock"}, "kind"),
        ({"priority": "asap"}, "priority"),
        ({"valid_until": 1}, "valid_until"),
        ({"valid_until": "tomorrow"}, "valid_until"),
        ({"strategy": ""}, "strategy"),
        ({"notes": "\0"}, "notes"),
        ({"leverage": 10}, "leverage"),
    ],
)
async def test_a_refusal_names_the_field_and_queues_nothing(
    desk: Caller, fields: dict[str, Any], field: str
) -> None:
    refused = await submit(desk, **fields)
    assert refused.status == 422
    assert [error["field"] for error in refused.problem("invalid-body")["errors"]] == [field]
    assert (await take(desk))["taken"] == []


@pytest.mark.parametrize("key", ["", "k" * 257, "a\tb"])
async def test_an_invalid_idempotency_key_is_refused(desk: Caller, key: str) -> None:
    assert (await submit(desk, key)).problem("invalid-parameter")


async def test_without_a_key_that_may_trade_all_of_it_is_off(stored: Stack, stored_caller: Caller) -> None:
    read = await stored.key(Scope.READ)
    await stored.keys.refresh()
    for method, path, body in (
        ("POST", "orders", EQUITY),
        ("DELETE", "orders/r-1", None),
        ("POST", "orders/take", {"holder": "trader", "session": "s", "capacity": 1}),
        ("POST", "orders/r-1/begin", {"token": 1}),
    ):
        refused = await stored_caller.ask(method, path, json=body)
        assert refused.status == 501
        assert "keys create" in refused.problem("not-enabled")["detail"]
    await stored.key(Scope.TRADE)
    await stored.keys.refresh()
    assert (await submit(stored_caller)).status == 201
    refused = await stored_caller.post("orders", json=EQUITY, headers={"Authorization": f"Bearer {read}"})
    assert refused.status == 403


async def test_every_change_is_an_event_of_the_topic_orders(desk: Caller, stored: Stack) -> None:
    async with reader(stored) as live:
        await live.subscribe("orders")
        request_id = (await submit(desk, priority="high")).body["request_id"]
        (taken,) = (await take(desk))["taken"]
        await desk.post(f"orders/{request_id}/begin", json={"token": taken["token"]})
        await desk.ask("DELETE", f"orders/{request_id}?reason=news")
        body = {"token": taken["token"], "outcome": "cancelled", "reason": "at the venue"}
        await desk.post(f"orders/{request_id}/nack", json=body)
        changes = [(await live.hear())["data"] for _ in range(5)]
    assert [change["type"] for change in changes] == [
        "order_submitted",
        "order_taken",
        "order_begun",
        "order_cancel_requested",
        "order_cancelled",
    ]
    assert {(change["request_id"], change["priority"], change["kind"]) for change in changes} == {
        (request_id, "high", "equity")
    }
    assert changes[3]["reason"] == "news"


@pytest.mark.parametrize("api_settings", [ApiSettings(port=0, require_keys=True)])
async def test_the_audit_log_names_the_key_of_every_call(stored: Stack) -> None:
    trade, admin = await stored.key(Scope.TRADE), await stored.key(Scope.ADMIN)
    await stored.keys.refresh()
    async with (
        ClientSession(
            stored.api.url, headers={"Authorization": f"Bearer {trade}", "X-Request-ID": "find-me"}
        ) as session,
        session.post("/api/v1/orders", json=EQUITY) as response,
    ):
        assert response.status == 201
        request_id = (await response.json())["request_id"]
    async with Caller(stored.api.url) as asking:
        reply = await asking.get(f"audit?target={request_id}", headers={"Authorization": f"Bearer {admin}"})
    (entry,) = reply.body["items"]
    assert (entry["key_id"], entry["request_id"]) == (trade.split("_")[1], "find-me")


async def test_requests_and_orders_are_one_list(desk: Caller, stored: Stack) -> None:
    waiting = (await submit(desk, strategy="momentum", notes="waits")).body["request_id"]
    sent = (await submit(desk, strategy="momentum", priority="high")).body["request_id"]
    legs = (await desk.post("orders", json=LEGS)).body["request_id"]
    (taken,) = (await take(desk, 1))["taken"]
    assert taken["request_id"] == sent
    listed = (await desk.get("orders")).body["items"]
    assert [(o["order_id"], o["request_id"], o["state"], o["request_kind"]) for o in listed] == [
        (legs, legs, "queued", "manual_legs"),
        (sent, sent, "taken", "equity"),
        (waiting, waiting, "queued", "equity"),
    ]
    assert (listed[0]["side"], listed[2]["side"], listed[2]["price"]) == (None, "buy", 67_000.0)
    order = Order(
        time_ns=stored.clock.time_ns(),
        strategy="momentum",
        venue="synthetic",
        instrument="BTC-USD",
        order_id="17",
        state=OrderState.ACCEPTED,
        side=Side.BUY,
        quantity=0.5,
        request_id=sent,
    )
    await stored.emit(order)
    await stored.all_stored()
    await desk.post(f"orders/{sent}/begin", json={"token": taken["token"]})
    listed = (await desk.get("orders")).body["items"]
    assert [(o["order_id"], o["state"], o["request_state"]) for o in listed] == [
        ("17", "accepted", "working"),
        (legs, "queued", "queued"),
        (waiting, "queued", "queued"),
    ]
    pages = await desk.pages("orders?limit=1")
    assert [page[0]["order_id"] for page in pages if page] == ["17", legs, waiting]
    assert len((await desk.get("orders?state=queued")).body["items"]) == 2
    assert len((await desk.get(f"orders?request_id={sent}")).body["items"]) == 1
    for name in (sent, "17"):
        detail = (await desk.get(f"orders/{name}")).body
        assert (detail["order"]["order_id"], detail["request"]["request_id"]) == ("17", sent)
        assert [change["request_id"] for change in detail["changes"]] == [sent]
    detail = (await desk.get(f"orders/{waiting}")).body
    assert (detail["request"]["body"]["notes"], detail["changes"]) == ("waits", [])
    assert (await desk.ask("DELETE", "orders/17")).status == 202


async def test_an_order_of_no_request_cannot_be_cancelled_here(desk: Caller, stored: Stack) -> None:
    order = Order(
        time_ns=stored.clock.time_ns(),
        strategy="momentum",
        venue="synthetic",
        instrument="BTC-USD",
        order_id="18",
        state=OrderState.ACCEPTED,
        side=Side.BUY,
        quantity=0.5,
    )
    await stored.emit(order)
    await stored.all_stored()
    refused = await desk.ask("DELETE", "orders/18")
    assert "only its own process" in refused.problem("request-conflict")["detail"]


async def test_submissions_at_the_same_time_stay_within_the_limit_of_open_orders(
    desk: Caller, stored: Stack
) -> None:
    contracts = Contracts(AccountingSettings(), stored.clock)
    limits = OrderLimits(max_open_orders=3, require_live_feed=False)
    stored.queue._checks = PreTradeChecks(limits, stored.latest, stored.clock, contracts)
    submitted = await asyncio.gather(*(submit(desk, f"key-{number}") for number in range(12)))
    assert sorted(reply.status for reply in submitted) == [201] * 3 + [422] * 9
    assert len((await desk.get("orders/requests")).body["items"]) == 3


async def test_a_request_and_its_order_are_one_open_order(desk: Caller, stored: Stack) -> None:
    request_id = (await submit(desk)).body["request_id"]
    strategy = EQUITY["strategy"]
    assert await stored.queue._store.open_requests(strategy) == 1
    order = Order(
        time_ns=stored.clock.time_ns(),
        strategy=strategy,
        venue="synthetic",
        instrument="BTC-USD",
        order_id="17",
        state=OrderState.ACCEPTED,
        side=Side.BUY,
        quantity=0.5,
        request_id=request_id,
    )
    await stored.emit(order)
    await stored.all_stored()
    assert await stored.queue._store.open_requests(strategy) == 0  # the samples of its order count it
    await stored.emit(replace(order, state=OrderState.FILLED, time_ns=stored.clock.time_ns()))
    await stored.all_stored()
    assert await stored.queue._store.open_requests(strategy) == 1  # its process may send another order for it


async def test_requests_are_listed_newest_first_page_by_page(desk: Caller) -> None:
    ids = [(await submit(desk, strategy=strategy)).body["request_id"] for strategy in ("a", "b", "b")]
    (taken,) = (await take(desk, 1))["taken"]
    first = (await desk.get("orders/requests?limit=2")).body
    rest = (await desk.get(f"orders/requests?limit=2&cursor={first['next_cursor']}")).body
    assert [item["request_id"] for item in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    assert rest["items"][0] == {key: value for key, value in taken.items() if key != "token"}

    assert (await desk.ask("DELETE", f"orders/{ids[1]}")).status == 200
    for query, expected in {
        "state=queued": [ids[2]],
        "is_final=true": [ids[1]],
        "is_final=false": [ids[2], ids[0]],
        "strategy=a": [ids[0]],
        "submitted_by=local": ids[::-1],
    }.items():
        items = (await desk.get(f"orders/requests?{query}")).body["items"]
        assert [item["request_id"] for item in items] == expected, query
    assert (await desk.get("orders/requests?strategy=nobody")).status == 404


async def test_a_check_tells_what_a_submission_would_meet_and_queues_nothing(desk: Caller) -> None:
    assert (await desk.post("orders/check", json=EQUITY)).body == {"passes": True, "violations": []}
    halt = {"scope": "strategy", "strategy": EQUITY["strategy"], "reason": "news"}
    assert (await desk.post("risk/halts", json=halt)).status == 201
    checked = (await desk.post("orders/check", json=EQUITY)).body
    assert not checked["passes"]
    assert [violation["rule"] for violation in checked["violations"]] == ["halted"]
    assert "news" in checked["violations"][0]["reason"]
    wrong = await desk.post("orders/check", json=EQUITY | {"order_type": "market"})
    assert [error["field"] for error in wrong.problem("invalid-body")["errors"]] == ["limit_price"]
    assert (await desk.get("orders/requests")).body["items"] == []
