from __future__ import annotations

import dataclasses

import pytest

from decahertz.metric import Kind, Metric, Unit, family_name


@pytest.mark.parametrize(
    ("metric", "unit", "name"),
    [
        ("quotes", Unit.NONE, "decahertz_market_quotes"),
        ("mid", Unit.PRICE, "decahertz_market_mid_price"),
        ("spread", Unit.BASIS_POINTS, "decahertz_market_spread_bps"),
        ("spread_bps", Unit.BASIS_POINTS, "decahertz_market_spread_bps"),
        ("price", Unit.PRICE, "decahertz_market_price"),
        ("micro_price", Unit.PRICE, "decahertz_market_micro_price"),
        ("reprice", Unit.PRICE, "decahertz_market_reprice_price"),
        ("current_r", Unit.R, "decahertz_market_current_r"),
        ("ticks", Unit.PER_SECOND, "decahertz_market_ticks_per_second"),
    ],
)
def test_a_family_is_named_by_collector_metric_and_unit_once(metric: str, unit: Unit, name: str) -> None:
    assert family_name("market", metric, unit) == name


def test_a_metric_is_a_gauge_without_a_unit_unless_it_says_otherwise() -> None:
    metric = Metric("Something.")
    assert (metric.kind, metric.unit) == (Kind.GAUGE, Unit.NONE)


def test_a_metric_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Metric("Something.").help = "Another."  # type: ignore[misc]


def test_the_meaning_of_a_metric_names_formula_and_source() -> None:
    assert Metric("Something.").meaning == "Something."
    metric = Metric("Something.", formula="a / b", source="Lo 2002")
    assert metric.meaning == "Something. Formula: `a / b`. Source: Lo 2002."
