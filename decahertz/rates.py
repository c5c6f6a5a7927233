"""Exchange rates between currencies, from the mids that the recorder has seen.

A pair is a spot instrument, a currency pair, an index or a perpetual swap whose definition names base and
quote currency: its mid is the price of one unit of the base currency. Where no pair leads straight from one
currency to another, a path over a few pairs does, such as ``JPY → USD → EUR``. A mid that is too old does not
count: no rate is better than a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND
from decahertz.currencies import CurrencyCodes
from decahertz.event import Instrument, InstrumentKind

MAX_HOPS = 4
"""Pairs in a path, at most."""
_PREFERRED = (InstrumentKind.SPOT, InstrumentKind.FX, InstrumentKind.INDEX, InstrumentKind.PERPETUAL)
"""Kinds of instruments whose price is that of the base currency now, the best one first."""


class Mid(Struct, frozen=True, gc=False, array_like=True):
    """The newest mid of an instrument."""

    price: float
    time_ns: int
    """Time of the quote by which it may be too old."""


Mids: TypeAlias = Callable[[str, str], Mid | None]
"""Returns the newest mid of an instrument at a venue; ``None`` if it has none."""


class Rate(Struct, frozen=True, gc=False):
    """Worth of one unit of a currency in another."""

    value: float
    time_ns: int | None = None
    """Time of the oldest mid in it; ``None``: it depends on none."""
    path: tuple[str, ...] = ()
    """The pairs, as ``venue instrument`` or ``peg USDT=USD``; empty from a currency to itself."""


class NoRate(Struct, frozen=True, gc=False):
    """There is no rate, and why."""

    reason: str


class _Pair(Struct, frozen=True, gc=False, order=True):
    """An instrument that tells the price of ``base`` in ``quote``; they sort by preference."""

    rank: int
    venue: str
    instrument: str
    base: str
    quote: str


class Rates:
    """Finds rates to the account currency. :meth:`define` makes pairs known, ``mids`` has their prices."""

    def __init__(self, settings: AccountingSettings, mids: Mids) -> None:
        self._mids = mids
        self._max_age_ns = round(settings.rate_seconds * NS_PER_SECOND)
        self.codes = CurrencyCodes(settings.aliases)
        self.currency = self.codes.code(settings.currency)
        """The account currency."""
        self._pairs: dict[tuple[str, str], _Pair] = {}
        self._between: dict[str, dict[str, list[_Pair]]] = {}
        """By currency and other currency, in the order of the codes: the pairs, best first."""
        self._pegs: dict[str, set[str]] = {}
        for peg in settings.pegs:
            one, other = (self.codes.code(code) for code in peg.split("=", 1))
            self._pegs.setdefault(one, set()).add(other)
            self._pegs.setdefault(other, set()).add(one)

    def define(self, definition: Instrument) -> None:
        """Takes the newest definition of an instrument."""
        key = (definition.venue, definition.instrument)
        pair = self._pair_of(definition)
        before = self._pairs.get(key)
        if pair == before:
            return
        if before is not None:
            del self._pairs[key]
            self._link(before, lambda pairs: pairs.remove(before))
        if pair is not None:
            self._pairs[key] = pair
            self._link(pair, lambda pairs: pairs.append(pair))

    def is_pair(self, venue: str, instrument: str) -> bool:
        """Returns whether a defined instrument is a pair."""
        return (venue, instrument) in self._pairs

    def rate(self, currency: str, at_ns: int) -> Rate | NoRate:
        """Returns the account currency per unit of a currency at a time: the shortest path of usable pairs.

        Of paths with the same number of pairs it is the first in the order of the currencies' codes.
        """
        start, goal = self.codes.code(currency), self.currency
        if start == goal:
            return Rate(1.0)
        stale = ""
        reached: dict[str, Rate] = {start: Rate(1.0)}
        newest = [start]
        for _ in range(MAX_HOPS):
            for code in newest:
                step = self._step(code, goal, at_ns)
                if isinstance(step, Rate):
                    return _joined(reached[code], step)
                stale = stale or (step.reason if step is not None else "")
            found: list[str] = []
            for code in newest:
                for other in sorted({*self._between.get(code, ()), *self._pegs.get(code, ())}):
                    step = None if other in reached else self._step(code, other, at_ns)
                    if isinstance(step, Rate):
                        reached[other] = _joined(reached[code], step)
                        found.append(other)
                    elif step is not None:
                        stale = stale or step.reason
            newest = found
        reason = f"no rate from {currency} to {goal}"
        return NoRate(f"{reason}: {stale}" if stale else f"{reason}: no quotes of a pair lead there")

    def _step(self, code: str, other: str, at_ns: int) -> Rate | NoRate | None:
        """The rate of two currencies by a pair or a peg; ``None`` if neither joins them."""
        stale: NoRate | None = None
        for pair in self._between.get(code, {}).get(other, ()):
            mid = self._mids(pair.venue, pair.instrument)
            if mid is None or not mid.price > 0:
                continue
            late_ns = at_ns - mid.time_ns
            if abs(late_ns) <= self._max_age_ns:
                value = mid.price if pair.base == code else 1 / mid.price
                return Rate(value, mid.time_ns, (f"{pair.venue} {pair.instrument}",))
            when = f"{abs(late_ns) / NS_PER_SECOND:.0f} s {'older' if late_ns > 0 else 'newer'}"
            stale = stale or NoRate(f"the mid of {pair.instrument} at {pair.venue} is {when}")
        if stale is None and other in self._pegs.get(code, ()):
            return Rate(1.0, path=(f"peg {code}={other}",))
        return stale

    def _pair_of(self, definition: Instrument) -> _Pair | None:
        base, quote = definition.base_currency, definition.quote_currency
        if base is None or quote is None or definition.kind not in _PREFERRED:
            return None
        base, quote = self.codes.code(base), self.codes.code(quote)
        if base == quote:
            return None
        rank = _PREFERRED.index(definition.kind)
        return _Pair(rank, definition.venue, definition.instrument, base, quote)

    def _link(self, pair: _Pair, change: Callable[[list[_Pair]], None]) -> None:
        for one, other in ((pair.base, pair.quote), (pair.quote, pair.base)):
            pairs = self._between.setdefault(one, {}).setdefault(other, [])
            change(pairs)
            pairs.sort()
            if not pairs:
                del self._between[one][other]


def _joined(first: Rate, second: Rate) -> Rate:
    times = [rate.time_ns for rate in (first, second) if rate.time_ns is not None]
    return Rate(first.value * second.value, min(times, default=None), first.path + second.path)
