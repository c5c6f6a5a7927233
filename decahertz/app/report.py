"""``decahertz report``: writes the tear sheet of a strategy, or of all together, as one HTML file."""

from __future__ import annotations

import asyncio
import difflib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from api.report.data import Report, collect
from api.report.page import render
from decahertz.app.backup import embedded_server
from decahertz.app.database import database_url, refuse_without_database, start_errors
from decahertz.app.output_file import target
from decahertz.app.start_error import StartError
from decahertz.app.time_option import time_option
from decahertz.clock import SystemClock
from decahertz.trading_days import TradingDays
from storage.database import Database
from storage.query.daily_results import DayScope
from storage.query.queries import Queries
from storage.query.round_trip_totals import RoundTripSelection

if TYPE_CHECKING:
    from decahertz.app.settings import Settings


class Wanted(Struct, frozen=True, kw_only=True):
    """The arguments of the command."""

    strategy: str
    """Empty: all strategies together."""
    recorder: str = ""
    start: str = ""
    end: str = ""


async def run_report(settings: Settings, file: Path, wanted: Wanted, *, force: bool) -> int:
    """Writes the file. Raises :class:`~decahertz.app.start_error.StartError`."""
    which = RoundTripSelection(
        strategy=wanted.strategy or None,
        recorder=wanted.recorder or None,
        start_ns=time_option("start", wanted.start),
        end_ns=time_option("end", wanted.end),
    )
    if which.start_ns is not None and which.end_ns is not None and which.start_ns > which.end_ns:
        raise StartError("--start is later than --end: swap them")
    path = await asyncio.to_thread(target, file, force=force)
    refuse_without_database(settings)
    accounting = settings.accounting
    scope = DayScope(
        days=TradingDays(accounting), now_ns=SystemClock().time_ns(), currency=accounting.currency
    )
    with start_errors():
        async with embedded_server(settings, share=True), _opened(settings) as database:
            queries = Queries(database)
            report = await collect(queries, which, scope, accounting.minor_unit)
            if not report.totals.trades and not report.changes:
                await _refuse_empty(queries, wanted)
    text = await asyncio.to_thread(render, report)
    try:
        await asyncio.to_thread(path.write_text, text, encoding="utf-8")
    except OSError as error:
        raise StartError(f"cannot write {file}: {error.strerror or error}") from error
    sys.stdout.write(f"{file}: {_summary(report)}\n")
    return 0


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Database]:
    database = Database(database_url(settings), settings.storage)
    try:
        await database.open()
        yield database
    finally:
        await database.close()


def _summary(report: Report) -> str:
    trips, days = report.totals.trades, len(report.changes)
    return f"{trips:,} round trip{'' if trips == 1 else 's'}, {days:,} complete day{'' if days == 1 else 's'}"


async def _refuse_empty(queries: Queries, wanted: Wanted) -> None:
    """Raises if the strategy is unknown; an empty range of a known one makes an empty report."""
    known = sorted((await queries.known_names()).strategies)
    if not known:
        raise StartError("no strategy has sent anything yet: there is nothing to report")
    if wanted.strategy and wanted.strategy not in known:
        close = difflib.get_close_matches(wanted.strategy, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known are: {', '.join(known[:10])}"
        raise StartError(f"there is no strategy {wanted.strategy!r}; {hint}")
