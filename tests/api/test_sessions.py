"""Sessions of browsers: what a cookie opens, what it does not, and what ends it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import structlog
import websockets
from aiohttp import ClientSession

from api.http.access import Scope
from api.security.keys import parse_key
from api.security.sessions import MAX_SESSIONS, Sessions
from api.settings import ApiSettings
from decahertz.clock import NS_PER_SECOND
from decahertz.fakes import ManualClock
from storage.write.api_keys import ApiKeyStore
from tests.api.helpers import Stack, reader

_PATH = "/api/v1/session"
_COOKIE = re.compile(r"(decahertz-\d+)=([\w-]{43}); Max-Age=43200; Path=/; HttpOnly; SameSite=Strict")
_ACKNOWLEDGEMENT = {"who": "ada", "comment": "looks", "until": 1}


@pytest.fixture
def api_settings(request: pytest.FixtureRequest) -> ApiSettings:
    return ApiSettings(port=0, require_keys=getattr(request, "param", True))


async def signed_in(stack: Stack, session: ClientSession, key: str) -> str:
    """Signs in; returns the cookie as a browser sends it."""
    async with session.post(_PATH, json={"key": key}) as response:
        assert response.status == 200, await response.text()
        found = _COOKIE.fullmatch(response.headers["Set-Cookie"])
        assert found
        assert key not in str(response.headers) + await response.text()
        assert found[1] == f"decahertz-{stack.api.port}"
        return f"{found[1]}={found[2]}"


async def status(session: ClientSession, method: str, path: str, **headers: str) -> tuple[int, str]:
    """Status and kind of the problem."""
    body = {"json": _ACKNOWLEDGEMENT} if method == "POST" else {}
    async with session.request(method, path, headers=headers, **body) as response:  # type: ignore[arg-type]
        content: dict[str, Any] = await response.json(content_type=None)
        return response.status, str(content.get("type", "")).rpartition(":")[2]


async def test_a_session_opens_what_its_key_opens_and_changes_nothing_for_other_pages(stored: Stack) -> None:
    key = await stored.key(Scope.READ, Scope.TRADE)
    own = stored.api.url
    async with ClientSession(own) as browser:
        cookie = await signed_in(stored, browser, key)
        async with browser.get(_PATH, headers={"Cookie": f"other=1; {cookie}"}) as response:
            info = await response.json()
        assert (info["name"], info["scopes"]) == ("test", ["read", "trade"])
        assert 0 < info["expires_ns"] - stored.clock.time_ns() <= 12 * 3600 * NS_PER_SECOND
        assert await status(browser, "GET", "/api/v1/ledger", Cookie=cookie) == (200, "")
        assert await status(browser, "GET", "/api/v1/ledger") == (401, "unauthorized")
        # What changes something: by the server's own page, by no page, by another page.
        path = "/api/v1/alerts/unknown/acknowledge"
        assert (await status(browser, "POST", path, Cookie=cookie, Origin=own))[0] in (400, 404, 422)
        for headers in ({}, {"Origin": "null"}, {"Origin": "http://elsewhere.example"}):
            refused = await status(browser, "POST", path, Cookie=cookie, **headers)
            assert refused == (403, "forbidden-origin")
        refused = await status(browser, "POST", "/api/v1/events", Cookie=cookie, Origin=own)
        assert refused == (403, "insufficient-scope")


async def test_a_cookie_that_is_no_session_opens_nothing(stored: Stack) -> None:
    async with ClientSession(stored.api.url) as browser:
        await signed_in(stored, browser, await stored.key(Scope.READ))
        name = f"decahertz-{stored.api.port}"
        for cookie in (f"{name}=", name, f"{name}=AAAA", "decahertz=x", f"{name}=ä" * 9, "=" * 4000, ";;;"):
            assert await status(browser, "GET", "/api/v1/ledger", Cookie=cookie) == (401, "unauthorized")


async def test_who_may_sign_in(stored: Stack) -> None:
    ingest = await stored.key(Scope.INGEST)
    expired = await stored.key(Scope.READ, expires_ns=stored.clock.time_ns() - 1)
    async with ClientSession(stored.api.url) as browser:
        for key, expected in ((ingest, 403), (expired, 401), ("garbage", 401), ("", 422)):
            async with browser.post(_PATH, json={"key": key}) as response:
                assert response.status == expected
                assert "Set-Cookie" not in response.headers
                assert not key or key not in await response.text()
        async with browser.post(_PATH, json={"key": "x"}, headers={"Origin": "http://a.example"}) as response:
            assert response.status == 403
        # A key in a URL is not read, and not repeated.
        async with browser.post(f"{_PATH}?key={ingest}") as response:
            assert response.status in (400, 415)


async def test_signing_out_ends_the_session_and_its_websocket(stored: Stack) -> None:
    key = await stored.key(Scope.READ)
    own = stored.api.url
    async with ClientSession(own) as browser:
        cookie, other = [await signed_in(stored, browser, key) for _ in range(2)]
        headers = {"Cookie": cookie, "Origin": own}
        async with (
            reader(stored, additional_headers=headers) as ears,
            reader(stored, additional_headers={**headers, "Cookie": other}) as others,
        ):
            async with browser.delete(_PATH, headers=headers) as response:
                assert await response.json() == {"ended": True}
                assert "Max-Age=0" in response.headers["Set-Cookie"]
            assert await ears.close_code() == 4001
            assert await others.until_pong() == []
        assert await status(browser, "GET", "/api/v1/ledger", Cookie=cookie) == (401, "unauthorized")
        assert await status(browser, "GET", "/api/v1/ledger", Cookie=other) == (200, "")
        async with browser.delete(_PATH, headers=headers) as response:
            assert await response.json() == {"ended": False}


async def test_a_websocket_by_cookie_needs_the_origin_of_the_server(stored: Stack) -> None:
    async with ClientSession(stored.api.url) as browser:
        cookie = await signed_in(stored, browser, await stored.key(Scope.READ))
    with pytest.raises(websockets.InvalidStatus) as refusal:
        async with reader(stored, additional_headers={"Cookie": cookie}):
            pass
    assert refusal.value.response.status_code == 403


async def test_a_session_ends_with_its_key(stored: Stack) -> None:
    key = await stored.key(Scope.READ)
    parsed = parse_key(key)
    assert parsed is not None
    async with ClientSession(stored.api.url) as browser:
        headers = {"Cookie": await signed_in(stored, browser, key), "Origin": stored.api.url}
        async with reader(stored, additional_headers=headers) as ears:
            await ApiKeyStore(stored.database).revoke(parsed.id, stored.clock.time_ns())
            await stored.keys.refresh()
            assert await ears.close_code() == 4001
        assert await status(browser, "GET", "/api/v1/ledger", **headers) == (401, "unauthorized")


async def test_sessions_expire_and_are_bounded_and_nothing_shows_their_secrets(stored: Stack) -> None:
    key = await stored.key(Scope.READ)
    caller = await stored.keys.verify(key)
    assert caller is not None
    clock = ManualClock(stored.clock.time_ns())
    sessions = Sessions(stored.keys, clock, hours=1, secure=True)
    headers = {"Host": "decahertz.example.com"}
    session, cookie = sessions.begin(caller, headers)
    assert cookie.startswith("decahertz=")
    assert cookie.endswith("; Secure")
    sent = {**headers, "Cookie": cookie.partition(";")[0]}
    assert sessions.find(sent) is session
    clock.advance(3600 * NS_PER_SECOND)
    assert sessions.find(sent) is None
    assert not sessions.is_valid(session.caller)
    newest = [sessions.begin(caller, headers)[1].partition(";")[0] for _ in range(MAX_SESSIONS + 1)]
    assert len(sessions._sessions) == len(sessions._by_number) == MAX_SESSIONS
    assert sessions.find({**headers, "Cookie": newest[0]}) is None
    assert sessions.find({**headers, "Cookie": newest[-1]}) is not None
    secret = newest[-1].partition("=")[2]
    assert secret not in repr(sessions._sessions) + repr(sessions.find({**headers, "Cookie": newest[-1]}))


async def test_behind_a_proxy_with_tls_the_cookie_is_secure(stored: Stack) -> None:
    key = await stored.key(Scope.READ)
    host = stored.api.url.removeprefix("http://")
    with structlog.testing.capture_logs() as logs:
        async with (
            ClientSession(stored.api.url) as browser,
            browser.post(_PATH, json={"key": key}, headers={"Origin": f"https://{host}"}) as response,
        ):
            assert response.headers["Set-Cookie"].endswith("; Secure")
    assert key not in str(logs)


@pytest.mark.parametrize("api_settings", [False], indirect=True)
async def test_where_keys_are_optional_nobody_has_to_sign_in_and_a_session_counts(stored: Stack) -> None:
    every = ["read", "ingest", "trade", "admin"]
    acknowledge = "/api/v1/alerts/unknown/acknowledge"
    async with ClientSession(stored.api.url) as browser:
        async with browser.get(_PATH) as response:
            assert await response.json() == {"name": "local", "scopes": every, "expires_ns": None}
        async with browser.delete(_PATH) as response:
            assert (response.status, await response.json()) == (200, {"ended": False})
        assert (await status(browser, "POST", acknowledge))[0] in (404, 422)

        headers = {"Cookie": await signed_in(stored, browser, await stored.key(Scope.READ))}
        async with browser.get(_PATH, headers=headers) as response:
            info = await response.json()
        assert (info["name"], info["scopes"]) == ("test", ["read"])
        assert info["expires_ns"] > stored.clock.time_ns()
        assert await status(browser, "POST", acknowledge, **headers) == (403, "forbidden-origin")
        headers["Origin"] = stored.api.url
        assert await status(browser, "POST", acknowledge, **headers) == (403, "insufficient-scope")
        async with browser.delete(_PATH, headers=headers) as response:
            assert await response.json() == {"ended": True}
        async with browser.get(_PATH, headers=headers) as response:
            assert (await response.json())["name"] == "local"
