"""Under any failure each event is stored once, in order, or counted as dropped."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decahertz.event import Fill
from decahertz_client import Client, _sender
from tests.client_server import Fault, KillableRecorder, Recorder, orders_by_strategy, problem

FILL: dict[str, Any] = {
    "strategy": "arb",
    "venue": "kraken",
    "instrument": "BTC/USD",
    "fill_id": "1",
    "side": "buy",
    "price": 1.5,
    "quantity": 2.0,
}
Process = Callable[[], Awaitable[web.Response]]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests wait for the thing itself; there is no need to be gentle with the server."""
    monkeypatch.setattr(_sender, "_MAX_BACKOFF", 0.05)
    monkeypatch.setattr(_sender, "_OPERATOR_BACKOFF", 0.05)


@contextmanager
def connected(server: Recorder, **options: Any) -> Iterator[Client]:  # noqa: ANN401 - of the client
    """A client, and after it the check that every test ends with."""
    client = Client(server.url, source="test", **options)
    try:
        yield client
    finally:
        client.close(10)
    stats = client.stats()
    assert stats.emitted == len(server.events()) + sum(stats.dropped.values()) + stats.pending
    assert stats.acknowledged == len(server.events())


def emit(client: Client, numbers: range) -> None:
    for number in numbers:
        client.fill(**FILL, order_id=str(number))


def stored(server: Recorder) -> list[int]:
    return [int(event.order_id) for event in server.events() if isinstance(event, Fill)]


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.002)


