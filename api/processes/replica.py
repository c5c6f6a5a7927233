"""The live state in an API process: publishes the recorder's messages on the bus of this process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from api.processes.messages import (
    TO_PROCESS,
    AlertChanged,
    Family,
    HaltChanged,
    Listening,
    ReadSpool,
    Recorded,
    Report,
    RequestChanged,
    Samples,
    Series,
    SessionChanged,
    SnapshotComplete,
    SpoolPage,
    TablesChanged,
    TradingChanged,
    framed,
    read_frame,
)
from decahertz.alert import TOPIC as ALERTS
from decahertz.bus import RECORDED, samples_topic
from decahertz.halts import TOPIC as HALTS
from decahertz.order_requests import TOPIC as ORDER_REQUESTS
from decahertz.sample import SampleBatch, SampleSchema
from decahertz.trading_state import TOPIC as TRADING
from storage.spool.errors import SpoolError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from api.live.statistics import LiveStatistics
    from api.security.sessions import Session
    from decahertz.bus import Bus
    from decahertz.event import Arrival

_TOPICS: Final = {RequestChanged: ORDER_REQUESTS, HaltChanged: HALTS, TradingChanged: TRADING}
_REPORT_SECONDS: Final = 1.0
_BYTES_PER_ITERATION: Final = 256 * 1024
"""A burst must not keep the clients waiting, nor clients the messages of the recorder: a process that is busy
has few iterations of its event loop."""
_SPOOL_SECONDS: Final = 10.0
"""Timeout of the recorder's answer about the spool."""


class Replica:
    """Follows the recorder. Implements :class:`storage.query.event_log.WaitingEvents` by asking it.

    ::

        attach ──► snapshot, published like news ──► complete ──► news, until the recorder ends
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        bus: Bus,
        schemas: Sequence[SampleSchema],
        epoch: int,
    ) -> None:
        self.epoch = epoch
        self.complete = asyncio.Event()
        """Set once the snapshot is here."""
        self.on_changed: Callable[[Iterable[str]], None] = lambda _: None
        """Called with the tables in which the recorder has stored rows."""
        self.on_session: Callable[[bytes, Session | None], None] = lambda _digest, _session: None
        """Called with a session of a browser that begins or, with ``None``, ends."""
        self._reader = reader
        self._writer = writer
        self._bus = bus
        self._schemas = {
            schema.collector: (schema, msgspec.msgpack.Decoder(tuple[schema.type, ...]))  # type: ignore[name-defined]  # made of declarations
            for schema in schemas
        }
        self._requests = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[SpoolPage]] = {}

    async def run(self) -> None:
        """Publishes what arrives; returns when the recorder has ended."""
        taken = 0
        with contextlib.suppress(EOFError, OSError):
            while True:
                frame = await read_frame(self._reader)
                self._take(TO_PROCESS.decode(frame))
                taken += len(frame)
                if taken >= _BYTES_PER_ITERATION:
                    taken = 0
                    await asyncio.sleep(0)

    async def report(
        self,
        statistics: Callable[[], LiveStatistics],
        registry: CollectorRegistry,
        failed_tasks: Callable[[], str],
    ) -> None:
        """Says that this process listens, and reports its figures every second."""
        self._writer.write(framed(Listening()))
        while True:
            self._writer.write(framed(Report(statistics().clients, families_of(registry), failed_tasks())))
            await asyncio.sleep(_REPORT_SECONDS)

    async def read_arrivals(self, after_id: int) -> tuple[list[Arrival], int | None]:
        """See :meth:`storage.spool.Spool.read_arrivals`."""
        number = next(self._requests)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(framed(ReadSpool(number, after_id)))
        try:
            async with asyncio.timeout(_SPOOL_SECONDS):
                page = await answer
        except TimeoutError as error:
            raise SpoolError("the recorder does not answer") from error
        finally:
            del self._waiting[number]
        if page.error:
            raise SpoolError(page.error)
        return page.arrivals, page.continue_at

    def _take(self, message: Any) -> None:  # noqa: ANN401 - one of ToProcess
        match message:
            case Samples():
                schema, decoder = self._schemas[message.collector]
                batch = SampleBatch(schema, message.time_ns, decoder.decode(message.samples))
                self._bus.publish(samples_topic(message.collector), batch)
            case Recorded():
                self._bus.publish(RECORDED, message.arrival)
            case AlertChanged():
                self._bus.publish(ALERTS, message.alert)
            case RequestChanged() | HaltChanged() | TradingChanged():
                self._bus.publish(_TOPICS[type(message)], message.change)
            case TablesChanged():
                self.on_changed(message.tables)
            case SessionChanged():
                self.on_session(message.digest, message.session)
            case SnapshotComplete():
                self.complete.set()
            case SpoolPage():
                waiting = self._waiting.get(message.request)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)


def families_of(registry: CollectorRegistry) -> list[Family]:
    """The families of a registry, to be sent."""
    return [
        Family(
            family.name,
            family.documentation,
            family.type,
            [
                Series(sample.name, dict(sample.labels), sample.value)
                for sample in family.samples
                if not sample.name.endswith("_created")
            ],
        )
        for family in registry.collect()
    ]
