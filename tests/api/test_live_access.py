"""The upgrade to WebSocket: each rule of who may connect refuses what it is there for, and nothing else."""

from __future__ import annotations

import msgspec
import pytest
import websockets

from api.http.access import Scope
from api.security.keys import parse_key
from api.settings import ApiSettings
from storage.write.api_keys import ApiKeyStore
from tests.api.helpers import Stack, reader

KEYS_REQUIRED = ApiSettings(port=0, require_keys=True)
CONNECTIONS = ApiSettings(port=0, address_requests_per_second=0.0, address_connections=2, limit_loopback=True)


async def refused(stack: Stack, **headers: str) -> tuple[int, str]:
    """Status and kind of the problem with which an upgrade with these headers is refused."""
    with pytest.raises(websockets.InvalidStatus) as refusal:
        async with reader(stack, additional_headers=headers):
            pass
    assert stack.clients() == []
    answer = refusal.value.response
    problem = msgspec.json.decode(answer.body or b"{}")
    assert "Upgrade" not in answer.headers or answer.status_code == 426
    return answer.status_code, problem["type"].rpartition(":")[2]


async def new_key(stack: Stack, *scopes: Scope, expires_ns: int | None = None) -> str:
    """A key that the API knows already."""
    key = await stack.key(*scopes, expires_ns=expires_ns)
    await stack.keys.refresh()
    return key


async def connects(stack: Stack, **headers: str) -> None:
    async with reader(stack, additional_headers=headers) as ears:
        await ears.subscribe("fills")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("api_settings", [KEYS_REQUIRED])
async def test_a_key_has_to_be_known_valid_and_of_the_scope_read(stored: Stack) -> None:
    now_ns = stored.clock.time_ns()
    unknown = await new_key(stored, Scope.READ)
    unknown = unknown[:-1] + ("A" if unknown[-1] != "A" else "B")
    for key in ("garbage", unknown):
        assert await refused(stored, **bearer(key)) == (401, "unauthorized")
    for scopes in ((Scope.INGEST,), (Scope.TRADE,), (Scope.INGEST, Scope.TRADE)):
        assert await refused(stored, **bearer(await new_key(stored, *scopes))) == (403, "insufficient-scope")
    expired = await new_key(stored, Scope.READ, expires_ns=now_ns - 1)
    assert await refused(stored, **bearer(expired)) == (401, "unauthorized")
    revoked = await new_key(stored, Scope.READ)
    await connects(stored, **bearer(revoked))
    parsed = parse_key(revoked)
    assert parsed is not None
    await ApiKeyStore(stored.database).revoke(parsed.id, now_ns)
    await stored.keys.refresh()
    assert await refused(stored, **bearer(revoked)) == (401, "unauthorized")
    for scopes in ((Scope.READ,), (Scope.ADMIN,)):
        await connects(stored, **bearer(await new_key(stored, *scopes)))


@pytest.mark.parametrize("api_settings", [KEYS_REQUIRED])
async def test_without_a_key_nothing_but_a_key_is_listened_to(stored: Stack) -> None:
    async with reader(stored, waits=False) as ears:
        await ears.say(type="subscribe", topics=["**"])
        assert (await ears.hear())["code"] == "unauthorized"
        assert await ears.close_code() == 4001
    key, now_ns = await new_key(stored, Scope.READ), stored.clock.time_ns()
    expired = await new_key(stored, Scope.READ, expires_ns=now_ns - 1)
    parsed = parse_key(key)
    assert parsed is not None
    await ApiKeyStore(stored.database).revoke(parsed.id, now_ns)
    await stored.keys.refresh()
    for one in (expired, key, await new_key(stored, Scope.TRADE)):
        async with reader(stored, waits=False) as ears:
            await ears.say(type="authenticate", key=one)
            assert (await ears.hear())["code"] == "unauthorized"
            assert await ears.close_code() == 4001


@pytest.mark.parametrize("api_settings", [KEYS_REQUIRED])
async def test_the_audit_log_is_for_the_scope_admin(stored: Stack) -> None:
    async with reader(
        stored, additional_headers=bearer(await new_key(stored, Scope.READ, Scope.TRADE))
    ) as ears:
        await ears.say(type="subscribe", topics=["audit"])
        assert (await ears.hear())["code"] == "insufficient_scope"
        await ears.say(type="resume", topics=["audit"], epoch=0, sequence=0)
        assert (await ears.hear())["code"] == "insufficient_scope"
    async with reader(stored, additional_headers=bearer(await new_key(stored, Scope.ADMIN))) as ears:
        await ears.subscribe("audit")


@pytest.mark.parametrize(
    "origin",
    [
        "http://elsewhere.example",
        "null",
        "https://127.0.0.1.elsewhere.example",
        "http://127.0.0.1:1",
        "file://",
    ],
)
async def test_a_page_of_another_origin_does_not_connect(stack: Stack, origin: str) -> None:
    assert await refused(stack, Origin=origin) == (403, "forbidden-origin")
    await connects(stack, Origin=stack.api.url)


@pytest.mark.parametrize("host", ["elsewhere.example", "127.0.0.1.elsewhere.example:8000", "localhost."])
async def test_a_name_that_is_not_this_machine_s_does_not_connect(stack: Stack, host: str) -> None:
    with pytest.raises(websockets.InvalidStatus) as refusal:
        async with websockets.connect(
            stack.live_url.replace("127.0.0.1", host.partition(":")[0]),
            host="127.0.0.1",
            port=stack.api.port,
            proxy=None,
            compression=None,
        ):
            pass
    assert refusal.value.response.status_code == 421


async def test_an_address_has_no_more_connections_than_its_limit() -> None:
    async with (
        Stack(settings=CONNECTIONS).running() as stack,
        reader(stack) as first,
        reader(stack) as second,
    ):
        with pytest.raises(websockets.InvalidStatus) as refusal:
            async with reader(stack):
                pass
        assert refusal.value.response.status_code == 429
        assert refusal.value.response.headers["Retry-After"] == "1"
        for ears in (first, second):
            await ears.subscribe("fills")
        assert len(stack.clients()) == 2
