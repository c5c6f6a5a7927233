"""Figures with intervals and reasons, and the report, from the database; compared with arithmetic."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from api.report.data import collect
from decahertz.accounting import AccountingSettings
from decahertz.app.report import Wanted, run_report
from decahertz.app.settings import Settings
from decahertz.app.start_error import StartError
from decahertz.clock import NS_PER_SECOND
from decahertz.event import AnyEvent, Cash, CashKind, Equity, Fill, Order, OrderState, Regime, Side
from decahertz.trading_days import TradingDays
from storage.database import Snapshot
from storage.query.daily_results import DayScope
from storage.query.queries import Queries
from storage.query.round_trip_totals import RoundTripSelection
from tests.api.checked import Caller
from tests.api.helpers import Stack

DAY_NS = 86_400 * NS_PER_SECOND


def equity_of(day: int) -> float:
    """Without the transfers."""
    return 10_000 + 30 * day + (50 if day % 4 == 1 else -40 if day % 4 == 3 else 0)


def history(today: int) -> list[AnyEvent]:
    """Forty days of equity until yesterday, with a deposit on day 10 and a withdrawal on day 20."""
    events: list[AnyEvent] = []
    for day in range(40):
        at_ns = (today - 40 + day) * DAY_NS
        moved = (5000 if day >= 10 else 0) - (2000 if day >= 20 else 0)
        events.append(Equity(time_ns=at_ns + DAY_NS // 2, strategy="trend", equity=1.0))  # not the last one
        events.append(
            Equity(time_ns=at_ns + DAY_NS - NS_PER_SECOND, strategy="trend", equity=equity_of(day) + moved)
        )
    for day, amount in ((10, 5000.0), (20, -2000.0), (20, -2000.0)):
        events.append(
            Cash(
                time_ns=(today - 40 + day) * DAY_NS + DAY_NS // 3,
                strategy="trend",
                cash_id=f"c{day}",
                kind=CashKind.TRANSFER,
                amount=amount,
            )
        )
    return events[::-1]  # in any order


def trip(number: int, closed_ns: int, pnl: float, strategy: str, risk: float | None = None) -> list[AnyEvent]:
    names: dict[str, Any] = {
        "strategy": strategy,
        "venue": "SIM",
        "instrument": "A",
        "order_id": f"{strategy}{number}",
    }
    return [
        Fill(
            **names,
            fill_id="1",
            side=Side.BUY,
            price=100.0,
            quantity=1.0,
            risk=risk,
            time_ns=closed_ns - 10**9,
        ),
        Fill(**names, fill_id="2", side=Side.SELL, price=100.0 + pnl, quantity=1.0, time_ns=closed_ns),
    ]


async def test_figures_are_those_of_the_equity_that_was_sent_today(
    stored: Stack, stored_caller: Caller
) -> None:
    today = stored.clock.time_ns() // DAY_NS
    start_ns = (today - 40) * DAY_NS
    events = history(today)
    for number, pnl in enumerate([20, -10, 30, 0.001, -20]):
        events += trip(number, start_ns + number * DAY_NS, pnl, "trend", risk=10.0)
    await stored.emit(*events)
    await stored.all_stored()
    answer = (await stored_caller.get("performance?strategy=trend")).body
    (item,) = answer["strategies"]
    assert item["figures"] == answer["figures"]
    daily = item["figures"]["daily"]
    levels = [equity_of(day) + (5000 if day >= 10 else 0) - (2000 if day >= 20 else 0) for day in range(40)]
    changes = [equity_of(day) - equity_of(day - 1) for day in range(1, 40)]
    returns = [
        change / (levels[day - 1] + (5000 if day == 10 else 0))
        for day, change in zip(range(1, 40), changes, strict=True)
    ]
    assert daily["pnl"] == {
        "value": pytest.approx(math.fsum(changes)),
        "n": 39,
        "basis": "days_of_equity",
        "interval": None,
        "reason": None,
    }
    assert daily["total_return"]["value"] == pytest.approx(math.prod(1 + r for r in returns) - 1)
    ratio = statistics.fmean(returns) / statistics.stdev(returns)
    assert daily["sharpe"]["value"] == pytest.approx(ratio * math.sqrt(365))
    error = math.sqrt((1 + ratio**2 / 2) / 39 * 365)
    assert daily["sharpe"]["interval"]["low"] == pytest.approx(ratio * math.sqrt(365) - 1.959964 * error)
    assert daily["max_drawdown_money"]["value"] == 30
    assert daily["red_days"]["value"] == sum(change < 0 for change in changes)
    trips = item["figures"]["round_trips"]
    assert (trips["win_rate"]["value"], trips["win_rate"]["n"]) == (0.4, 5)
    assert trips["win_rate"]["interval"]["low"] == item["statistics"]["win_rate_lower"]
    assert trips["win_rate"]["interval"]["high"] == item["statistics"]["win_rate_upper"]
    assert trips["profit_factor"]["value"] == pytest.approx(50 / 30)
    assert (item["statistics"]["breakeven"], item["statistics"]["streak"]) == (1, -1)
    # The collector tells the same.
    assert stored.strategy is not None
    (sample,) = stored.strategy.sample(stored.clock.time_ns())
    assert (sample.daily_changes, sample.sharpe) == (39, daily["sharpe"]["value"])  # type: ignore[attr-defined]
    assert sample.win_rate_upper == item["statistics"]["win_rate_upper"]  # type: ignore[attr-defined]


async def test_without_equity_the_days_are_those_of_the_round_trips_and_a_portfolio_adds_them_up(
    stored: Stack, stored_caller: Caller
) -> None:
    today = stored.clock.time_ns() // DAY_NS
    start_ns = (today - 5) * DAY_NS
    events: list[AnyEvent] = [Regime(time_ns=start_ns - DAY_NS, regime="calm")]
    events.append(Regime(time_ns=start_ns + 2 * DAY_NS, regime="wild"))
    for number, pnl in enumerate([20, -10, 30, -5]):
        events += trip(number, start_ns + number * DAY_NS + DAY_NS // 2, pnl, "one")
        events += trip(number, start_ns + number * DAY_NS + DAY_NS // 2, -pnl / 2, "two")
    await stored.emit(*events)
    await stored.all_stored()
    answer = (await stored_caller.get("performance")).body
    daily = answer["figures"]["daily"]
    assert (daily["pnl"]["value"], daily["pnl"]["n"], daily["pnl"]["basis"]) == (17.5, 5, "days_of_pnl")
    assert (daily["total_return"]["value"], daily["total_return"]["reason"]) == (
        None,
        "no equity is reported",
    )
    assert [item["figures"]["daily"]["pnl"]["value"] for item in answer["strategies"]] == [35, -17.5]
    assert daily["max_drawdown_money"]["value"] == 5
    wild = (await stored_caller.get("performance?regime=wild")).body
    assert (wild["overall"]["trades"], wild["figures"]["daily"]["pnl"]["value"]) == (4, 12.5)
    assert (await stored_caller.get("performance?regime=none")).body["overall"]["trades"] == 0
    # The window decides from which day on.
    newest = (await stored_caller.get("performance?strategy=one&window=2")).body
    assert (newest["figures"]["daily"]["pnl"]["value"], newest["figures"]["daily"]["pnl"]["n"]) == (25, 3)


async def test_a_strategy_that_reports_equity_only_has_its_days(stored: Stack, stored_caller: Caller) -> None:
    today = stored.clock.time_ns() // DAY_NS
    await stored.emit(*history(today))
    await stored.all_stored()
    (alone,) = (await stored_caller.get("performance")).body["strategies"]
    assert (alone["strategy"], alone["statistics"]["trades"]) == ("trend", 0)
    assert alone["statistics"]["reasons"]["win_rate"] == "there is no round trip"
    assert alone["figures"]["daily"]["pnl"]["n"] == 39
    # The trades of another one do not shorten its record.
    await stored.emit(*trip(1, (today - 3) * DAY_NS, 20.0, "other"))
    await stored.all_stored()
    both = (await stored_caller.get("performance")).body
    assert [one["strategy"] for one in both["strategies"]] == ["other", "trend"]
    assert both["strategies"][1] == alone
    (kept,) = (await stored_caller.get("performance?instrument=A")).body["strategies"]
    assert kept["strategy"] == "other"


class Text(HTMLParser):
    """The text of a page, and what it loads or runs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.foreign: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe"} or any(
            name in {"src", "href"} or name.startswith("on") for name, _ in attrs
        ):
            self.foreign.append(tag)


