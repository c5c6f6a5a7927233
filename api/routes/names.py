"""Parameters shared by routes: names of collectors, fields and keys, and durations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from api.http.query import Extra, parameter_problem, unknown_parameter
from decahertz.decode_errors import explained
from decahertz.duration import DURATION_PATTERN
from decahertz.sample import SampleSchema

Names: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=64)
]
KEYS: Final = "Filters by key field; values repeated or separated by commas."
DURATION: Final = explained(
    DURATION_PATTERN,
    "a duration is a whole number with ms, s, m, h, d or w, or of nanoseconds, and of some years at most:"
    " 250ms, 5s, 1h",
)


def check_names(
    schemas: Sequence[SampleSchema], extra: Extra, fields: Sequence[str], parameters: Iterable[str]
) -> None:
    """Raises :class:`ProblemError` for a field or key field that none of these samples has."""
    keys = {name for schema in schemas for name in schema.key}
    for name in extra:
        if name not in keys:
            raise unknown_parameter(name, [*keys, *parameters])
    known = {field.name for schema in schemas for field in schema.metrics}
    for name in fields:
        if name not in known:
            raise unknown_name("fields", name, known)


def unknown_name(parameter: str, name: str, known: Iterable[str]) -> Exception:
    """Makes the problem of an unknown name."""
    return parameter_problem(parameter, f"{name!r} is unknown; known: {', '.join(sorted(known))}")
