"""Export: samples and events as files."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta, Struct

from api.http.query import Time, parameter_problem
from api.http.route import Call, Route
from api.http.stream import Stream, Write
from api.routes.names import Names, unknown_name
from decahertz.event import EVENT_BY_TABLE
from storage.query.export import (
    ExportFormat,
    ExportRequest,
    UnknownColumnError,
    events_request,
    samples_request,
)

_LATEST_NS: Final = 2**63 - 1
EventTable: TypeAlias = Annotated[
    str,
    Meta(
        pattern=f"^({'|'.join(EVENT_BY_TABLE)})$",
        description="Export the events of this table.",
        extra_json_schema={"enum": list(EVENT_BY_TABLE)},
    ),
]


class ExportQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to export: the samples of a collector, or the events of a table, over `[start, end)`."""

    collector: Annotated[str, Meta(min_length=1, max_length=64, description="Export its samples.")] | None = (
        None
    )
    table: EventTable | None = None
    format: Annotated[ExportFormat, Meta(description="What to write.")] = ExportFormat.CSV
    fields: Annotated[Names, Meta(description="Columns beside time and key; none: all.")] = ()
    start: Time | None = None
    end: Time | None = None


async def export(call: Call[ExportQuery, None]) -> Stream:
    """All rows of the range in order of time, as a file that is written while it is read.

    Give either `collector` or `table`. Further parameters filter: samples by key, events by any column of
    texts. What fails on the way ends the connection before the end of the file. Parquet needs the server to
    be installed with the extra `parquet`.
    """
    query = call.query
    request = _request(call)
    exports = call.parts.queries.exports

    async def send(write: Write) -> None:
        await exports.run(request, query.format, write)

    name = f"{query.collector or query.table}.{query.format}"
    return Stream(query.format.media_type, name, send)


def _request(call: Call[ExportQuery, None]) -> ExportRequest:
    query = call.query
    start, end = query.start or 0, _LATEST_NS if query.end is None else query.end
    if start > end:
        raise parameter_problem("start", "later than end")
    if (query.collector is None) == (query.table is None):
        raise parameter_problem("collector", "give either a collector or a table")
    schemas = {schema.collector: schema for schema in call.parts.schemas}
    try:
        if query.table is not None:
            return events_request(query.table, query.fields, call.extra, start, end)
        if query.collector not in schemas:
            raise unknown_name("collector", query.collector or "", schemas)
        return samples_request(schemas[query.collector], query.fields, call.extra, start, end)
    except UnknownColumnError as error:
        name = "fields" if error.name in query.fields else error.name
        raise parameter_problem(name, str(error)) from error


ROUTES: Final[tuple[Route[Any, Any, Any], ...]] = (
    Route(
        method="GET",
        path="/api/v1/export",
        summary="Export as a file",
        handler=export,
        query=ExportQuery,
        extra_query="Values of columns, by name of the column: repeated or separated by commas.",
        response=Stream,
        streams=tuple(form.media_type for form in ExportFormat),
        statuses={200: "The file."},
        problems=("not-installed", "database", "overloaded"),
    ),
)
