"""Rate limits per key and per address, for requests and for WebSocket messages."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
import websockets
from aiohttp import ClientError, ClientSession
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from api.http.access import Scope
from api.http.rate_limit import RateLimiter
from api.security.quotas import Quotas
from api.settings import ApiSettings
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.fakes import ManualClock
from storage.database import Database
from storage.settings import StorageSettings
from tests.api.helpers import LIMIT_SECONDS, Stack, quote, reader

LIMITED = ApiSettings(port=0, address_requests_per_second=5.0, limit_loopback=True)
"""A burst of ten requests."""


def test_a_bucket_gives_its_burst_and_refills() -> None:
    clock = ManualClock()
    limiter = RateLimiter("key", clock, 10.0)
    assert [limiter.take("a").remaining for _ in range(20)] == list(range(19, -1, -1))
    refused = limiter.take("a")
    assert (refused.is_admitted, refused.wait_ns) == (False, NS_PER_SECOND // 10)
    assert limiter.take("b").is_admitted
    clock.advance(refused.wait_ns - 1)
    assert not limiter.take("a").is_admitted
    clock.advance(1)
    assert limiter.take("a").is_admitted
    assert not limiter.take("a").is_admitted
    clock.advance(10 * NS_PER_SECOND)
    assert limiter.take("a").remaining == 19


def test_a_rate_below_one_a_second_admits_one_and_then_waits() -> None:
    clock = ManualClock()
    limiter = RateLimiter("address", clock, 0.1)
    assert limiter.take("a").is_admitted
    assert limiter.take("a").wait_ns == 10 * NS_PER_SECOND
    assert limiter.take("a").headers() == {
        "RateLimit-Policy": '"address";q=1;w=10',
        "RateLimit": '"address";r=0;t=10',
    }


@given(pauses=st.lists(st.floats(0, 3), max_size=60))
def test_forgetting_unused_buckets_changes_no_decision(pauses: list[float]) -> None:
    """The limiter beside one that keeps a bucket's tokens forever."""
    clock = ManualClock()
    limiter = RateLimiter("key", clock, 2.0)
    tokens, last_ns = 4 * NS_PER_SECOND, clock.monotonic_ns()  # two a second: a token is half a second
    for pause in pauses:
        clock.advance(round(pause * NS_PER_SECOND))
        limiter.take("other")  # rotates the generations
        now_ns = clock.monotonic_ns()
        tokens = min(4 * NS_PER_SECOND, tokens + 2 * (now_ns - last_ns))
        last_ns = now_ns
        if admitted := tokens >= NS_PER_SECOND:
            tokens -= NS_PER_SECOND
        assert limiter.take("a").is_admitted is admitted


def test_memory_is_bounded_however_many_addresses_there_are() -> None:
    limiter = RateLimiter("address", ManualClock(), 1.0, max_buckets=100)
    for number in range(10_000):
        assert limiter.take(str(number)).is_admitted
        assert limiter.buckets <= 200


@pytest.mark.parametrize(
    ("remote", "network"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        (None, "unknown"),
    ],
)
def test_addresses_are_counted_by_network_and_this_machine_is_not(
    remote: str | None, network: str | None
) -> None:
    quotas = Quotas(
        SystemClock(),
        CollectorRegistry(),
        key_per_second=1,
        address_per_second=1,
        limit_loopback=False,
    )
    assert quotas.network(remote) == network


def test_loopback_and_limits_of_zero_are_never_refused() -> None:
    defaults = ApiSettings()
    for address, key in ((defaults.address_requests_per_second, 0.0), (0.0, 0.0)):
        quotas = Quotas(
            SystemClock(),
            CollectorRegistry(),
            key_per_second=key,
            address_per_second=address,
            limit_loopback=not address,
        )
        request = make_mocked_request("GET", "/")
        request = request.clone(remote="127.0.0.1")
        refusal = quotas.message_meter(request, "key")
        for _ in range(5_000):
            quotas.admit(request)
            quotas.admit_key(request, "key")
            assert refusal() == ""


async def statuses(session: ClientSession, count: int, path: str = "/api/v1/ping") -> list[int]:
    found = []
    for _ in range(count):
        async with session.get(path) as response:
            found.append(response.status)
    return found


async def test_an_address_that_sends_too_many_requests_gets_429_and_may_return() -> None:
    async with (
        Stack(settings=LIMITED).running() as stack,
        ClientSession(stack.api.url) as session,
    ):
        assert await statuses(session, 10) == [200] * 10
        async with session.get("/nothing/here") as response:  # whatever it asks for
            problem = json.loads(await response.read())
            assert response.status == problem["status"] == 429
            assert problem["type"] == "urn:decahertz:problem:rate-limited"
            assert "api.address_requests_per_second" in problem["detail"]
            assert response.headers["Retry-After"] == "1"
            assert response.headers["RateLimit"] == '"address";r=0;t=2'
            assert response.headers["RateLimit-Policy"] == '"address";q=10;w=2'
        await asyncio.sleep(float(response.headers["Retry-After"]))
        async with session.get("/api/v1/ping") as response:
            assert response.status == 200
        assert stack.counted("decahertz_api_rate_limited_total", limit="address", kind="request") == 1


