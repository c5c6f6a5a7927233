"""Numbers with a unit, for the answers of the API.

The OpenAPI document shows the unit of such a field in its description and as ``x-unit``, by the name that
:class:`~decahertz.metric.Unit` gives it.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta

Money: TypeAlias = Annotated[
    float, Meta(description="Money, in the account's currency.", extra_json_schema={"x-unit": "money"})
]
Price: TypeAlias = Annotated[
    float, Meta(description="Price, in the quote currency.", extra_json_schema={"x-unit": "price"})
]
Quantity: TypeAlias = Annotated[
    float,
    Meta(description="Quantity, in the instrument's own unit.", extra_json_schema={"x-unit": "quantity"}),
]
Ratio: TypeAlias = Annotated[float, Meta(description="Ratio.", extra_json_schema={"x-unit": "ratio"})]
RMultiple: TypeAlias = Annotated[
    float, Meta(description="Multiples of the initial risk.", extra_json_schema={"x-unit": "r"})
]
BasisPoints: TypeAlias = Annotated[
    float, Meta(description="Basis points.", extra_json_schema={"x-unit": "bps"})
]
Seconds: TypeAlias = Annotated[float, Meta(description="Seconds.", extra_json_schema={"x-unit": "seconds"})]
TimeNanoseconds: TypeAlias = Annotated[
    int,
    Meta(description="Nanoseconds since the Unix epoch, UTC.", extra_json_schema={"x-unit": "nanoseconds"}),
]

Reasons: TypeAlias = Annotated[
    dict[str, str], Meta(description="Why a figure is null, by the name of its field.")
]


class Figures:
    """The figures of an answer, and the reasons of those that have no value."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}

    def add(self, name: str, value: Any, reason: str) -> None:  # noqa: ANN401 - numbers of several types
        """Adds a figure; ``reason`` says why it has no value, if it is ``None``."""
        self.values[name] = value
        if value is None:
            self.reasons[name] = reason

    def values_with_reasons(self) -> dict[str, Any]:
        """The fields of an answer: the figures, and ``reasons``."""
        return {**self.values, "reasons": self.reasons}
