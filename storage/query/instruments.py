"""Instruments that were seen in quotes or ticks, or defined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
from msgspec import Struct

from decahertz.event import Instrument, InstrumentKind
from storage.schema.samples import storable

if TYPE_CHECKING:
    from storage.database import Reads

_INSTRUMENTS = """
SELECT * FROM instruments
WHERE ($1::text IS NULL OR venue = $1) AND ($2::text IS NULL OR instrument = $2)
ORDER BY venue, instrument
"""
_DEFINED = "SELECT * FROM instruments WHERE defined_ns IS NOT NULL ORDER BY defined_ns DESC LIMIT $1"
_MAX_DEFINITIONS = 100_000


class InstrumentDefinition(Struct, frozen=True, kw_only=True):
    """Definition of an instrument; see the event type ``instrument``."""

    defined_ns: int
    kind: InstrumentKind
    base_currency: str | None
    quote_currency: str | None
    settlement_currency: str | None
    multiplier: float
    inverse: bool
    tick_size: float | None
    lot_size: float | None
    expiry_ns: int | None = None
    calendar: str | None = None
    aliases: list[str]


class InstrumentInfo(Struct, frozen=True, kw_only=True):
    """An instrument that was seen in quotes or ticks, or defined."""

    venue: str
    instrument: str
    first_ns: int | None = None
    """Time of its first quote or tick."""
    last_ns: int | None = None
    """Time of its last quote or tick; up to a few seconds behind."""
    definition: InstrumentDefinition | None = None
    """Its newest definition."""


async def known_instruments(
    database: Reads, venue: str | None, instrument: str | None
) -> list[InstrumentInfo]:
    """The instruments, of this venue and name if they are given, sorted by both."""
    values = (venue, instrument)
    if not all(value is None or storable(value) for value in values):
        return []
    return [_instrument(row) for row in await database.fetch(_INSTRUMENTS, values)]


async def stored_definitions(database: Reads) -> list[Instrument]:
    """The newest definition of each instrument, the newest ones first."""
    names = [name for name in Instrument.__struct_fields__ if name != "time_ns"]
    return [
        Instrument(
            **{name: row[name] for name in names}
            | {
                "time_ns": row["defined_ns"],
                "kind": InstrumentKind(row["kind"]),
                "aliases": tuple(row["aliases"] or ()),
            },
        )
        for row in await database.fetch(_DEFINED, (_MAX_DEFINITIONS,))
    ]


def _instrument(row: asyncpg.Record) -> InstrumentInfo:
    definition = None
    if row["defined_ns"] is not None:
        values = {name: row[name] for name in InstrumentDefinition.__struct_fields__}
        definition = InstrumentDefinition(**values | {"kind": InstrumentKind(row["kind"])})
    values = {name: row[name] for name in ("venue", "instrument", "first_ns", "last_ns")}
    return InstrumentInfo(**values, definition=definition)
