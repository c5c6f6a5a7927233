"""The PostgreSQL source: macros, connection, and rows as frames."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg

from grafana.reader.dashboard import SqlTarget
from grafana.reader.frame import Field, Frame, QueryError, Type, long_to_wide
from grafana.reader.interpolation import Value, interpolate, sql_format
from grafana.reader.intervals import TimeRange, format_interval, parse_interval
from grafana.reader.provisioning import DataSource

_MACRO = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")
_BY_OID = {
    **dict.fromkeys((20, 21, 23, 700, 701, 1700), Type.NUMBER),
    **dict.fromkeys((1082, 1114, 1184), Type.TIME),
    16: Type.BOOLEAN,
}
_TIME_COLUMNS = ("time", "timeend")


class PostgresSource:
    """A connection with the user, database and server of the provisioned data source."""

    def __init__(self, source: DataSource) -> None:
        self.source = source
        self.elapsed_seconds = 0.0
        """How long the newest query took, from sending it to its last row."""
        try:
            self._connection = psycopg.connect(_connection_string(source), autocommit=True)
        except psycopg.Error as error:
            raise QueryError(f"{source.name} does not answer: {error}") from error

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def query(
        self, target: SqlTarget, values: Mapping[str, Value], time_range: TimeRange, interval_ms: int
    ) -> list[Frame]:
        """Runs a panel's query. Raises :class:`QueryError`."""
        sql = self.expand(target.raw_sql, values, time_range, interval_ms)
        frame = self.rows(sql, target.ref_id)
        if frame.rows == 0 or target.format == "table":
            return [frame]
        return [_as_series(frame)]

    def expand(self, text: str, values: Mapping[str, Value], time_range: TimeRange, interval_ms: int) -> str:
        """The SQL that PostgreSQL gets."""
        scoped = {
            "__interval": Value("__interval", format_interval(interval_ms)),
            "__interval_ms": Value("__interval_ms", str(interval_ms)),
        }
        sql = interpolate(text, {**values, **scoped}, time_range, sql_format)
        return expand_macros(sql, time_range, timescale=bool(self.source.json_data.get("timescaledb")))

    def rows(self, sql: str, ref_id: str = "") -> Frame:
        """Runs SQL as Grafana does, by the simple protocol; times are milliseconds."""
        start = time.perf_counter()
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql.encode())
                if cursor.description is None:
                    raise QueryError("the statement returns no rows")
                columns = [(column.name, column.type_code) for column in cursor.description]
                rows = cursor.fetchall()
        except psycopg.Error as error:
            raise QueryError(f"{str(error).strip()}\n{sql}") from error
        self.elapsed_seconds = time.perf_counter() - start
        return Frame(
            [_field(name, oid, [row[n] for row in rows]) for n, (name, oid) in enumerate(columns)], ref_id
        )


