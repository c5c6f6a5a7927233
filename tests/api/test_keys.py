"""Keys and scopes: generated from the routes, so that no route can be forgotten."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import ClientSession

from api.http.access import LOCAL, Scope
from api.http.route import AnyRoute
from api.routes.table import ROUTES
from api.security.keyring import REFRESH_SECONDS, KeyRing
from api.security.keys import GRANTABLE, matches, new_key, parse_key
from api.settings import ApiSettings
from decahertz.addresses import UnsafeAddressError
from decahertz.clock import NS_PER_SECOND, SystemClock
from storage.database import Database
from storage.settings import StorageSettings
from storage.write.api_keys import ApiKeyStore
from tests.api.helpers import LIMIT_SECONDS, NOWHERE, Stack, quote, reader, wait_for

PROTECTED = [route for route in ROUTES if route.scope is not Scope.PUBLIC]


@pytest.fixture
def api_settings() -> ApiSettings:
    return ApiSettings(port=0, require_keys=True)


async def ask(session: ClientSession, route: AnyRoute, key: str | None) -> tuple[int, str, str]:
    """Status, kind of the problem and challenge of a request to a route, without parameters."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    path = route.path.replace("{", "").replace("}", "")
    async with session.request(route.method, path, headers=headers) as response:
        raw = await response.read()
        kind = json.loads(raw).get("type", "") if "problem" in response.headers["Content-Type"] else ""
        return response.status, kind.rpartition(":")[2], response.headers.get("WWW-Authenticate", "")


async def test_every_route_refuses_a_request_without_a_valid_key_that_has_its_scope(stored: Stack) -> None:
    """Every route with no key, garbage, unknown, expired, revoked, every wrong scope; and the right one."""
    now_ns = stored.clock.time_ns()
    keys = {scope: await stored.key(scope) for scope in GRANTABLE}
    expired = await stored.key(*GRANTABLE, expires_ns=now_ns - 1)
    revoked = await stored.key(*GRANTABLE)
    parsed = parse_key(revoked)
    assert parsed is not None
    await ApiKeyStore(stored.database).revoke(parsed.id, now_ns)
    unknown = new_key("unknown", GRANTABLE, now_ns=now_ns)[0].reveal()
    wrong_secret = keys[Scope.ADMIN][:-8] + ("AAAAAAAA" if keys[Scope.ADMIN][-8:] != "AAAAAAAA" else "B" * 8)
    await stored.keys.refresh()
    async with ClientSession(stored.api.url) as session:
        for route in PROTECTED:
            for key in (None, "", "garbage", unknown, wrong_secret, expired, revoked):
                status, kind, challenge = await ask(session, route, key)
                assert (status, kind) == (401, "unauthorized"), (route.path, key)
                assert challenge.startswith("Bearer")
            for scope, key in keys.items():
                status, kind, _ = await ask(session, route, key)
                if scope in (route.scope, Scope.ADMIN):
                    assert status not in (401, 403, 500), (route.path, scope)
                else:
                    assert (status, kind) == (403, "insufficient-scope"), (route.path, scope)
        for route in ROUTES:
            if route.scope is Scope.PUBLIC and route.body is None:
                assert (await ask(session, route, None))[0] == 200, route.path


def test_routes_that_change_something_do_not_have_the_scope_read() -> None:
    changing = [route for route in ROUTES if route.method != "GET"]
    # Queries that do not fit into a URL, and one that asks for many of what `data` gives one by one.
    reading = {"/api/v1/metrics/history", "/api/v1/background/warm-cache"}
    assert {route.path for route in changing if route.scope is Scope.READ} == reading
    assert {route.path for route in changing if route.scope is Scope.PUBLIC} == {"/api/v1/session"}


@pytest.mark.parametrize("api_settings", [ApiSettings(port=0)])
async def test_without_required_keys_a_request_needs_none_but_a_key_that_is_sent_counts(
    stored: Stack,
) -> None:
    read = await stored.key(Scope.READ)
    ledger = next(route for route in ROUTES if route.path == "/api/v1/ledger")
    events = next(route for route in ROUTES if route.path == "/api/v1/events" and route.method == "POST")
    async with ClientSession(stored.api.url) as session:
        assert (await ask(session, ledger, None))[0] == 200
        assert (await ask(session, ledger, read))[0] == 200
        assert (await ask(session, ledger, "garbage"))[0] == 401
        assert (await ask(session, events, read))[0] == 403
        # The scheme of a proxy in front of the API.
        async with session.get(ledger.path, headers={"Authorization": "Basic dTpw"}) as response:
            assert response.status == 200
    assert LOCAL.key_id is None


async def test_keys_count_soon_after_they_are_made_and_revoked(stored: Stack) -> None:
    await stored.keys.start()
    ledger = next(route for route in ROUTES if route.path == "/api/v1/ledger")
    async with ClientSession(stored.api.url) as session:
        key = await stored.key(Scope.READ)
        async with asyncio.timeout(LIMIT_SECONDS):
            while (await ask(session, ledger, key))[0] != 200:  # noqa: ASYNC110 - a request
                await asyncio.sleep(0.05)
        parsed = parse_key(key)
        assert parsed is not None
        await ApiKeyStore(stored.database).revoke(parsed.id, stored.clock.time_ns())
        async with asyncio.timeout(REFRESH_SECONDS + LIMIT_SECONDS):
            while (await ask(session, ledger, key))[0] != 401:  # noqa: ASYNC110 - a request
                await asyncio.sleep(0.05)
    await stored.keys.stop()
    (stored_key,) = await ApiKeyStore(stored.database).all()
    assert stored_key.last_used_ns is not None
    assert stored_key.last_used_ns // NS_PER_SECOND <= stored.clock.time_ns() // NS_PER_SECOND


