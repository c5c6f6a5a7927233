"""Starting, stopping, and where the API listens."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import pytest
from aiohttp import ClientSession

from api.settings import ApiSettings
from decahertz.addresses import PortInUseError, UnsafeAddressError
from decahertz.health import Health
from decahertz.settings import SettingsError
from tests.api.checked import Caller
from tests.api.helpers import Stack


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7", "8.8.8.8"])  # noqa: S104 - refused
async def test_an_address_that_others_can_reach_is_refused(host: str) -> None:
    stack = Stack(settings=ApiSettings(host=host, port=0))
    with pytest.raises(UnsafeAddressError, match=r"^api\.host: ") as refusal:
        await stack.api.start()
    assert isinstance(refusal.value, SettingsError)
    assert "\n" not in str(refusal.value)
    assert stack.api.status().health is Health.FAILED
    await stack.api.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
async def test_an_address_of_this_machine_is_listened_on(host: str) -> None:
    async with (
        Stack(settings=ApiSettings(host=host, port=0)).running() as stack,
        Caller(stack.api.url) as caller,
    ):
        assert stack.api.url == f"http://{host}:{stack.api.port}"
        assert (await caller.get("ping")).status == 200


async def test_ipv6_loopback_is_listened_on() -> None:
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with (
        Stack(settings=ApiSettings(host="::1", port=0)).running() as stack,
        Caller(stack.api.url) as caller,
    ):
        assert (await caller.get("ping")).status == 200


async def test_a_name_that_means_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^api\.host: 'no\.such\.host\.invalid' cannot be resolved"):
        await Stack(settings=ApiSettings(host="no.such.host.invalid", port=0)).api.start()


async def test_a_port_in_use_is_named() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        stack = Stack(settings=ApiSettings(port=port))
        with pytest.raises(PortInUseError, match=rf"^api\.port: {port} on 127\.0\.0\.1 is in use"):
            await stack.api.start()
        await stack.api.stop()
    async with stack.running(), Caller(stack.api.url) as caller:
        assert (await caller.get("ping")).status == 200


async def test_stop_is_safe_without_start_and_twice() -> None:
    stack = Stack()
    await stack.api.stop()
    with pytest.raises(RuntimeError):
        _ = stack.api.port
    await stack.api.start()
    assert stack.api.status().health is Health.OK
    await stack.api.stop()
    await stack.api.stop()
    assert stack.api.status().health is Health.FAILED


async def test_a_request_under_way_is_answered_before_the_stop() -> None:
    release = asyncio.Event()
    asked = asyncio.Event()
    stack = Stack()
    original = stack.sink.append

    async def slow(*arguments: object) -> object:
        asked.set()
        await release.wait()
        return await original(*arguments)  # type: ignore[arg-type]

    stack.sink.append = slow  # type: ignore[method-assign,assignment]
    await stack.api.start()
    async with ClientSession(stack.api.url) as session, asyncio.timeout(20):
        body = {"source": "s", "epoch": 1, "first_sequence": 1, "events": []}
        request = asyncio.create_task(session.post("/api/v1/events", json=body).__aenter__())
        await asked.wait()
        stopping = asyncio.create_task(stack.api.stop())
        await asyncio.sleep(0)
        release.set()
        response = await request
        assert response.status == 200
        await stopping