async def test_the_report_is_one_page_with_the_numbers_of_rest(stored: Stack, stored_caller: Caller) -> None:
    today = stored.clock.time_ns() // DAY_NS
    events = history(today)
    for number, pnl in enumerate([20, -10, 30, 0.001, -20]):
        events += trip(number, (today - 40 + number) * DAY_NS, pnl, "trend", risk=10.0)
        events += trip(number, (today - 40 + number) * DAY_NS, pnl, "<b>&")
    await stored.emit(*events)
    await stored.all_stored()
    figures = (await stored_caller.get("performance?strategy=trend")).body["figures"]
    response = await stored_caller.get("report/trend")
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["Content-Disposition"] == 'inline; filename="report-trend.html"'
    assert "script" not in response.headers["Content-Security-Policy"]
    page = Text(response.body)
    assert page.foreign == []
    for expected in (
        "trend",
        f"{figures['daily']['sharpe']['value']:.2f}",
        f"{figures['daily']['total_return']['value']:.2%}".replace("%", " %"),
        "40.00 %",
        "1.67",
        "daily changes of the reported equity, without transfers",
        "5 round trips with known risk",
    ):
        assert expected in page.texts, expected
    assert "no equity is reported" in Text((await stored_caller.get("report/<b>&")).body).texts
    portfolio = Text((await stored_caller.get("report")).body)
    assert {"Portfolio", "<b>&", "trend"} <= set(portfolio.texts)
    nothing = Text((await stored_caller.get("report/trend?end=1")).body)
    assert "there is no round trip" in nothing.texts
    (await stored_caller.get("report/nobody")).problem("unknown-name")
    (await stored_caller.get("report/trend?start=2&end=1")).problem("invalid-parameter")


