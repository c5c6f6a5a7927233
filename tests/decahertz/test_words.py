from __future__ import annotations

import pytest

from decahertz.words import counted


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (1, "line", "1 line"),
        (0, "line", "0 lines"),
        (1200, "row", "1,200 rows"),
        (2, "entry", "2 entries"),
        (2, "key", "2 keys"),
    ],
)
def test_a_noun_is_in_the_plural_unless_it_is_one(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text
