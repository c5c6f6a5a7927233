from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from decahertz.allowed_values import allowed_values


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Part(Struct, tag="part"):
    colour: Annotated[Colour, Meta(description="x")] | None = None
    level: Literal["low", "high"] = "low"


class Other(Struct, tag="other", rename={"shade": "colour"}):
    shade: Literal["red", "grey"] = "grey"


class Whole(Struct):
    parts: list[Part | Other] = []
    pair: tuple[Colour, ...] = ()
    by_name: dict[str, Colour] = {}
    number: int = 0


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("$.parts[3].colour", ("red", "blue", "grey")),
        ("$.parts[0].level", ("low", "high")),
        ("$.parts[0].type", ("part", "other")),
        ("$.pair[2]", ("red", "blue")),
        ("$.by_name[...]", ("red", "blue")),
        ("$.number", ()),
        ("$.nothing.colour", ()),
        ("$", ()),
    ],
)
def test_the_values_at_a_path(path: str, values: tuple[str, ...]) -> None:
    assert allowed_values(Whole, path) == values
