"""Messages between the recorder and its API processes: MessagePack, each after its length in four bytes."""

from __future__ import annotations

import asyncio
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from api.live.statistics import ClientStatistics
from api.security.sessions import Session
from decahertz.alert import Alert
from decahertz.event import Arrival
from decahertz.halts import HaltChange
from decahertz.order_requests import RequestChange
from decahertz.trading_state import TradingState

_LENGTH_BYTES: Final = 4
READ_AHEAD_BYTES: Final = 4 * 1024 * 1024
"""Limit of the stream readers: a batch of samples fits in."""


class Samples(Struct, frozen=True, tag="samples", array_like=True):
    """The samples of a collector at one cycle."""

    collector: str
    time_ns: int
    samples: Raw


class Recorded(Struct, frozen=True, tag="recorded", array_like=True):
    """Events that are durable and numbered."""

    arrival: Arrival


class AlertChanged(Struct, frozen=True, tag="alert", array_like=True):
    """An alert that has changed."""

    alert: Alert


class RequestChanged(Struct, frozen=True, tag="request", array_like=True):
    """An order request that has changed."""

    change: RequestChange


class HaltChanged(Struct, frozen=True, tag="halt", array_like=True):
    """A halt that began or ended."""

    change: HaltChange


class TradingChanged(Struct, frozen=True, tag="trading", array_like=True):
    """Whether trading may go on."""

    change: TradingState


class TablesChanged(Struct, frozen=True, tag="tables", array_like=True):
    """Rows were stored in these tables."""

    tables: list[str]


class SessionChanged(Struct, frozen=True, tag="session", array_like=True):
    """A browser has signed in, or out."""

    digest: bytes
    session: Session | None
    """``None``: it has ended."""


class SnapshotComplete(Struct, frozen=True, tag="complete", array_like=True):
    """All messages before this one were the present state; all that follow are news."""


class SpoolPage(Struct, frozen=True, tag="page", array_like=True):
    """The answer to :class:`ReadSpool`."""

    request: int
    arrivals: list[Arrival]
    continue_at: int | None
    error: str = ""
    """Why the spool could not be read; empty: it could."""


class Attach(Struct, frozen=True, tag="attach", array_like=True):
    """The process is ready for the snapshot."""


class Listening(Struct, frozen=True, tag="listening", array_like=True):
    """The process accepts connections."""


class ReadSpool(Struct, frozen=True, tag="spool", array_like=True):
    """Asks for the events of the spool behind an entry."""

    request: int
    after_id: int


class Series(Struct, frozen=True, array_like=True):
    """One value of a family of metrics."""

    name: str
    labels: dict[str, str]
    value: float


class Family(Struct, frozen=True, array_like=True):
    """A family of metrics."""

    name: str
    documentation: str
    type: str
    series: list[Series]


class Report(Struct, frozen=True, tag="report", array_like=True):
    """Figures of the process, sent every second."""

    clients: list[ClientStatistics]
    families: list[Family]
    failed_tasks: str = ""
    """Tasks of the process that failed and are not stable again, in words."""


ToProcess: TypeAlias = (
    Samples
    | Recorded
    | AlertChanged
    | RequestChanged
    | HaltChanged
    | TradingChanged
    | TablesChanged
    | SessionChanged
    | SnapshotComplete
    | SpoolPage
)
ToRecorder: TypeAlias = Attach | Listening | ReadSpool | Report

_ENCODER: Final = msgspec.msgpack.Encoder()
TO_PROCESS: Final = msgspec.msgpack.Decoder(ToProcess)
TO_RECORDER: Final = msgspec.msgpack.Decoder(ToRecorder)


def framed(message: ToProcess | ToRecorder) -> bytes:
    """Encodes a message with its length."""
    return prefixed(_ENCODER.encode(message))


def prefixed(data: bytes) -> bytes:
    """Puts the length in front of encoded data."""
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Reads one frame. Raises ``EOFError`` or ``OSError`` when the other side has ended."""
    size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    return await reader.readexactly(size)