async def test_the_upgrade_to_websocket_and_its_messages_are_counted_too() -> None:
    async with Stack(settings=LIMITED).running() as stack:
        async with reader(stack) as ears:
            for _ in range(9):
                await ears.say(type="ping")
                assert (await ears.hear())["type"] == "pong"
            await ears.say(type="subscribe", topics=["quotes:*"])
            error = await ears.hear()
            assert (error["type"], error["code"]) == ("error", "rate_limited")
            assert "try again in 1 s" in error["text"]
            await stack.emit(quote())  # nothing was subscribed
            await asyncio.sleep(0.25)  # the allowance of one more message grows with time alone
            assert (await ears.until_pong()) == []
            async with ClientSession(stack.api.url) as session:
                headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
                async with session.get("/ws", headers=headers) as response:
                    assert response.status == 429
        assert stack.counted("decahertz_api_rate_limited_total", limit="address", kind="message") == 1


@pytest.mark.parametrize("api_settings", [ApiSettings(port=0, key_requests_per_second=2.0)])
async def test_keys_are_limited_one_by_one_and_programs_without_a_key_are_not(stored: Stack) -> None:
    keys = [await stored.key(Scope.READ) for _ in range(2)]
    await stored.keys.refresh()
    for key in keys:
        async with ClientSession(stored.api.url, headers={"Authorization": f"Bearer {key}"}) as session:
            found = await statuses(session, 5, "/api/v1/ledger")
            assert (found[:4], found[4]) == ([200] * 4, 429)
            async with session.post("/api/v1/events") as response:  # also one that its scope does not permit
                assert response.status == 429
                assert "api.key_requests_per_second" in (await response.json(content_type=None))["detail"]
    with pytest.raises(websockets.InvalidStatus, match="429"):
        async with reader(stored, additional_headers={"Authorization": f"Bearer {keys[0]}"}):
            pass
    async with ClientSession(stored.api.url) as session:
        assert await statuses(session, 20, "/api/v1/ledger") == [200] * 20


CONNECTIONS = ApiSettings(port=0, address_requests_per_second=0.0, address_connections=3, limit_loopback=True)


async def test_connections_of_one_address_are_limited_websockets_too() -> None:
    async with Stack(settings=CONNECTIONS).running() as stack, reader(stack) as ears:
        open_ones = [await asyncio.open_connection("127.0.0.1", stack.api.port) for _ in range(2)]
        incoming, refused = await asyncio.open_connection("127.0.0.1", stack.api.port)
        async with asyncio.timeout(LIMIT_SECONDS):
            head, _, body = (await incoming.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"Retry-After: 1" in head
        problem = json.loads(body)
        assert problem["type"] == "urn:decahertz:problem:rate-limited"
        assert "api.address_connections" in problem["detail"]
        refused.close()
        assert stack.counted("decahertz_api_rate_limited_total", limit="address", kind="connection") == 1
        await ears.until_pong()  # the others stay
        for _, writer in open_ones:
            writer.close()
        async with asyncio.timeout(LIMIT_SECONDS):  # the server hears of it in its own time
            while True:
                with contextlib.suppress(ClientError):
                    async with ClientSession(stack.api.url) as session:
                        if await statuses(session, 1) == [200]:
                            break
                await asyncio.sleep(0.01)


async def test_by_default_connections_of_this_machine_are_not_limited(stack: Stack) -> None:
    most = ApiSettings().address_connections
    connections = [await asyncio.open_connection("127.0.0.1", stack.api.port) for _ in range(most + 5)]
    async with ClientSession(stack.api.url) as session:
        assert await statuses(session, 1) == [200]
    for _, writer in connections:
        writer.close()


async def test_a_query_that_takes_too_long_says_which_setting_ended_it(stored: Stack) -> None:
    hasty = Database(stored.database.url, StorageSettings(read_timeout_seconds=0.2))
    await hasty.open()
    try:
        async with stored.database.query() as connection, connection.transaction():
            await connection.execute("LOCK TABLE fills IN ACCESS EXCLUSIVE MODE")
            async with (
                Stack(database=hasty).running() as stack,
                ClientSession(stack.api.url) as session,
                session.get("/api/v1/fills") as response,
            ):
                problem = json.loads(await response.read())
                assert response.status == problem["status"] == 504
                assert problem["type"] == "urn:decahertz:problem:query-timeout"
                assert "0.2 s (storage.read_timeout_seconds)" in problem["detail"]
    finally:
        await hasty.close()
