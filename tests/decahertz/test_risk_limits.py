"""Risk limits: which apply to a strategy, and which contradict each other."""

from __future__ import annotations

import pytest

from decahertz.risk_limits import (
    MEASURES,
    Level,
    Limit,
    Limits,
    RiskSettings,
    check_limits,
)
from decahertz.settings import SettingsError


def test_nothing_is_limited_by_default() -> None:
    settings = RiskSettings()
    assert settings.limits() == settings.desk.limits() == settings.of_strategy("trend") == []


def test_one_number_is_the_hard_limit_and_two_are_soft_and_hard() -> None:
    settings = RiskSettings(daily_loss=(500.0,), gross_exposure=(800.0, 1_000.0))
    assert settings.of_strategy("trend") == [
        Limit("gross_exposure", 800.0, 1_000.0),
        Limit("daily_loss", None, 500.0),
    ]


def test_the_table_of_a_strategy_replaces_single_limits() -> None:
    own = Limits(daily_loss=(5.0,), gross_exposure=(), red_days=(3.0,))
    settings = RiskSettings(
        daily_loss=(500.0,), gross_exposure=(1_000.0,), drawdown=(70.0,), strategies={"trend": own}
    )
    assert settings.of_strategy("trend") == [
        Limit("daily_loss", None, 5.0),
        Limit("drawdown", None, 70.0),
        Limit("red_days", None, 3.0),
    ]
    assert [limit.measure for limit in settings.of_strategy("other")] == [
        "gross_exposure",
        "daily_loss",
        "drawdown",
    ]


def test_a_limit_is_exceeded_above_it_and_not_at_it() -> None:
    limit = Limit("daily_loss", 80.0, 100.0)
    assert [limit.level(value) for value in (0.0, 80.0, 80.1, 100.0, 100.1)] == [
        Level.OK,
        Level.OK,
        Level.SOFT,
        Level.SOFT,
        Level.HARD,
    ]
    assert Limit("daily_loss", None, 100.0).level(99.0) is Level.OK


@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_a_soft_limit_is_below_the_hard_one(measure: str) -> None:
    at = {measure: (2.0, 2.0)}
    with pytest.raises(SettingsError) as caught:
        check_limits(RiskSettings(strategies={"trend": Limits(**at)}))
    assert caught.value.key == f"risk.strategies.trend.{measure}"
    if measure in Limits.__struct_fields__:
        with pytest.raises(SettingsError, match=rf"risk\.desk\.{measure}: the soft limit 2 is not below"):
            check_limits(RiskSettings(desk=Limits(**at)))
