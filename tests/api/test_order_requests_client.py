"""The client takes order requests from a real recorder, over connections that break."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from api.http.access import Scope
from control.actor import Actor
from decahertz.order_requests import RequestRecord, RequestState
from decahertz_client import Client, OrderRequest, OrderRequests, ProblemError, RequestRefusedError
from tests.api.helpers import LIMIT_SECONDS, Stack, reader
from tests.control.requests import request
from tests.proxy import ApiProxy

PERSON = Actor(name="ada")


@pytest.fixture
async def desk(stored: Stack) -> Stack:
    """A recorder of which a key with the scope ``trade`` exists."""
    await stored.key(Scope.TRADE)
    await stored.keys.refresh()
    return stored


@pytest.fixture
async def trader(desk: Stack) -> AsyncIterator[Client]:
    client = Client(desk.api.url, source="trader")
    yield client
    await asyncio.to_thread(client.close)


async def submit(desk: Stack, **fields: object) -> str:
    record, _ = await desk.queue.submit(request(**fields), PERSON, None)
    return record.request_id


async def taken(requests: OrderRequests) -> OrderRequest:
    async with asyncio.timeout(LIMIT_SECONDS):
        return await asyncio.to_thread(next, requests)


async def reached(desk: Stack, request_id: str, *states: RequestState) -> RequestRecord:
    """Waits until a request has one of these states."""
    async with reader(desk) as live:
        await live.subscribe("orders")
        while (record := await desk.queue.find(request_id)).state not in states:
            await live.hear()
    return record


async def test_a_process_takes_begins_and_acknowledges(desk: Stack, trader: Client) -> None:
    with trader.requests(capacity=2) as requests:
        request_id = await submit(desk, quantity=0.25)
        found = await taken(requests)
        assert (found.request_id, found.kind, found.body["quantity"]) == (request_id, "equity", 0.25)
        assert found.body["side"] == "buy"
        await asyncio.to_thread(found.begin)
        assert (await desk.queue.find(request_id)).holder == "trader"
        assert await asyncio.to_thread(found.ack, "17")
        assert requests.held == []
        record = await desk.queue.find(request_id)
        assert (record.state, record.order_id) == (RequestState.DONE, "17")
        await asyncio.to_thread(requests.close)
    assert list(requests) == []


async def test_the_lease_is_kept_while_the_process_lives(desk: Stack, trader: Client) -> None:
    with trader.requests(lease_seconds=1) as requests:
        request_id = await submit(desk)
        found = await taken(requests)
        first_ns = (await desk.queue.find(request_id)).lease_until_ns
        assert first_ns is not None
        async with asyncio.timeout(LIMIT_SECONDS):
            while time.time_ns() < first_ns + 10**9:  # well past the end of the first lease
                record = await desk.queue.find(request_id)
                assert (record.state, record.attempts) == (RequestState.TAKEN, 1)
                await asyncio.sleep(0.05)
        assert record.lease_until_ns is not None
        assert record.lease_until_ns > first_ns
        assert not found.is_lost
        await asyncio.to_thread(requests.close)


async def test_no_more_than_the_capacity_is_held(desk: Stack, trader: Client) -> None:
    ids = [await submit(desk) for _ in range(3)]
    with trader.requests(capacity=2) as requests:
        first, second = await taken(requests), await taken(requests)
        assert {first.request_id, second.request_id} == set(ids[:2])
        assert (await desk.queue.find(ids[2])).state is RequestState.QUEUED
        await asyncio.to_thread(first.nack, "not now")
        third = await taken(requests)
        # The older one, unless the poll began before that was given back.
        assert third.request_id in (first.request_id, ids[2])
        assert {each.request_id for each in requests.held} == {second.request_id, third.request_id}
        queued = ({*ids} - {second.request_id, third.request_id}).pop()
        assert (await desk.queue.find(queued)).state is RequestState.QUEUED
        await asyncio.to_thread(requests.close)


async def test_the_process_learns_that_an_order_is_to_be_cancelled(desk: Stack, trader: Client) -> None:
    with trader.requests(lease_seconds=60) as requests:
        request_id = await submit(desk)
        found = await taken(requests)
        await asyncio.to_thread(found.begin)
        assert not found.cancel_requested
        asked = time.monotonic()
        await desk.queue.cancel(request_id, "news", PERSON)
        assert await asyncio.to_thread(found.wait_cancel, LIMIT_SECONDS)
        assert time.monotonic() - asked < 5  # pushed, not found at the next renewal after 20 s
        assert found.cancel_reason == "news"
        assert await asyncio.to_thread(found.cancelled, "at the venue")
        assert (await desk.queue.find(request_id)).state is RequestState.CANCELLED
        await asyncio.to_thread(requests.close)


async def test_what_was_cancelled_before_its_begin_is_not_sent(desk: Stack, trader: Client) -> None:
    with trader.requests() as requests:
        request_id = await submit(desk)
        found = await taken(requests)
        await desk.queue.cancel(request_id, "changed my mind", PERSON)
        with pytest.raises(RequestRefusedError, match="changed my mind"):
            await asyncio.to_thread(found.begin)
        following = await submit(desk)
        assert (await taken(requests)).request_id == following
        await asyncio.to_thread(requests.close)


async def test_a_process_that_ends_gives_back_what_it_has_not_begun(desk: Stack, trader: Client) -> None:
    ids = [await submit(desk) for _ in range(3)]
    requests = trader.requests(capacity=3)
    begun = await taken(requests)
    await asyncio.to_thread(begun.begin)
    await taken(requests)
    await asyncio.to_thread(requests.close)
    assert (await desk.queue.find(ids[0])).state is RequestState.WORKING
    for request_id in ids[1:]:  # a poll that was under way takes it for a moment, until it finds nobody there
        assert (await reached(desk, request_id, RequestState.QUEUED)).attempts == 1


async def test_without_a_key_that_may_trade_the_iteration_says_so(stored: Stack) -> None:
    client = Client(stored.api.url, source="trader")
    requests = client.requests()
    with pytest.raises(ProblemError, match="keys create") as raised:
        await taken(requests)
    assert raised.value.kind == "not-enabled"
    await asyncio.to_thread(requests.close)
    await asyncio.to_thread(client.close)


async def test_several_threads_may_iterate(desk: Stack, trader: Client) -> None:
    ids = {await submit(desk) for _ in range(20)}
    seen: list[str] = []
    with trader.requests(capacity=4) as requests:

        def work() -> None:
            for found in requests:
                found.begin()
                seen.append(found.request_id)
                found.ack()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for request_id in ids:
            await reached(desk, request_id, RequestState.DONE)
        await asyncio.to_thread(requests.close)
        for thread in threads:
            await asyncio.to_thread(thread.join, 10)
    assert sorted(seen) == sorted(ids)


async def test_every_answer_that_is_lost_costs_only_time(desk: Stack) -> None:
    """Takes, begins and acknowledgements reach the recorder, and the client's connection breaks."""
    async with ApiProxy(desk.api.port).running() as proxy:
        client = Client(f"http://127.0.0.1:{proxy.port}", source="trader")
        seen = []
        with client.requests() as requests:
            for number in range(10):
                request_id = await submit(desk, quantity=number + 1)
                proxy.lose_answers = number % 3
                found = await taken(requests)
                proxy.lose_answers = number % 2
                await asyncio.to_thread(found.begin)
                seen.append(found.request_id)
                proxy.lose_answers = number % 3
                await asyncio.to_thread(found.ack)
                record = await reached(desk, request_id, RequestState.DONE)
                assert record.attempts == 1
            await asyncio.to_thread(requests.close)
        assert len(set(seen)) == 10
        assert proxy.lost > 5
        await asyncio.to_thread(client.close)


async def test_an_order_whose_begin_is_not_answered_is_not_sent(desk: Stack) -> None:
    async with ApiProxy(desk.api.port).running() as proxy:
        client = Client(f"http://127.0.0.1:{proxy.port}", source="trader")
        with client.requests(lease_seconds=3) as requests:
            request_id = await submit(desk)
            found = await taken(requests)
            await proxy.cut()
            with pytest.raises(RequestRefusedError, match="does not answer"):
                await asyncio.to_thread(found.begin)
            proxy.is_cut = False
            again = await taken(requests)
            assert (again.request_id, again.attempts) == (request_id, 2)
            await asyncio.to_thread(requests.close)
        await asyncio.to_thread(client.close)
