"""``decahertz definitions``: writes the instruments of an exchange, as ccxt knows them, for your own file."""

from __future__ import annotations

import asyncio
import csv
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from decahertz.app.output_file import target
from decahertz.app.start_error import StartError
from decahertz.clock import SystemClock
from decahertz.provider import ProviderError
from decahertz.settings import SettingsError
from decahertz.words import counted
from providers.ccxt import CcxtOptions, CcxtProvider

if TYPE_CHECKING:
    from decahertz.event import Instrument

_COLUMNS = (
    "venue", "instrument", "kind", "base_currency", "quote_currency", "settlement_currency", "multiplier",
    "inverse", "tick_size", "lot_size", "expiry_ns", "aliases",
)  # fmt: skip


async def run_definitions(
    options: CcxtOptions, symbols: Sequence[str], *, venue: str = "", output: Path | None = None
) -> int:
    """Writes the definitions of these symbols, or of all. Raises :class:`StartError`."""
    provider = CcxtProvider(SystemClock(), options)
    try:
        await provider.start()
        found, others = await provider.definitions(venue or options.exchange)
    except (SettingsError, ProviderError) as error:
        raise StartError(str(error)) from error
    finally:
        await provider.stop()
    if symbols:
        known = {one.instrument: one for one in found}
        missing = [symbol for symbol in symbols if symbol not in known]
        if missing:
            raise StartError(
                f"{options.exchange} defines no {', '.join(missing)}: write symbols as ccxt does"
            )
        found, others = [known[symbol] for symbol in symbols], 0
    text = csv_of(found)
    if output is None:
        sys.stdout.write(text)
    else:
        await asyncio.to_thread(_write, output, text)
    left_out = f", {others:,} of other kinds left out" if others else ""
    sys.stderr.write(f"{counted(len(found), 'definition')} of {options.exchange}{left_out}\n")
    return 0


def csv_of(found: Iterable[Instrument]) -> str:
    """The definitions in the form of ``instruments_file``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in found:
        cells = {name: getattr(one, name) for name in _COLUMNS}
        cells |= {"inverse": str(one.inverse).lower(), "aliases": "|".join(one.aliases)}
        writer.writerow("" if cells[name] is None else cells[name] for name in _COLUMNS)
    return text.getvalue()


def _write(output: Path, text: str) -> None:
    try:
        target(output, force=True).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartError(f"cannot write {output}: {error.strerror}") from error
