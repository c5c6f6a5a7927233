"""Browser pages of other origins: CORS, together with the checks of Host and Origin."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
import websockets
from aiohttp import ClientSession

from api.http.cors import Cors
from api.settings import ApiSettings
from tests.api.helpers import Stack, reader

LISTED = "https://Desk.Example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


@pytest_asyncio.fixture
async def open_stack() -> AsyncIterator[Stack]:
    settings = ApiSettings(port=0, require_keys=True, cors_origins=(f"{LISTED}:443", "http://localhost:3000"))
    async with Stack(settings=settings).running() as running:
        yield running


async def test_a_page_of_a_listed_origin_may_read_responses_and_problems(open_stack: Stack) -> None:
    async with ClientSession(open_stack.api.url, headers={"Origin": LISTED.lower()}) as session:
        for path, status in (("/api/v1/ping", 200), ("/api/v1/ledger", 401), ("/nothing", 404)):
            async with session.get(path) as response:
                assert response.status == status
                assert response.headers["Access-Control-Allow-Origin"] == LISTED.lower()
                assert response.headers["Access-Control-Allow-Credentials"] == "true"
                assert "X-Request-ID" in response.headers["Access-Control-Expose-Headers"]
                assert "Origin" in response.headers["Vary"]


async def test_a_preflight_request_needs_no_key_and_permits_the_headers_of_clients(open_stack: Stack) -> None:
    async with ClientSession(open_stack.api.url) as session:
        headers = {"Origin": "http://localhost:3000", **PREFLIGHT}
        async with session.options("/api/v1/alerts/1/acknowledge", headers=headers) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
            assert "POST" in response.headers["Access-Control-Allow-Methods"]
            allowed = response.headers["Access-Control-Allow-Headers"]
            assert {"Authorization", "Content-Type", "X-Request-ID"} <= set(allowed.split(", "))
        # OPTIONS that is no preflight request has no meaning here.
        async with session.options("/api/v1/ping", headers={"Origin": LISTED.lower()}) as response:
            assert response.status == 405


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://desk.example",
        "https://desk.example:8443",
        "null",
        "https://desk.example.evil",
    ],
)
async def test_pages_of_other_origins_stay_out(open_stack: Stack, origin: str) -> None:
    async with ClientSession(open_stack.api.url, headers={"Origin": origin}) as session:
        for method, headers in (("GET", {}), ("OPTIONS", PREFLIGHT)):
            async with session.request(method, "/api/v1/ping", headers=headers) as response:
                assert response.status == 403
                assert "Access-Control-Allow-Origin" not in response.headers
                assert response.headers["Vary"] == "Origin"
    with pytest.raises(websockets.InvalidStatus, match="403"):
        async with reader(open_stack, additional_headers={"Origin": origin}):
            pass


async def test_a_listed_origin_may_open_a_websocket_which_still_needs_a_key(open_stack: Stack) -> None:
    async with reader(open_stack, additional_headers={"Origin": LISTED.lower()}, waits=False) as ears:
        await ears.say(type="ping")
        assert (await ears.hear())["code"] == "unauthorized"


async def test_the_header_host_still_has_to_name_this_machine(open_stack: Stack) -> None:
    headers = {"Origin": LISTED.lower(), "Host": "rebound.example"}
    async with ClientSession(open_stack.api.url, headers=headers) as session:
        async with session.get("/api/v1/ping") as response:
            assert response.status == 421
        async with session.options("/api/v1/ping", headers=PREFLIGHT) as response:
            assert response.status == 421


async def test_without_the_setting_no_response_speaks_of_origins(stack: Stack) -> None:
    async with ClientSession(stack.api.url) as session:
        async with session.get("/api/v1/ping", headers={"Origin": stack.api.url}) as response:
            assert response.status == 200
            assert "Access-Control-Allow-Origin" not in response.headers
        headers = {"Origin": LISTED, **PREFLIGHT}
        async with session.options("/api/v1/ping", headers=headers) as response:
            assert response.status == 403


@pytest.mark.parametrize(
    "origin", ["*", "desk.example", "https://desk.example/", "null", "https://*.example", ""]
)
def test_an_entry_that_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="cors_origins"):
        msgspec.convert({"cors_origins": [origin]}, ApiSettings)


def test_origins_are_compared_as_browsers_send_them() -> None:
    cors = Cors(["HTTPS://Desk.Example:443", "http://[::1]:80"])
    assert cors.allows("https://desk.example")
    assert cors.allows("http://[::1]")