async def test_the_command_writes_the_same_report(
    stored: Stack, stored_caller: Caller, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    today = stored.clock.time_ns() // DAY_NS
    await stored.emit(*history(today), *trip(1, (today - 3) * DAY_NS, 12.5, "trend"))
    await stored.all_stored()
    settings = Settings(data_dir=tmp_path, database_url=stored.database.url)
    file = tmp_path / "report.html"
    assert await run_report(settings, file, Wanted(strategy="trend"), force=False) == 0
    assert capsys.readouterr().out == f"{file}: 1 round trip, 39 complete days\n"
    served = Text((await stored_caller.get("report/trend")).body).texts
    written = Text(file.read_text()).texts
    assert [text for text in written if "made " not in text] == [
        text for text in served if "made " not in text
    ]
    with pytest.raises(StartError, match="exists; add --force"):
        await run_report(settings, file, Wanted(strategy="trend"), force=False)
    with pytest.raises(StartError, match="there is no strategy 'trent'; did you mean trend"):
        await run_report(settings, tmp_path / "other.html", Wanted(strategy="trent"), force=False)
    with pytest.raises(StartError, match="--start is later than --end"):
        await run_report(settings, file, Wanted(strategy="trend", start="2", end="1"), force=True)
    assert await run_report(settings, file, Wanted(strategy=""), force=True) == 0
    assert "Portfolio" in Text(file.read_text()).texts


async def test_the_numbers_of_an_answer_are_those_of_one_moment(
    stored: Stack, stored_caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While fills arrive, between any two statements, counts and lists agree."""
    now_ns, number = stored.clock.time_ns(), 0
    fetch = Snapshot.fetch

    async def store_another() -> None:
        nonlocal number
        number += 1
        order = Order(
            time_ns=now_ns + number,
            strategy="trend",
            venue="SIM",
            instrument="A",
            order_id="trend1",
            state=OrderState.ACCEPTED,
            side=Side.BUY,
            quantity=1.0,
        )
        await stored.emit(order, *trip(number, now_ns - 10 * number * NS_PER_SECOND, 1.0, "trend", risk=2.0))
        await stored.all_stored()

    async def then_another(self: Snapshot, statement: str, values: Sequence[object] = ()) -> Any:  # noqa: ANN401 - rows
        rows = await fetch(self, statement, values)
        await store_another()
        return rows

    await store_another()
    monkeypatch.setattr(Snapshot, "fetch", then_another)
    which = RoundTripSelection()
    scope = DayScope(days=TradingDays(AccountingSettings()), now_ns=now_ns, currency="USD")
    report = await collect(Queries(stored.database), which, scope, 0.01)
    assert number > 3
    assert [report.totals.trades, len(report.trades), len(report.multiples)] == [1, 1, 1]
    assert [line.totals.trades for line in report.strategies] == [1]

    before = number
    found = (await stored_caller.get("performance?window=100")).body
    assert number > before
    assert found["overall"]["trades"] == found["strategies"][0]["statistics"]["trades"] == before

    before = number
    found = (await stored_caller.get("orders/trend1")).body
    assert number > before
    assert (len(found["changes"]), len(found["fills"])) == (before, 2)
