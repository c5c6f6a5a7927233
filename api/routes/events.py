"""Events in: ``POST /api/v1/events``."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, get_args, get_type_hints

import msgspec
from msgspec import NODEFAULT, Raw, Struct

from api.http.body import NOT_DECODABLE, BodyReader, is_not_finite, malformed
from api.http.errors import FieldProblem, ProblemError, field_problem
from api.http.query import NoQuery
from api.http.route import Call, Route, Scope
from decahertz.event import AnyEvent, EventBatch
from decahertz.ingest import Receipt
from decahertz.wire import Codec, Decoder, decoder

_AT_ONCE_BYTES = 128 * 1024
"""About a millisecond of decoding; larger bodies are decoded in parts, so that the 10 Hz grid holds."""
_EVENTS_PER_PART = 500
_PROBLEMS_LISTED = 20


class _AnyObject(Struct, frozen=True, gc=False):
    """Enough of an event to see that it is one at all, before many small objects are made of the body."""

    type: str
    time_ns: int


def _batch_of(item: type) -> type[Struct]:
    """:class:`EventBatch` with other items; the other fields and all limits are its own."""
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
    """A valid batch, and the MessagePack that it was decoded from; empty if it came as JSON."""

    batch: EventBatch
    encoded: bytes


class EventBatchReader(BodyReader[EncodedBatch]):
    """Decodes batches of events; what it refuses it names by event and field, up to twenty of them."""

    def __init__(self) -> None:
        """Make the decoders."""
        super().__init__(EventBatch)
        outline, undecoded = _batch_of(_AnyObject), _batch_of(Raw)
        self._outlines: dict[Codec, Decoder[Any]] = {c: decoder(c, outline) for c in Codec}
        self._undecoded: dict[Codec, Decoder[Any]] = {c: decoder(c, undecoded) for c in Codec}
        self._events: dict[Codec, Decoder[AnyEvent]] = {c: decoder(c, AnyEvent) for c in Codec}

    async def read(self, data: bytes, codec: Codec) -> EncodedBatch:
        """Raises :class:`ProblemError`: ``malformed``, ``validation`` or ``batch-refused``."""
        batch = await self._batch(data, codec)
        return EncodedBatch(batch, data if codec is Codec.MSGPACK else b"")

    async def _batch(self, data: bytes, codec: Codec) -> EventBatch:
        if len(data) <= _AT_ONCE_BYTES:
            try:
                batch: EventBatch = self.decode(data, codec)
            except ProblemError as problem:
                if not any(error.index is not None for error in problem.errors):
                    raise
            else:
                return batch
        return await self._in_parts(data, codec)

    async def _in_parts(self, data: bytes, codec: Codec) -> EventBatch:
        try:
            if len(data) > _AT_ONCE_BYTES:
                self._outlines[codec].decode(data)
            batch = self._undecoded[codec].decode(data)
        except msgspec.ValidationError as error:
            raise _refused([field_problem(error)]) from error
        except NOT_DECODABLE as error:
            raise malformed(codec, error, data) from error
        events: list[AnyEvent] = []
        problems: list[FieldProblem] = []
        decode = self._events[codec].decode
        for index, raw in enumerate(batch.events):
            try:
                events.append(decode(bytes(raw)))
            except msgspec.ValidationError as error:
                problems.append(_problem(error, index, bytes(raw), codec))
                if len(problems) == _PROBLEMS_LISTED:
                    break
            except NOT_DECODABLE as error:
                raise malformed(codec, error, bytes(raw)) from error
            if index % _EVENTS_PER_PART == _EVENTS_PER_PART - 1:
                await asyncio.sleep(0)
        if problems:
            raise _refused(problems)
        rest = {name: getattr(batch, name) for name in EventBatch.__struct_fields__ if name != "events"}
        return EventBatch(**rest, events=tuple(events))


def _problem(error: msgspec.ValidationError, index: int, event: bytes, codec: Codec) -> FieldProblem:
    """What is wrong with an event; of a NaN the decoder says that it is not in some range."""
    problem = field_problem(error, index)
    if is_not_finite(event, codec, problem.field):
        return msgspec.structs.replace(problem, reason="must be a finite number")
    return problem


def _refused(problems: list[FieldProblem]) -> ProblemError:
    first = problems[0]
    place = "" if first.index is None else f"event {first.index}: "
    named = f"{first.field}: " if first.field else ""
    kind = "validation" if first.index is None else "batch-refused"
    return ProblemError(kind, f"nothing of the batch was stored: {place}{named}{first.reason}", problems)


async def submit_events(call: Call[NoQuery, EncodedBatch]) -> Receipt:
    """Take a batch of events; answers when they are durable.

    A batch is taken whole or refused whole. Sending it again is safe: what was stored before is recognised by
    `(source, epoch, sequence)`, counted in `duplicates` and not stored twice. The answer says the highest
    sequence of this source and epoch that is durable.
    """
    return await call.parts.ingest.submit(call.body.batch, call.body.encoded)


ROUTES: Final[tuple[Route[Any, Any, Any], ...]] = (
    Route(
        method="POST",
        path="/api/v1/events",
        summary="Events in",
        handler=submit_events,
        body=EventBatchReader(),
        response=Receipt,
        statuses={200: "All events of the batch are durable."},
        scope=Scope.INGEST,
        problems=("batch-refused", "not-durable", "database"),
    ),
)