async def test_a_key_is_verified_slowly_once_and_from_memory_afterwards(stored: Stack) -> None:
    key = await stored.key(Scope.READ)
    await stored.keys.refresh()
    assert stored.keys.remembered(key) is None
    verified = await asyncio.gather(*(stored.keys.verify(key) for _ in range(8)))
    assert {caller.name for caller in verified if caller is not None} == {"test"}
    assert stored.keys.remembered(key) is verified[0]
    assert stored.keys.remembered(key[:-1] + ("A" if key[-1] != "A" else "B")) is None


async def test_websocket_takes_the_key_in_its_header_or_its_first_message(stored: Stack) -> None:
    key = await stored.key(Scope.READ)
    async with reader(stored, additional_headers={"Authorization": f"Bearer {key}"}) as ears:
        await ears.say(type="subscribe", topics=["quotes:*"])
        assert (await ears.hear())["type"] == "snapshot"
    async with reader(stored, waits=False) as ears:
        await ears.say(type="authenticate", key=key)
        assert (await ears.hear())["type"] == "connected"
        await ears.say(type="subscribe", topics=["quotes:*"])
        assert (await ears.hear())["type"] == "snapshot"
        await stored.emit(quote("A"))
        assert (await ears.hear())["type"] == "event"


@pytest.mark.parametrize(
    "first",
    [
        {"type": "subscribe", "topics": ["**"]},
        {"type": "ping"},
        {"type": "authenticate", "key": "garbage"},
        {"type": "authenticate"},
        {"type": "nonsense"},
        {"type": "authenticate", "key": "ingest"},
    ],
)
async def test_websocket_closes_when_the_first_message_has_no_valid_key(
    stored: Stack, first: dict[str, object]
) -> None:
    if first.get("key") == "ingest":
        first = {**first, "key": await stored.key(Scope.INGEST)}
    async with reader(stored, waits=False) as ears:
        await ears.say(**first)
        error = await ears.hear()
        assert (error["type"], error["code"]) == ("error", "unauthorized")
        assert "key" not in first or str(first["key"]) not in error["text"]
        assert await ears.close_code() == 4001
    assert stored.clients() == []


async def test_websocket_disconnects_when_its_key_is_revoked(stored: Stack) -> None:
    key = await stored.key(Scope.READ)
    parsed = parse_key(key)
    assert parsed is not None
    async with reader(stored, additional_headers={"Authorization": f"Bearer {key}"}) as ears:
        await ApiKeyStore(stored.database).revoke(parsed.id, stored.clock.time_ns())
        await stored.keys.refresh()
        assert await ears.close_code() == 4001


async def test_a_stop_does_not_wait_for_clients_without_a_key(stored: Stack) -> None:
    async with reader(stored, waits=False) as ears:
        await wait_for(lambda: stored.api._websocket._unauthenticated, "the connection waits for its key")
        await stored.api.stop()
        assert await ears.close_code() == 1001


async def test_an_address_that_others_reach_is_served_as_soon_as_there_is_a_key(stored: Stack) -> None:
    exposed = ApiSettings(host="0.0.0.0", port=0)  # noqa: S104 - keys are required
    stack = Stack(database=stored.database, settings=exposed)
    with pytest.raises(UnsafeAddressError, match="decahertz keys create"):
        await stack.api.start()
    key = await stack.key(Scope.READ)
    await stack.keys.refresh()
    async with stack.running(), ClientSession(f"http://127.0.0.1:{stack.api.port}") as session:
        async with session.get("/api/v1/ledger") as response:
            assert response.status == 401
        async with session.get("/api/v1/ledger", headers={"Authorization": f"Bearer {key}"}) as response:
            assert response.status == 200


async def test_keys_go_on_while_the_database_is_away() -> None:
    keys = KeyRing(ApiKeyStore(Database(NOWHERE, StorageSettings())), SystemClock())
    text, stored = new_key("test", [Scope.READ], now_ns=SystemClock().time_ns())
    assert await keys.verify(text.reveal()) is None
    keys._keys = {stored.id: (stored, LOCAL)}
    assert await keys.verify(text.reveal()) is LOCAL
    assert keys.remembered(text.reveal()) is LOCAL


def test_a_key_is_hashed_with_a_salt_and_shows_its_secret_nowhere() -> None:
    text, stored = new_key("test", [Scope.READ], now_ns=1)
    again = new_key("test", [Scope.READ], now_ns=1)[1]
    assert stored.hash.startswith("scrypt$16384$8$1$")
    assert stored.hash != again.hash
    assert text.secret not in repr(text) + str(text) + repr(stored)
    assert stored.hash not in repr(stored)
    assert matches(text.secret, stored.hash)
    assert not matches(text.secret + "A", stored.hash)
    assert not matches(text.secret, "nonsense")
    assert parse_key(text.reveal()) == text
