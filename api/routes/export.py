"""Exports samples and events as files."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from api.http.query import Time, parameter_problem
from api.http.route import AnyRoute, Route
from api.http.stream import Stream, Write
from api.parts import Request
from api.routes.names import Names, unknown_name
from decahertz.decode_errors import explained
from decahertz.event import EVENT_BY_TABLE
from storage.query.export import ExportRequest, UnknownColumnError, events_request, samples_request
from storage.query.export_format import ExportFormat

_LATEST_NS: Final = 2**63 - 1
EventTable: TypeAlias = Annotated[
    str,
    Meta(
        pattern=explained(
            f"^({'|'.join(EVENT_BY_TABLE)})$", f"no table of events; allowed: {', '.join(EVENT_BY_TABLE)}"
        ),
        description="Table whose events are exported.",
        extra_json_schema={"enum": list(EVENT_BY_TABLE)},
    ),
]


class ExportQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of an export: the samples of a collector or the events of a table, over `[start, end)`."""

    collector: (
        Annotated[str, Meta(min_length=1, max_length=64, description="Collector whose samples are exported.")]
        | None
    ) = None
    table: EventTable | None = None
    format: Annotated[ExportFormat, Meta(description="File format.")] = ExportFormat.CSV
    fields: Annotated[Names, Meta(description="Columns in addition to time and key; default: all.")] = ()
    start: Time | None = None
    end: Time | None = None


async def export(request: Request[ExportQuery, None]) -> Stream:
    """Streams all rows of the range in order of time as a file.

    Either `collector` or `table` is required. Further parameters filter: samples by recorder and key, events
    by any text column. An error in mid-stream aborts the connection before the end of the file. Parquet
    requires the server to be installed with the extra `parquet`.
    """
    query = request.query
    export_request = _export_request(request)
    exports = request.parts.queries.exports

    async def send(write: Write) -> None:
        await exports.run(export_request, query.format, write)

    name = f"{query.collector or query.table}.{query.format}"
    return Stream(query.format.media_type, name, send)


def _export_request(request: Request[ExportQuery, None]) -> ExportRequest:
    query = request.query
    start, end = query.start or 0, _LATEST_NS if query.end is None else query.end
    if start > end:
        raise parameter_problem("start", "is later than end")
    if (query.collector is None) == (query.table is None):
        raise parameter_problem("collector", "either collector or table is required, not both")
    schemas = {schema.collector: schema for schema in request.parts.schemas}
    try:
        if query.table is not None:
            return events_request(query.table, query.fields, request.extra, start, end)
        if query.collector not in schemas:
            raise unknown_name("collector", query.collector or "", schemas)
        return samples_request(schemas[query.collector], query.fields, request.extra, start, end)
    except UnknownColumnError as error:
        name = "fields" if error.name in query.fields else error.name
        raise parameter_problem(name, str(error)) from error


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/export",
        summary="Export samples or events as a file",
        handler=export,
        anywhere=True,
        query=ExportQuery,
        extra_query="Filters by column name; values repeated or separated by commas.",
        response=Stream,
        streams=tuple(form.media_type for form in ExportFormat),
        statuses={200: "The file."},
        problems=("not-installed", "database-unavailable", "overloaded"),
    ),
)