def expand_macros(sql: str, time_range: TimeRange, *, timescale: bool) -> str:
    """The SQL with its macros replaced. Raises :class:`QueryError` for a macro that does not exist."""
    sql = sql.replace("$__unixEpochFrom()", str(time_range.from_ms // 1000))
    sql = sql.replace("$__unixEpochTo()", str(time_range.to_ms // 1000))

    def replace_macro(match: re.Match[str]) -> str:
        name, arguments = match[1], [one.strip(" ") for one in match[2].split(",")]
        if name == "__timeGroup" and sql[match.end() : match.end() + 1] == ",":
            name = "__timeGroupAlias"
        return _macro(name, arguments, time_range, timescale=timescale)

    return _MACRO.sub(replace_macro, sql)


def _macro(name: str, arguments: list[str], time_range: TimeRange, *, timescale: bool) -> str:
    if name in ("__timeGroup", "__unixEpochGroup"):
        return _group(name, arguments, timescale=timescale)
    if name in ("__timeGroupAlias", "__unixEpochGroupAlias"):
        return _group(name.removesuffix("Alias"), arguments, timescale=timescale) + ' AS "time"'
    column = arguments[0]
    start_ms, end_ms = time_range.from_ms, time_range.to_ms
    start, end = _rfc3339(start_ms), _rfc3339(end_ms)
    seconds = f"{column} >= {start_ms // 1000} AND {column} <= {end_ms // 1000}"
    nanoseconds = f"{column} >= {start_ms}000000 AND {column} <= {end_ms}000000"
    expanded = {
        "__time": f'{column} AS "time"',
        "__timeEpoch": f'extract(epoch from {column}) as "time"',
        "__timeFilter": f"{column} BETWEEN '{start}' AND '{end}'",
        "__timeFrom": f"'{start}'",
        "__timeTo": f"'{end}'",
        "__unixEpochFilter": seconds,
        "__unixEpochNanoFilter": nanoseconds,
        "__unixEpochNanoFrom": f"{start_ms}000000",
        "__unixEpochNanoTo": f"{end_ms}000000",
    }
    if name not in expanded:
        raise QueryError(f"there is no macro ${name}")
    return expanded[name]


def _group(name: str, arguments: list[str], *, timescale: bool) -> str:
    width, column = _group_width(name, arguments), arguments[0]
    if name == "__unixEpochGroup":
        return f"floor(({column})/{width})*{width}"
    if timescale:
        return f"time_bucket('{float(width):.3f}s',{column})"
    return f"floor(extract(epoch from {column})/{width})*{width}"


def _group_width(name: str, arguments: list[str]) -> float | int:
    if len(arguments) not in (2, 3):
        raise QueryError(f"${name} takes a column, an interval and possibly a fill value")
    if len(arguments) > 2:  # noqa: PLR2004 - the third
        raise QueryError(f"${name} with a fill value is not expanded here")
    try:
        ms = parse_interval(arguments[1].strip("'"))
    except ValueError as error:
        raise QueryError(f"${name}: {error}") from error
    return ms // 1000 if ms % 1000 == 0 else ms / 1000


def _rfc3339(ms: int) -> str:
    text = datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{ms % 1000:03}".rstrip("0").rstrip(".")
    return f"{text}{fraction}Z"


def _connection_string(source: DataSource) -> str:
    """As Grafana reads the address: ``host:port``, or the folder of a unix socket with an optional port."""
    host, separator, port = source.url.rpartition(":")
    if not separator or not port.isdigit():
        host, port = source.url, "5432"
    return psycopg.conninfo.make_conninfo(
        host=host,
        port=port,
        user=source.user,
        dbname=source.json_data.get("database", ""),
        password=source.secure_json_data.get("password", ""),
        sslmode=source.json_data.get("sslmode", "require"),
        application_name="grafana",
    )


def _field(name: str, oid: int, values: list[Any]) -> Field:
    kind = _BY_OID.get(oid, Type.STRING)
    if name in _TIME_COLUMNS and kind is Type.NUMBER:
        return Field(
            name, Type.TIME, [None if value is None else _epoch_ms(float(value)) for value in values]
        )
    return Field(name, kind, [None if value is None else _value(value, kind) for value in values])


def _value(value: Any, kind: Type) -> Any:  # noqa: ANN401 - a value of PostgreSQL
    if kind is Type.TIME:
        if isinstance(value, datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            return round(aware.timestamp() * 1000)
        assert isinstance(value, date)  # noqa: S101 - the other type of time
        return round(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp() * 1000)
    if kind is Type.NUMBER:
        number = float(value) if isinstance(value, Decimal | float) else value
        return None if isinstance(number, float) and not math.isfinite(number) else number
    return value if isinstance(value, bool) else str(value)


def _epoch_ms(value: float) -> int:
    """Milliseconds of a time in seconds, milliseconds or nanoseconds, told apart by its size."""
    digits = len(str(abs(int(value))))
    if digits <= 10:  # noqa: PLR2004 - seconds
        return round(value * 1000)
    return round(value / 10**6) if digits >= 18 else round(value)  # noqa: PLR2004 - nanoseconds


def _as_series(frame: Frame) -> Frame:
    instants = next((one for one in frame.fields if one.name == "time" and one.type is Type.TIME), None)
    if instants is None:
        raise QueryError("a time series needs a column named time")
    if None in instants.values:
        raise QueryError("a time is null")
    for one in frame.fields:
        if one.type is Type.BOOLEAN:
            raise QueryError(f"{one.name} is a boolean; a time series takes numbers and labels")
    return long_to_wide(frame, replace(instants, name="Time"))
