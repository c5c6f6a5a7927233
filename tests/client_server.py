"""Recorders with faults on demand: the real ingest and decoder behind real HTTP.

One runs in the test's own process and takes faults; the other is a process that can be killed.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from decahertz.bus import LocalBus
from decahertz.clock import SystemClock
from decahertz.event import AnyEvent, Arrival, EventBatch, Fill
from decahertz.event_times import BatchRefusedError
from decahertz.ingest import EmitterId, Ingest, Receipt, part_of
from decahertz.sequences import SequenceSet
from decahertz.wire import Codec, Decoder, decoder, encode

Fault = Callable[[web.Request, Callable[[], Awaitable[web.Response]]], Awaitable[web.StreamResponse]]

_DECODER: Decoder[EventBatch] = decoder(Codec.MSGPACK, EventBatch)
_PLACE = re.compile(r"\$\.events\[(\d+)\]\.?(.*)$")


class Sink:
    """Stores in memory, each number once; outlives the server, as a database does."""

    def __init__(self) -> None:
        self.stored: dict[EmitterId, dict[int, AnyEvent]] = {}
        self.dropped: dict[EmitterId, dict[str, int]] = {}

    async def append(self, arrival: Arrival, timeout_seconds: float) -> Receipt:  # noqa: ARG002 - the protocol
        return self.keep(arrival.batch)

    def keep(self, batch: EventBatch) -> Receipt:
        stored = self.stored.setdefault((batch.source, batch.epoch), {})
        new = 0
        for sequence, event in enumerate(batch.events, batch.first_sequence):
            known = stored.setdefault(sequence, event)
            assert known == event, "a number was given to two events"
            new += known is event
        self.dropped[batch.source, batch.epoch] = dict(batch.dropped)
        return Receipt(
            source=batch.source,
            epoch=batch.epoch,
            durable_sequence=max(stored, default=0),
            accepted=new,
            duplicates=len(batch.events) - new,
        )

    def events(self, epoch: int | None = None) -> list[AnyEvent]:
        """Stored events of an epoch (of the only one, where none is named), in order of number."""
        emitters = [key for key in self.stored if epoch in (None, key[1])]
        assert len(emitters) <= 1
        return [event for key in emitters for _, event in sorted(self.stored[key].items())]

    async def enqueue(self, arrival: Arrival) -> None:
        await self.append(arrival, 0)

    def known(self) -> dict[EmitterId, SequenceSet]:
        return {
            emitter: SequenceSet((number, number) for number in events)
            for emitter, events in self.stored.items()
        }


class FileSink(Sink):
    """Durable once it is in the file; a process that is killed leaves at most a torn end."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        data = path.read_bytes() if path.exists() else b""
        whole, end = 0, 4
        while end <= len(data):
            size = int.from_bytes(data[whole:end], "big")
            if end + size > len(data):
                break
            self.keep(_DECODER.decode(data[end : end + size]))
            whole, end = end + size, end + size + 4
        self._file = path.open("ab")
        self._file.truncate(whole)

    def close(self) -> None:
        self._file.close()

    async def append(self, arrival: Arrival, timeout_seconds: float) -> Receipt:
        data = encode(Codec.MSGPACK, arrival.batch)
        self._file.write(len(data).to_bytes(4, "big") + data)
        self._file.flush()
        return await super().append(arrival, timeout_seconds)


class Recorder:
    """Serves ``POST /api/v1/events`` from a thread of its own; faults are used up one per request."""

    def __init__(self, sink: Sink | None = None) -> None:
        self.sink = sink or Sink()
        self.faults: deque[Fault] = deque()
        self.batches: list[tuple[int, int]] = []
        self.peers: set[object] = set()
        self.requests = 0
        self.port = 0
        self.max_body_bytes = 8 << 20
        self.headers: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listens; the second time on the same port, remembering what was stored."""
        self._wait(self._start())

    def kill(self) -> None:
        """Stops listening and cuts every connection."""
        self._wait(self._kill())

    def close(self) -> None:
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def events(self, epoch: int | None = None) -> list[AnyEvent]:
        """Stored events, in order of number."""
        return self.sink.events(epoch)

    def _wait(self, work: Any) -> Any:  # noqa: ANN401 - what it returns
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        self._ingest = Ingest(
            LocalBus(),
            self.sink,
            SystemClock(),
            max_future_ns=60_000_000_000,
            timeout_seconds=5.0,
            known=self.sink.known(),
        )
        app = web.Application(client_max_size=self.max_body_bytes)
        app.router.add_post("/api/v1/events", self._post)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def _kill(self) -> None:
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        assert runner.server is not None
        for site in list(runner.sites):
            await site.stop()
        for connection in list(runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()

    async def _post(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.headers = dict(request.headers)
        if request.transport is not None:
            self.peers.add(request.transport.get_extra_info("peername"))

        async def answer() -> web.Response:
            return await self._answer(request)

        if self.faults:
            return await self.faults.popleft()(request, answer)
        return await answer()

    async def take_only(self, request: web.Request, count: int) -> web.Response:
        """Stores the first few events of the batch and says so."""
        batch = _DECODER.decode(await request.read())
        part = part_of(batch, batch.first_sequence, batch.first_sequence + count - 1)
        return web.json_response(msgspec.to_builtins(await self._ingest.submit(part)))

    async def _answer(self, request: web.Request) -> web.Response:
        data = await request.read()
        try:
            batch = _DECODER.decode(data)
            self.batches.append((batch.first_sequence, len(batch.events)))
            receipt = await self._ingest.submit(batch)
        except msgspec.ValidationError as error:
            return problem([_named(error)])
        except BatchRefusedError as error:
            return problem([(r.index, r.field, r.reason) for r in error.refusals])
        return web.Response(body=msgspec.json.encode(receipt), content_type="application/json")


def _named(error: msgspec.ValidationError) -> tuple[int, str, str]:
    place = _PLACE.search(str(error).replace("`", ""))
    assert place, error
    return int(place[1]), place[2], str(error)


def problem(errors: list[tuple[int, str, str]]) -> web.Response:
    listed = [{"index": index, "field": field, "reason": reason} for index, field, reason in errors]
    body = {"type": "about:blank", "title": "Unprocessable Content", "status": 422, "errors": listed}
    return web.json_response(body, status=422, content_type="application/problem+json")


def orders_by_strategy(events: list[AnyEvent]) -> dict[str, list[int]]:
    """The numbers of the orders of fills, in their order."""
    found: dict[str, list[int]] = {}
    for event in events:
        assert isinstance(event, Fill)
        found.setdefault(event.strategy, []).append(int(event.order_id))
    return found


class KillableRecorder:
    """A recorder in a process of its own; its events survive it in a file."""

    def __init__(self, path: Path) -> None:
        self.port = 0
        self._path = path
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listens; the second time on the same port."""
        command = [sys.executable, "-m", "tests.client_server", str(self._path), str(self.port)]
        root = Path(__file__).parent.parent
        self._process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def events(self, epoch: int | None = None) -> list[AnyEvent]:
        """Stored events, in order of number; only while the process does not run."""
        assert self._process is None
        sink = FileSink(self._path)
        sink.close()
        return sink.events(epoch)


def main() -> None:
    recorder = Recorder(FileSink(Path(sys.argv[1])))
    recorder.port = int(sys.argv[2])
    recorder.start()
    print(recorder.port, flush=True)  # noqa: T201 - for the process that started this one


if __name__ == "__main__":
    main()
