from __future__ import annotations

import pytest

from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.duration import UNITS, parse_duration

MINUTE_NS = 60 * NS_PER_SECOND
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("100ms", CYCLE_NS),
        ("5s", 5 * NS_PER_SECOND),
        ("1m", MINUTE_NS),
        ("1h", HOUR_NS),
        ("7d", 7 * DAY_NS),
        ("1w", 7 * DAY_NS),
        ("300", 300),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize("unit", UNITS)
def test_a_duration_fits_into_64_bits_of_nanoseconds(unit: str) -> None:
    accepted = [digits for digits in range(1, 25) if _is_accepted("9" * digits + unit)]
    assert accepted == [*range(1, len(accepted) + 1)]
    assert parse_duration("9" * len(accepted) + unit) < 2**63


def _is_accepted(text: str) -> bool:
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("text", ["", "0s", "-1s", "1.5s", "1y", "s", " 1s", "1s\n", "1 s", "01s", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
