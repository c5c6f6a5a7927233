"""Reads the user's definitions of instruments, from TOML or CSV.

The fields are those of the event ``instrument``; ``expiry`` may stand for ``expiry_ns``. In TOML each
instrument is a table ``[[instrument]]``; in CSV each is a row below a header, and ``aliases`` are separated
by ``|``.
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec

from decahertz.clock import from_datetime
from decahertz.event import Instrument, InstrumentKind

_TABLE = "instrument"
_WHERE = re.compile(r" - at `\$\.?([^`]*)`$")


class InstrumentsFileError(ValueError):
    """The file cannot be used; the text says in one line where and why."""


def read_instruments(path: Path, time_ns: int) -> list[Instrument]:
    """Returns the definitions in a file, as of a time. Raises :class:`InstrumentsFileError`."""
    try:
        text = path.read_text("utf-8-sig")
        rows = _csv_rows(text) if path.suffix.lower() == ".csv" else _toml_rows(text)
        found = [_definition(path, where, row, time_ns) for where, row in rows]
    except OSError as error:
        raise InstrumentsFileError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeError, csv.Error, InstrumentsFileError) as error:
        raise InstrumentsFileError(f"{path}: {error}") from error
    seen: set[tuple[str, str]] = set()
    for one in found:
        if (one.venue, one.instrument) in seen:
            raise InstrumentsFileError(f"{path}: {one.instrument} at {one.venue} is defined twice")
        seen.add((one.venue, one.instrument))
    return found


def _toml_rows(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    content = tomllib.loads(text)
    others = ", ".join(sorted(content.keys() - {_TABLE}))
    tables = content.get(_TABLE, [])
    if others or not isinstance(tables, list):
        raise InstrumentsFileError(
            f"only tables [[{_TABLE}]] are expected" + (f", not {others}" if others else "")
        )
    for number, table in enumerate(tables, 1):
        if not isinstance(table, Mapping):
            raise InstrumentsFileError(f"{_TABLE} {number} is not a table")
        yield f"{_TABLE} {number}", table


def _csv_rows(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    first = text.partition("\n")[0]
    delimiter = max((",", ";", "\t"), key=first.count)
    reader = csv.DictReader(io.StringIO(text), strict=True, delimiter=delimiter)
    for row in reader:
        where = f"line {reader.line_num}"
        if None in row or None in row.values():
            raise InstrumentsFileError(f"{where} has another number of cells than the header")
        values: dict[str, Any] = {
            name.strip(): cell.strip() for name, cell in row.items() if cell is not None and cell.strip()
        }
        if "aliases" in values:
            values["aliases"] = [alias.strip() for alias in values["aliases"].split("|")]
        yield where, values


def _definition(path: Path, where: str, row: Mapping[str, Any], time_ns: int) -> Instrument:
    name = row.get("instrument")
    where = f"{where} ({name})" if isinstance(name, str) else where
    values = {**row, "time_ns": time_ns}
    expiry = values.pop("expiry", None)
    if expiry is not None:
        values["expiry_ns"] = _time_ns(where, expiry)
    if "time_ns" in row or "type" in row:
        raise InstrumentsFileError(f"{where}: time_ns and type are not for this file")
    try:
        return msgspec.convert(values, Instrument, strict=path.suffix.lower() != ".csv")
    except msgspec.ValidationError as error:
        reason = str(error)
        if "kind" in reason and "kind" in row:
            reason = f"kind {row['kind']!r} is none of {', '.join(InstrumentKind)}"
        reason = _WHERE.sub(lambda found: f" ({found[1]})" if found[1] else "", reason)
        raise InstrumentsFileError(f"{where}: {reason}") from error


def _time_ns(where: str, expiry: object) -> int:
    try:
        moment = datetime.fromisoformat(expiry) if isinstance(expiry, str) else expiry
    except ValueError:
        moment = None
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if not isinstance(moment, datetime):
        raise InstrumentsFileError(f"{where}: expiry {expiry!r} is not a time such as 2026-12-18T14:30:00Z")
    return from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
