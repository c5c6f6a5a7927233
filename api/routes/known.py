"""Tells an unknown instrument or strategy from an empty range."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from api.http.problems import FieldProblem, ProblemError
from api.parts import ApiParts

_NAMES: Final = ("instrument", "strategy")
_MAX_SIMILAR: Final = 5


async def check_known(parts: ApiParts, which: Mapping[str, Any]) -> None:
    """Raises :class:`ProblemError` (``unknown-name``) for an instrument or strategy that is unknown.

    ``which`` may name several of them: one is enough. Only an empty response calls it, so other requests cost
    nothing more.
    """
    wanted = {name: _values(value) for name in _NAMES if (value := which.get(name)) is not None}
    live = {name: _live_names(parts, name) for name in wanted}
    missing = {name: values for name, values in wanted.items() if not live[name].intersection(values)}
    if not missing:
        return
    stored = await parts.queries.known_names()
    by_name = {"instrument": stored.instruments, "strategy": stored.strategies}
    for name, values in missing.items():
        if not by_name[name].intersection(values) and not await parts.queries.is_named(name, values):
            raise unknown(name, values[0], by_name[name] | live[name])


def _values(value: str | Sequence[str]) -> Sequence[str]:
    return (value,) if isinstance(value, str) else value


def _live_names(parts: ApiParts, name: str) -> set[str]:
    """Names in the newest samples: their events may not be stored yet."""
    return {
        getattr(sample, name)
        for batch in parts.latest
        if name in batch.schema.key
        for sample in batch.samples
    }


def unknown(name: str, value: str, known: Collection[str]) -> ProblemError:
    """The problem of an unknown instrument or strategy, with the names that resemble it."""
    similar = _similar(value, known)
    hint = f"; similar: {', '.join(similar)}" if similar else ""
    reason = f"nothing is recorded of {value[:128]!r}{hint}"
    return ProblemError("unknown-name", f"{name}: {reason}", [FieldProblem(field=name, reason=reason)])


def _similar(value: str, known: Collection[str]) -> list[str]:
    """Names with the same letters first (``BTC/USD`` and ``BTC-USD``), then those spelled alike."""
    letters = _letters(value)
    same = sorted(name for name in known if _letters(name) == letters)
    alike = difflib.get_close_matches(value, sorted(known), _MAX_SIMILAR)
    return list(dict.fromkeys([*same, *alike]))[:_MAX_SIMILAR]


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()
