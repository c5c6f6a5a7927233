"""Renders a report as one HTML page: no scripts, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from api.report.charts import curve_chart, histogram
from api.report.data import Report, StrategyLine, by_month, date_of
from api.report.formats import NONE, duration, money, multiple, number, percent
from decahertz.clock import NS_PER_SECOND, to_datetime
from decahertz.statistics.daily import DailyFigures, growth_of, returns_of
from decahertz.statistics.round_trips import RoundTripFigures
from decahertz.statistics.statistic import SampleBasis, Statistic

_STYLE: Final = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_BASES = {
    SampleBasis.EQUITY_DAYS: "daily changes of the reported equity, without transfers",
    SampleBasis.PNL_DAYS: "P&L of the round trips by the day of closing, with cash flows",
    SampleBasis.MIXED_DAYS: "daily changes of equity where it is reported, else P&L by the day of closing",
}


def _days(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f} {'day' if value == 1 else 'days'}"


def _count(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def _fall(value: float | None) -> str:
    return NONE if value is None else percent(-value)


def _fall_money(value: float | None) -> str:
    return NONE if value is None else number(-value)


_ROUND_TRIPS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("win_rate", "Win rate", percent),
    ("profit_factor", "Profit factor", number),
    ("expectancy", "Expectancy", money),
    ("average_win", "Average win", money),
    ("average_loss", "Average loss", money),
    ("payoff_ratio", "Payoff ratio", number),
    ("kelly", "Kelly fraction", percent),
    ("expectancy_r", "Expectancy in R", multiple),
    ("average_win_r", "Average win in R", multiple),
    ("average_loss_r", "Average loss in R", multiple),
)
_DAILY: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("pnl", "P&L", money),
    ("total_return", "Return", percent),
    ("annual_return", "Return per year", percent),
    ("volatility", "Volatility per year", percent),
    ("volatility_money", "Volatility per year, money", number),
    ("sharpe", "Sharpe ratio", number),
    ("sharpe_error", "Sharpe ratio, standard error", number),
    ("sortino", "Sortino ratio", number),
    ("calmar", "Calmar ratio", number),
    ("max_drawdown", "Largest drawdown", _fall),
    ("max_drawdown_money", "Largest drawdown, money", _fall_money),
    ("max_drawdown_days", "Longest drawdown", _days),
    ("drawdown", "Drawdown at the end", _fall),
    ("drawdown_days", "Days below the peak", _days),
    ("red_days", "Losing days", _count),
    ("red_streak", "Longest losing run", _days),
    ("best_day", "Best day", money),
    ("worst_day", "Worst day", money),
)


def render(report: Report) -> str:
    """Returns the page."""
    sections = [_head(report), _tiles(report), _curve(report), _months(report), _strategies(report)]
    sections += [_statistics(report), _distribution(report), _trades(report), _foot()]
    title = escape(f"{report.title} \N{EN DASH} performance")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>{''.join(sections)}</main></body></html>\n"
    )


def _head(report: Report) -> str:
    days = report.changes
    span = (
        f"{date_of(days[0].day):%d %B %Y} to {date_of(days[-1].day):%d %B %Y}, {len(days):,} complete days"
        if days
        else "no complete day yet"
    )
    recorder = f" · recorder {escape(report.recorder)}" if report.recorder else ""
    return (
        f'<header><div><p class="kind">Performance report</p><h1>{escape(report.title)}</h1>'
        f'<p>{span}</p></div><p class="made">Amounts in {escape(report.currency)}{recorder}<br>'
        f"made {to_datetime(report.made_ns):%d %B %Y, %H:%M} UTC</p></header>"
    )


def _tiles(report: Report) -> str:
    trips, daily, totals = report.round_trips, report.daily, report.totals
    pnl = daily.pnl if daily.pnl.value is not None else None
    relative = daily.total_return.value is not None
    shown = [
        _tile(
            "P&L",
            money(pnl.value if pnl else totals.pnl),
            _note_days(daily.pnl),
            pnl.value if pnl else totals.pnl,
        ),
        _tile(
            "Return", percent(daily.total_return.value, sign=True), _per_year(daily), daily.total_return.value
        )
        if relative
        else _tile(
            "Expectancy",
            money(trips.expectancy.value),
            _interval(trips.expectancy, money),
            trips.expectancy.value,
        ),
        _tile("Sharpe ratio", number(daily.sharpe.value), _interval(daily.sharpe, number)),
        _tile(
            "Largest drawdown",
            _fall(daily.max_drawdown.value) if relative else _fall_money(daily.max_drawdown_money.value),
            f"longest {_days(daily.max_drawdown_days.value)}",
        ),
        _tile(
            "Win rate", percent(trips.win_rate.value, 1), _interval(trips.win_rate, lambda v: percent(v, 1))
        ),
        _tile(
            "Profit factor", number(trips.profit_factor.value), _reason_or_n(trips.profit_factor, "decided")
        ),
        _tile("Expectancy in R", multiple(trips.expectancy_r.value), _interval(trips.expectancy_r, multiple)),
        _tile("Round trips", f"{totals.trades:,}", f"{totals.wins:,} won · {totals.losses:,} lost"),
    ]
    return f'<section class="tiles">{"".join(shown)}</section>'


def _tile(name: str, value: str, note: str, tone: float | None = None) -> str:
    css = "" if not tone else ' class="up"' if tone > 0 else ' class="down"'
    return f"<div><h3>{escape(name)}</h3><strong{css}>{value}</strong><small>{note}</small></div>"


def _interval(one: Statistic, text: Callable[[float | None], str]) -> str:
    if one.interval is not None:
        return f"95 %: {text(one.interval.low)} to {text(one.interval.high)}"
    return escape(one.reason) if one.reason else f"n = {one.n:,}"


def _reason_or_n(one: Statistic, what: str) -> str:
    return escape(one.reason) if one.reason else f"{one.n:,} {what}"


def _note_days(one: Statistic) -> str:
    return f"in {one.n:,} days" if one.value is not None else "of the round trips"


def _per_year(daily: DailyFigures) -> str:
    value = daily.annual_return.value
    return "" if value is None else f"{percent(value, sign=True)} a year"


def _curve(report: Report) -> str:
    changes = report.changes
    if len(changes) < 2:  # noqa: PLR2004 - a line needs two
        return ""
    returns = returns_of(changes)
    days = [date_of(changes[0].day - 1), *(date_of(one.day) for one in changes)]
    if returns is not None:
        growth = growth_of(returns)
        curve, falls = [value - 1 for value in growth], _falls(growth, relative=True)
    else:
        curve = [0.0]
        for one in changes:
            curve.append(curve[-1] + one.change)
        falls = _falls(curve, relative=False)
    name = "Compounded return" if returns is not None else f"Cumulative P&L, {report.currency}"
    return _section(name, _BASES[report.basis], curve_chart(days, curve, falls, relative=returns is not None))


def _falls(curve: Sequence[float], *, relative: bool) -> list[float]:
    peak, falls = curve[0], []
    for value in curve:
        peak = max(peak, value)
        falls.append((value - peak) / peak if relative and peak else value - peak)
    return falls


def _months(report: Report) -> str:
    if not report.changes:
        return ""
    relative = returns_of(report.changes) is not None
    rows = []
    table = by_month(report.changes, relative=relative)
    largest = max((abs(value) for year in table.values() for value in year.values()), default=0.0) or 1.0

    def text(value: float) -> str:
        if relative:
            return percent(value, 1, sign=True).removesuffix(" %")
        return number(value, 0, sign=True)

    for year in sorted(table):
        cells = []
        total = 1.0 if relative else 0.0
        for month in range(1, 13):
            value = table[year].get(month)
            if value is None:
                cells.append("<td></td>")
                continue
            total = total * (1 + value) if relative else total + value
            css = "up" if value > 0 else "down" if value < 0 else ""
            strength = min(abs(value) / largest, 1) * 0.34
            cells.append(f'<td class="heat {css}" style="--s:{strength:.3f}">{text(value)}</td>')
        value = total - 1 if relative else total
        css = "up" if value > 0 else "down" if value < 0 else ""
        rows.append(
            f'<tr><th scope="row">{year}</th>{"".join(cells)}<td class="sum {css}">{text(value)}</td></tr>'
        )
    head = "".join(f"<th>{month}</th>" for month in _MONTHS)
    unit = "per cent, compounded" if relative else report.currency
    return _section(
        "Months",
        unit,
        f'<table class="months"><thead><tr><th></th>{head}<th>Year</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>",
    )


def _strategies(report: Report) -> str:
    if not report.strategies:
        return ""
    trips = ("Round trips", "P&L, round trips", "P&L, days", "Win rate", "Profit factor", "Expectancy")
    names = (*trips, "Sharpe", "Largest drawdown")
    return _section("Strategies", "", _listing(("Strategy",), names, map(_strategy_row, report.strategies)))


def _strategy_row(line: StrategyLine) -> str:
    trips, daily = line.round_trips, line.daily
    cells = (
        f"{line.totals.trades:,}",
        money(line.totals.pnl),
        money(daily.pnl.value),
        percent(trips.win_rate.value, 1),
        number(trips.profit_factor.value),
        multiple(trips.expectancy_r.value),
        number(daily.sharpe.value),
        _fall_money(daily.max_drawdown_money.value),
    )
    numbers = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row" class="left">{escape(line.strategy)}</th>{numbers}</tr>'


def _listing(left: Sequence[str], right: Sequence[str], rows: Iterable[str], css: str = "") -> str:
    """A table with texts on the left and numbers on the right."""
    head = "".join(f'<th class="left">{escape(name)}</th>' for name in left)
    head += "".join(f"<th>{escape(name)}</th>" for name in right)
    return f'<table class="{css}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _statistics(report: Report) -> str:
    trips, daily, t = report.round_trips, report.daily, report.totals
    open_seconds = t.open_ns / NS_PER_SECOND / t.trades if t.trades else None
    facts = (
        ("Gross profit", money(t.gross_profit), t.wins),
        ("Gross loss", money(-t.gross_loss), t.losses),
        ("Fees", number(t.fees), t.trades),
        *((("Left out: no rate, or too large", f"{t.unusable:,}", t.unusable),) if t.unusable else ()),
        ("Scratches", f"{t.trades - t.wins - t.losses:,}", t.trades),
        ("Longest winning streak", f"{t.longest_winning_streak:,}", t.trades),
        ("Longest losing streak", f"{t.longest_losing_streak:,}", t.trades),
        ("Average time open", duration(open_seconds), t.trades),
    )
    extra = "".join(
        f'<tr><th scope="row" class="left">{name}</th><td>{value}</td><td></td><td>{n:,}</td></tr>'
        for name, value, n in facts
    )
    return (
        '<div class="pair">'
        + _section("Round trips", "after fees", _table(_ROUND_TRIPS, trips, extra))
        + _section("Days", "annualised with 365 days", _table(_DAILY, daily, ""))
        + "</div>"
    )


def _table(
    rows: Sequence[tuple[str, str, Callable[[float | None], str]]],
    figures: RoundTripFigures | DailyFigures,
    extra: str,
) -> str:
    body = []
    for name, label, text in rows:
        one: Statistic = getattr(figures, name)
        if one.value is None:
            shown = f'<td colspan="2" class="reason">{escape(one.reason or "")}</td>'
        else:
            interval = one.interval
            between = "" if interval is None else f"{text(interval.low)} to {text(interval.high)}"
            shown = f'<td>{text(one.value)}</td><td class="between">{between}</td>'
        body.append(f'<tr><th scope="row" class="left">{escape(label)}</th>{shown}<td>{one.n:,}</td></tr>')
    return (
        '<table class="figures"><thead><tr><th></th><th>Value</th><th>95 % interval</th>'
        "<th>n</th></tr></thead>"
        f"<tbody>{''.join(body)}{extra}</tbody></table>"
    )


def _distribution(report: Report) -> str:
    if report.multiples:
        mean = sum(report.multiples) / len(report.multiples)
        note = f"{len(report.multiples):,} round trips with known risk"
        return _section("Distribution of R", note, histogram(report.multiples, "R", mean))
    if report.pnls:
        mean = sum(report.pnls) / len(report.pnls)
        note = f"{len(report.pnls):,} round trips; none has a known risk"
        return _section("Distribution of P&L", note, histogram(report.pnls, report.currency, mean))
    return ""


def _trades(report: Report) -> str:
    if not report.trades:
        return ""
    total, shown = report.totals.trades, len(report.trades)
    note = f"newest {shown:,} of {total:,}" if total > shown else f"all {total:,}"
    left = ("Closed (UTC)", "Instrument", "Side", "Regime")
    right = ("Quantity", "Entry", "Exit", "Open for", "Fees", "P&L", "R")
    return _section("Trades", note, _listing(left, right, map(_trade_row, report.trades), "trades"))


def _trade_row(row: Any) -> str:  # noqa: ANN401 - a row of trades
    pnl = row["pnl"]
    css = "up" if pnl and pnl > 0 else "down" if pnl and pnl < 0 else ""
    side = "long" if row["side"] == "buy" else "short"
    return (
        f'<tr><td class="left">{to_datetime(row["closed_ns"]):%Y-%m-%d %H:%M:%S}</td>'
        f'<td class="left">{escape(row["instrument"])} <span>{escape(row["venue"])}</span></td>'
        f'<td class="left">{side}</td><td class="left">{escape(row["regime"] or "")}</td>'
        f"<td>{row['quantity']:,.8g}</td><td>{row['entry_price']:,.8g}</td>"
        f"<td>{row['exit_price']:,.8g}</td><td>{duration(row['held_seconds'])}</td><td>{number(row['fees'])}</td>"
        f'<td class="{css}">{money(pnl)}</td><td>{number(row["r_multiple"], 2, sign=True)}</td></tr>'
    )


def _section(name: str, note: str, content: str) -> str:
    small = f"<small>{escape(note)}</small>" if note else ""
    return f'<section class="panel"><h2>{escape(name)}{small}</h2>{content}</section>'


def _foot() -> str:
    return (
        "<footer>Win rate: Wilson's interval. Means: Student's interval. Sharpe ratio: against zero, standard"
        " error of Lo (2002) for independent days. A round trip of less than half a minor unit is neither won"
        " nor lost. Transfers are not results. Where a statistic has no value, its place says why.<br>Made by"
        " Decahertz.</footer>"
    )