async def cut_before(request: web.Request, process: Process) -> web.StreamResponse:  # noqa: ARG001 - a fault
    """The connection breaks and the batch is lost."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut_after(request: web.Request, process: Process) -> web.StreamResponse:
    """The batch is stored and the answer is lost."""
    await process()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut_within(request: web.Request, process: Process) -> web.StreamResponse:
    """The answer breaks off in the middle."""
    answer = await process()
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + (answer.body or b"")[:10])  # type: ignore[index]
    request.transport.close()
    return web.Response()


def answering(status: int, **response: Any) -> Fault:  # noqa: ANN401 - of aiohttp
    """The server stores nothing and gives this answer."""

    async def answer(request: web.Request, process: Process) -> web.StreamResponse:  # noqa: ARG001 - a fault
        return web.Response(status=status, **response)

    return answer


failed = answering(503, text='{"title": "Overloaded", "status": 503}', content_type="application/json")


async def failed_after(request: web.Request, process: Process) -> web.StreamResponse:  # noqa: ARG001 - a fault
    """Too slow to be durable in time, and durable all the same."""
    await process()
    return web.json_response({"title": "Not durable", "status": 503}, status=503)


async def closing(request: web.Request, process: Process) -> web.StreamResponse:  # noqa: ARG001 - a fault
    """Stored, and the connection is not kept alive."""
    answer = await process()
    answer.force_close()
    return answer


async def too_large(request: web.Request, process: Process) -> web.StreamResponse:
    """A proxy with a limit of its own, which any two events exceed."""
    return web.Response(status=413) if (request.content_length or 0) > 350 else await process()


FAULTS: dict[str, Fault] = {
    "cut before": cut_before,
    "cut after": cut_after,
    "cut within": cut_within,
    "failed": failed,
    "failed after": failed_after,
    "busy": answering(429, headers={"Retry-After": "0"}),
    "closing": closing,
    "a proxy's page": answering(200, text="<html>welcome</html>", content_type="text/html"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_after_any_failure_the_same_batch_is_sent_again_and_stored_once(
    server: Recorder,
    fault: Fault,
) -> None:
    server.faults.extend([fault, fault])
    with connected(server) as client:
        emit(client, range(100))
        assert client.flush(10)
        emit(client, range(100, 200))
        assert client.flush(10)
    assert stored(server) == list(range(200))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    plan=st.lists(
        st.one_of(st.sampled_from([*FAULTS.values(), too_large, None]), st.integers(1, 60)),
        max_size=14,
    ),
    batch=st.integers(1, 50),
)
def test_any_sequence_of_failures_leaves_every_event_stored_once_and_in_order(
    plan: list[Fault | int | None],
    batch: int,
) -> None:
    """Numbers in the plan are events emitted, ``None`` a pause until all is acknowledged."""
    server = Recorder()
    server.start()
    try:
        with connected(server, max_batch_events=batch, flush_seconds=0.001) as client:
            emitted = 0
            for step in plan:
                if isinstance(step, int):
                    emit(client, range(emitted, emitted + step))
                    emitted += step
                elif step is None:
                    assert client.flush(20)
                else:
                    server.faults.append(step)
            assert client.flush(20)
            assert client.stats().dropped == {}
        assert stored(server) == list(range(emitted))
    finally:
        server.close()


def test_a_server_that_is_down_at_the_start_gets_everything_when_it_comes() -> None:
    server = Recorder()
    server.start()
    server.kill()
    try:
        with connected(server) as client:
            emit(client, range(1000))
            wait_for(lambda: client.stats().last_error is not None)
            assert not client.stats().connected
            assert not client.flush(0.1)
            server.start()
            assert client.flush(10)
            assert client.stats().connected
        assert stored(server) == list(range(1000))
    finally:
        server.close()


def test_a_server_that_is_killed_and_restarted_again_and_again_loses_nothing(
    killable: KillableRecorder,
) -> None:
    client = Client(killable.url, source="test", max_batch_events=20)
    finished = threading.Event()

    def trade() -> None:
        for number in range(2000):
            client.fill(**FILL, order_id=str(number))
            time.sleep(0.001)
        finished.set()

    trader = threading.Thread(target=trade)
    trader.start()
    while not finished.is_set():
        before = client.stats().acknowledged
        wait_for(lambda before=before: client.stats().acknowledged > before or finished.is_set())  # type: ignore[misc]
        killable.kill()
        killable.start()
    trader.join()
    assert client.close(20)
    killable.kill()
    assert [event.order_id for event in killable.events() if isinstance(event, Fill)] == [
        str(number) for number in range(2000)
    ]
    assert client.stats().resends > 0


def test_a_server_that_does_not_answer_in_time_gets_the_batch_again(server: Recorder) -> None:
    came_again = asyncio.Event()

    async def slow(request: web.Request, process: Process) -> web.StreamResponse:  # noqa: ARG001 - a fault
        answer = await process()
        await asyncio.wait_for(came_again.wait(), 10)
        return answer

    async def again(request: web.Request, process: Process) -> web.StreamResponse:  # noqa: ARG001 - a fault
        came_again.set()
        return await process()

    server.faults.extend([slow, again])
    with connected(server, timeout_seconds=0.1) as client:
        emit(client, range(10))
        assert client.flush(10)
        assert client.stats().resends >= 1
    assert stored(server) == list(range(10))


def test_over_a_network_too_slow_for_a_large_batch_smaller_ones_get_through(server: Recorder) -> None:
    async def narrow(request: web.Request, process: Process) -> web.StreamResponse:
        await asyncio.sleep(len(await request.read()) / 50_000)
        return await process()

    server.faults.extend([narrow] * 10_000)
    with connected(server, timeout_seconds=0.4) as client:
        emit(client, range(1000))
        assert client.flush(30)
        assert client.stats().dropped == {}
        server.faults.clear()
        emit(client, range(1000, 5000))  # one after the other they grow again
        assert client.flush(30)
        before = len(server.batches)
        emit(client, range(5000, 5500))
        assert client.flush(30)
        assert len(server.batches) - before < 10
    assert stored(server) == list(range(5500))


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(server: Recorder, form: str) -> None:
    arrivals: list[float] = []

    async def later(request: web.Request, process: Process) -> web.StreamResponse:  # noqa: ARG001 - a fault
        arrivals.append(time.time())
        header = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
        return web.Response(status=503, headers={"Retry-After": header})

    async def now(request: web.Request, process: Process) -> web.StreamResponse:  # noqa: ARG001 - a fault
        arrivals.append(time.time())
        return await process()

    server.faults.extend([later, now])
    with connected(server) as client:
        emit(client, range(10))
        assert client.flush(10)
    assert arrivals[1] - arrivals[0] >= (1.0 if form == "seconds" else 0.9)
    assert stored(server) == list(range(10))


def test_an_event_that_the_server_refuses_is_dropped_alone_and_named_in_the_log(
    server: Recorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="decahertz_client")
    with connected(server) as client:
        for number in range(100):
            client.fill(**{**FILL, "quantity": -1.0 if number % 10 == 3 else 1.0}, order_id=str(number))
        assert client.flush(10)
        assert client.stats().dropped == {"rejected": 10}
        emit(client, range(100, 110))
        assert client.flush(10)
    assert stored(server) == [n for n in range(110) if n % 10 != 3 or n == 103]
    assert [r.getMessage() for r in caplog.records if "quantity" in r.getMessage()]
    assert list(server.sink.known().popitem()[1]) == [(1, 100)], "refused events leave no holes"


def test_refused_events_of_a_batch_that_may_be_known_keep_their_numbers(server: Recorder) -> None:
    """The first answer is lost after storing; then the server changes its mind about two events."""

    async def pickier(request: web.Request, process: Process) -> web.StreamResponse:  # noqa: ARG001 - a fault
        return problem([(3, "price", "too high"), (7, "price", "too high")])

    server.faults.extend([cut_after, pickier])
    client = Client(server.url, source="test")
    emit(client, range(10))
    assert client.flush(10)
    emit(client, range(10, 20))
    assert client.flush(10)
    assert client.close(20)
    assert stored(server) == list(range(20)), "nothing that was stored is stored again under another number"
    assert client.stats().dropped == {"rejected": 2}


def test_where_the_server_names_no_event_the_culprit_is_found(server: Recorder) -> None:
    async def nameless(request: web.Request, process: Process) -> web.StreamResponse:  # noqa: ARG001 - a fault
        answer = await process()
        if answer.status != 422:
            return answer
        return web.json_response({"title": "No", "status": 422}, status=422)

    server.faults.extend([nameless] * 50)
    with connected(server) as client:
        for number in range(64):
            client.fill(**{**FILL, "quantity": -1.0 if number == 41 else 1.0}, order_id=str(number))
        assert client.flush(10)
        assert client.stats().dropped == {"rejected": 1}
    assert stored(server) == [n for n in range(64) if n != 41]


REFUSALS: dict[str, tuple[int, int, dict[str, Any]]] = {
    "another service": (6, 400, {"text": "what?"}),
    "a receipt of another emitter": (
        1, 200, {"text": '{"source": "other", "epoch": 1, "durable_sequence": 1000000}'},
    ),
    "an endless answer": (1, 503, {"body": b"x" * (4 << 20)}),
    **{str(status): (2, status, {}) for status in (401, 403, 404, 405, 415)},
}  # fmt: skip


@pytest.mark.parametrize(("times", "status", "response"), REFUSALS.values(), ids=REFUSALS)
def test_an_answer_that_acknowledges_nothing_costs_no_event(
    server: Recorder, times: int, status: int, response: dict[str, Any]
) -> None:
    server.faults.extend([answering(status, **response)] * times)
    with connected(server) as client:
        emit(client, range(10))
        assert client.flush(10)
        stats = client.stats()
        assert (stats.dropped, stats.resends) == ({}, times)
        assert str(status) in (stats.last_error or "")
    assert stored(server) == list(range(10))


def test_the_part_of_a_batch_that_is_not_durable_is_resent(server: Recorder) -> None:
    async def partly(request: web.Request, process: Process) -> web.StreamResponse:  # noqa: ARG001 - a fault
        return await server.take_only(request, 3)

    server.faults.append(partly)
    with connected(server) as client:
        emit(client, range(10))
        assert client.flush(10)
        assert server.batches == [(4, 7)]
    assert stored(server) == list(range(10))


def test_a_batch_that_is_too_large_is_split_until_it_fits(server: Recorder) -> None:
    server.kill()
    server.max_body_bytes = 4096
    server.start()
    with connected(server) as client:
        for number in range(200):
            client.fill(**FILL, order_id=str(number))
            if number == 100:
                client.log(component="c", level="info", message="x" * 5000)
        assert client.flush(10)
        assert client.stats().dropped == {"too_large": 1}
        before = server.requests, len(server.batches)
        emit(client, range(200, 400))
        assert client.flush(10)
        assert server.requests - before[0] == len(server.batches) - before[1], "it remembers what fits"
    assert stored(server) == list(range(400))


def test_losses_are_told_to_the_server_even_when_nothing_else_is_and_a_full_ring_drops_the_newest(
    server: Recorder,
) -> None:
    with connected(server, capacity=100) as client:
        client.fill(**{**FILL, "price": float("nan")}, order_id="1")
        wait_for(lambda: list(server.sink.dropped.values()) == [{"unserialisable": 1}])
        server.kill()
        taken = [client.fill(**FILL, order_id=str(number)) for number in range(250)]
        assert taken == [True] * 100 + [False] * 150
        stats = client.stats()
        assert (stats.emitted, stats.pending) == (251, 100)
        assert stats.dropped == {"unserialisable": 1, "ring_full": 150}
        server.start()
        assert client.flush(10)
    assert stored(server) == list(range(100))
    assert server.sink.dropped.popitem()[1] == {"unserialisable": 1, "ring_full": 150}


def test_ring_and_batches_on_the_way_share_the_capacity(server: Recorder) -> None:
    held = threading.Event()

    async def hold(request: web.Request, process: Process) -> web.StreamResponse:  # noqa: ARG001 - a fault
        await asyncio.get_running_loop().run_in_executor(None, held.wait)
        return await process()

    server.faults.append(hold)
    with connected(server, capacity=100, max_batch_events=60) as client:
        emit(client, range(60))
        wait_for(lambda: not server.faults)
        taken = [client.fill(**FILL, order_id=str(n)) for n in range(60, 120)]
        pending = client.stats().pending
        held.set()
        assert taken == [True] * 40 + [False] * 20
        assert pending == 100
        assert client.flush(10)
    assert stored(server) == list(range(100))


def test_the_ledger_balances_at_every_moment_while_threads_emit_and_the_server_comes_and_goes(
    killable: KillableRecorder,
) -> None:
    calls, taken = [0] * 6, [0] * 6
    stopping = threading.Event()
    client = Client(killable.url, source="test", capacity=500, max_batch_events=50, flush_seconds=0.001)

    def trade(thread: int) -> None:
        while not stopping.is_set():
            price = float("nan") if calls[thread] % 97 == 50 else 1.0
            at = {**FILL, "strategy": f"s{thread}", "price": price}
            taken[thread] += client.fill(**at, order_id=str(calls[thread]))
            calls[thread] += 1
            if calls[thread] % 10 == 0:
                time.sleep(0.001)

    def look() -> None:
        before = sum(calls)
        stats = client.stats()
        assert stats.emitted == stats.acknowledged + stats.pending + sum(stats.dropped.values())
        assert before <= stats.emitted <= sum(calls) + len(calls)
        assert stats.pending <= 500 + len(calls)

    threads = [threading.Thread(target=trade, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            acknowledged = client.stats().acknowledged
            while client.stats().acknowledged < acknowledged + 2000:
                look()
            killable.kill()
            full = client.stats().dropped.get("ring_full", 0)
            while client.stats().dropped.get("ring_full", 0) == full:
                look()
            killable.start()
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert client.flush(20)
    stats = client.stats()
    assert stats.emitted == sum(calls)
    assert stats.emitted - stats.dropped["ring_full"] == sum(taken)
    assert stats.pending == 0
    assert client.close(20)
    killable.kill()
    by_thread = orders_by_strategy(killable.events())
    assert all(numbers == sorted(set(numbers)) for numbers in by_thread.values())
    assert sum(map(len, by_thread.values())) == stats.acknowledged


def test_close_sends_what_is_left_and_events_after_it_are_dropped_and_counted(server: Recorder) -> None:
    with connected(server, flush_seconds=60) as client:
        emit(client, range(100))
        assert client.close(10)
        assert client.close(10)
        assert not client.fill(**FILL, order_id="100")
        assert client.stats().dropped == {"closed": 1}
        assert client.flush(1)
    assert stored(server) == list(range(100))


def test_close_without_a_server_ends_in_time_and_counts_what_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", source="test")
    emit(client, range(10_000))
    before = time.monotonic()
    assert not client.close(0.5)
    assert time.monotonic() - before < 5
    stats = client.stats()
    assert (stats.emitted, stats.pending, stats.dropped) == (10_000, 0, {"closed": 10_000})
    assert not [t for t in threading.enumerate() if t.name == "decahertz-client"]


def test_close_while_a_server_is_silent_ends_in_time_and_leaves_open_what_became_of_the_batch() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}", source="test", max_batch_events=10)
        emit(client, range(30))
        peer, _ = silent.accept()
        with peer:
            assert peer.recv(100)
            assert not client.close(0.5)
    stats = client.stats()
    assert (stats.emitted, stats.pending, stats.dropped) == (30, 10, {"closed": 20})
    assert not [t for t in threading.enumerate() if t.name == "decahertz-client"]


def test_an_incident_is_logged_when_it_begins_and_when_it_ends_and_a_stale_connection_is_none(
    server: Recorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="decahertz_client")
    with connected(server) as client:
        emit(client, range(10))
        assert client.flush(10)
        server.kill()
        server.start()
        emit(client, range(10, 20))
        assert client.flush(10)
        assert caplog.records == []
        for first in (20, 30):
            server.faults.extend([failed] * 5)
            emit(client, range(first, first + 10))
            assert client.flush(10)
    assert stored(server) == list(range(40))
    messages = [(record.levelname, "503" in record.getMessage()) for record in caplog.records]
    assert messages == [("WARNING", True), ("INFO", False)] * 2
