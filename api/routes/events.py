"""Ingest of events: ``POST /api/v1/events``."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, get_args, get_type_hints

import msgspec
from msgspec import NODEFAULT, Raw, Struct

from api.http.access import Scope
from api.http.body import BodyReader, is_not_finite, malformed
from api.http.problems import FieldProblem, ProblemError, field_problem
from api.http.query import NoQuery
from api.http.route import AnyRoute, Route
from api.parts import Request
from decahertz.decode_errors import DECODE_ERRORS
from decahertz.event import AnyEvent, EventBatch
from decahertz.ingest import Receipt
from decahertz.wire import Codec, Decoder, decoder

_MAX_SYNC_BYTES = 128 * 1024
"""About a millisecond of decoding; larger bodies are decoded in parts, so that no cycle is late."""
_EVENTS_PER_PART = 500
_MAX_PROBLEMS = 20


class _EventOutline(Struct, frozen=True, gc=False):
    """Fields that every event has; validates a body before any events are made of it."""

    type: str
    time_ns: int


def _batch_of(item: type) -> type[Struct]:
    """Makes a variant of :class:`EventBatch` with another type of items, and the same fields and limits."""
    hints = get_type_hints(EventBatch, include_extras=True)
    hints["events"] = Annotated[list[item], *get_args(hints["events"])[1:]]  # type: ignore[valid-type]
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(EventBatch):
        if field.required:
            fields.append((field.name, hints[field.name]))
        elif field.default_factory is NODEFAULT:
            fields.append((field.name, hints[field.name], field.default))
        else:
            default = msgspec.field(default_factory=field.default_factory)
            fields.append((field.name, hints[field.name], default))
    return msgspec.defstruct("EventBatch", fields, kw_only=True, forbid_unknown_fields=True)


class EncodedBatch(Struct, frozen=True, gc=False):
    """A valid batch, and the MessagePack that it was decoded from; empty for JSON."""

    batch: EventBatch
    encoded: bytes


class EventBatchReader(BodyReader[EncodedBatch]):
    """Decodes batches of events, and names up to twenty invalid events with their fields."""

    def __init__(self) -> None:
        super().__init__(EventBatch)
        outline, undecoded = _batch_of(_EventOutline), _batch_of(Raw)
        self._outlines: dict[Codec, Decoder[Any]] = {c: decoder(c, outline) for c in Codec}
        self._undecoded: dict[Codec, Decoder[Any]] = {c: decoder(c, undecoded) for c in Codec}
        self._events: dict[Codec, Decoder[AnyEvent]] = {c: decoder(c, AnyEvent) for c in Codec}

    async def read(self, data: bytes, codec: Codec) -> EncodedBatch:
        """Raises :class:`ProblemError` (``malformed-body``, ``invalid-body``, ``invalid-batch``)."""
        if len(data) <= _MAX_SYNC_BYTES:
            try:
                batch: EventBatch = self.decode(data, codec)
            except ProblemError as problem:
                if not any(error.index is not None for error in problem.errors):
                    raise
            else:
                return EncodedBatch(batch, data if codec is Codec.MSGPACK else b"")
        batch = await self._in_parts(data, codec)
        # If the key ``events`` is repeated, only its last value was validated; the spool would decode all.
        is_unambiguous = codec is Codec.MSGPACK and data.count(b"events") == 1
        return EncodedBatch(batch, data if is_unambiguous else b"")

    async def _in_parts(self, data: bytes, codec: Codec) -> EventBatch:
        try:
            if len(data) > _MAX_SYNC_BYTES:
                self._outlines[codec].decode(data)
            batch = self._undecoded[codec].decode(data)
        except msgspec.ValidationError as error:
            raise _invalid_batch([field_problem(error, EventBatch)]) from error
        except DECODE_ERRORS as error:
            raise malformed(codec, error, data) from error
        events: list[AnyEvent] = []
        problems: list[FieldProblem] = []
        decode = self._events[codec].decode
        for index, raw in enumerate(batch.events):
            try:
                events.append(decode(bytes(raw)))
            except msgspec.ValidationError as error:
                problems.append(_problem(error, index, bytes(raw), codec))
                if len(problems) == _MAX_PROBLEMS:
                    break
            except DECODE_ERRORS as error:
                raise malformed(codec, error, bytes(raw)) from error
            if index % _EVENTS_PER_PART == _EVENTS_PER_PART - 1:
                await asyncio.sleep(0)
        if problems:
            raise _invalid_batch(problems)
        rest = {name: getattr(batch, name) for name in EventBatch.__struct_fields__ if name != "events"}
        return EventBatch(**rest, events=tuple(events))


def _problem(error: msgspec.ValidationError, index: int, event: bytes, codec: Codec) -> FieldProblem:
    """Describes an invalid event; for a NaN the decoder only says that it is out of range."""
    problem = field_problem(error, AnyEvent, index)
    if is_not_finite(event, codec, problem.field):
        return msgspec.structs.replace(problem, reason="must be a finite number")
    return problem


def _invalid_batch(problems: list[FieldProblem]) -> ProblemError:
    first = problems[0]
    location = "" if first.index is None else f"event {first.index}: "
    named = f"{first.field}: " if first.field else ""
    kind = "invalid-body" if first.index is None else "invalid-batch"
    return ProblemError(kind, f"no part of the batch was stored: {location}{named}{first.reason}", problems)


async def submit_events(request: Request[NoQuery, EncodedBatch]) -> Receipt:
    """Accepts a batch of events; responds when they are durable.

    A batch is accepted or rejected as a whole. Resending is safe: events already stored are recognised by
    `(source, epoch, sequence)`, counted in `duplicates` and not stored again. The response names the highest
    durable sequence of this source and epoch.
    """
    ingest = request.parts.ingest
    assert ingest is not None  # noqa: S101 - this route is not one of `anywhere`
    return await ingest.submit(request.body.batch, request.body.encoded)


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        method="POST",
        path="/api/v1/events",
        summary="Ingest events",
        handler=submit_events,
        body=EventBatchReader(),
        response=Receipt,
        statuses={200: "All events of the batch are durable."},
        scope=Scope.INGEST,
        problems=("invalid-batch", "not-durable", "database-unavailable"),
    ),
)
