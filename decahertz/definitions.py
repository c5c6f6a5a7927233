"""The newest definitions of instruments, found by any of their names."""

from __future__ import annotations

from collections.abc import Iterator

from decahertz.currencies import CurrencyCodes
from decahertz.event import Instrument

MAX_DEFINITIONS = 100_000
"""Instruments whose definition is kept in memory."""


class Definitions:
    """The newest definition of each instrument, by any of its names."""

    def __init__(self, codes: CurrencyCodes) -> None:
        self._codes = codes
        self._newest: dict[tuple[str, str], Instrument] = {}
        self._aliases: dict[tuple[str, str], tuple[str, str]] = {}
        self._usual: dict[tuple[str, str], tuple[str, str]] = {}
        """By the name with usual codes of currencies."""

    def __len__(self) -> int:
        return len(self._newest)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._newest.values())

    def take(self, definition: Instrument) -> bool:
        """Keeps a definition unless a newer one is known; returns whether it is kept."""
        key = (definition.venue, definition.instrument)
        before = self._newest.get(key)
        if before is not None:
            if definition.time_ns < before.time_ns:
                return False
            self._forget_names(before)
        elif len(self._newest) >= MAX_DEFINITIONS:
            return False
        self._newest[key] = definition
        for name in definition.aliases:
            self._aliases[definition.venue, name] = key
        for name in (definition.instrument, *definition.aliases):
            self._usual[definition.venue, self._codes.name(name)] = key
        return True

    def newest(self, venue: str, instrument: str) -> Instrument | None:
        """Returns the definition of an instrument under its own name."""
        return self._newest.get((venue, instrument))

    def get(self, venue: str, instrument: str) -> Instrument | None:
        """Returns the definition of an instrument under any of its names."""
        key = (venue, instrument)
        found = self._newest.get(key)
        if found is None and self._newest:
            other = self._aliases.get(key) or self._usual.get((venue, self._codes.name(instrument)))
            found = None if other is None else self._newest.get(other)
        return found

    def _forget_names(self, definition: Instrument) -> None:
        venue, key = definition.venue, (definition.venue, definition.instrument)
        for name in (definition.instrument, *definition.aliases):
            for names, known in ((self._aliases, name), (self._usual, self._codes.name(name))):
                if names.get((venue, known)) == key:
                    del names[venue, known]


def settlement_currency(definition: Instrument) -> str | None:
    """Currency of the results of an instrument; ``None``: its definition does not tell."""
    other = definition.base_currency if definition.inverse else definition.quote_currency
    return definition.settlement_currency or other
