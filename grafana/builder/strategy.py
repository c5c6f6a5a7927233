"""Strategy: equity, P&L and drawdown, round trips and their statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from grafana.builder import style, variables
from grafana.builder.declared import metric, threshold
from grafana.builder.frame import Line, address, dashboard, field, label
from grafana.builder.panels import About, PanelBuilder, distribution, figure, lines
from grafana.builder.queries import (
    IN_RANGE,
    Query,
    chosen,
    history,
    history_sql,
    matching,
    newest,
    newest_sql,
    prom,
    sql,
)
from grafana.builder.style import COUNT, RATIO, WHOLE_MONEY, rising, signed
from grafana.builder.tables import Cell, rows

NAME = "strategy"
_LABELS = matching("recorder", "strategy")
_CHOSEN = (chosen("recorder"), chosen("strategy"))
_BY_STRATEGY = "${__field.labels.strategy}"
MONEY = style.display_of(Unit.MONEY)
R = style.display_of(Unit.R)
_OLD_MARK = threshold("MarkPriceOld")


def strategy() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        NAME,
        "Strategy",
        "Does each strategy earn, at which risk, and is the sample large enough to say so?",
        [variables.recorder(), variables.strategy(), variables.page()],
        [
            variables.fills((chosen("strategy"),)),
            variables.signals((chosen("strategy"),)),
            variables.regimes((f"(strategy IS NULL OR {chosen('strategy')})",)),
            variables.alerts(),
        ],
        [
            Line(4, [(4, panel) for panel in _figures()]),
            Line(9, [(12, _equity()), (12, _pnl())]),
            Line(7, [(8, _drawdown()), (8, _exposure()), (8, _round_trip_pnl())]),
            Line(6, [(24, _statistics())]),
            Line(6, [(24, _portfolio())]),
            Line(6, [(24, _day_statistics())]),
            Line(7, [(16, _range_statistics()), (8, _r_multiples())]),
            Line(6, [(24, _accounts())]),
            Line(8, [(12, _newest_portfolio()), (12, _currencies())]),
        ],
    )


def _figures() -> list[PanelBuilder]:
    equity, daily = metric("strategy", "equity"), metric("strategy", "daily_pnl")
    unrealised, exposure = metric("strategy", "unrealised_pnl"), metric("strategy", "exposure")
    drawdown, breaks = metric("strategy", "drawdown"), metric("strategy", "position_breaks")
    deep = threshold("DrawdownDeep")
    risk = address("risk", "recorder", "strategy")
    return [
        figure(
            About("P&L today", f"Sum over the strategies. {daily.help}"),
            MONEY,
            prom(f"sum({daily.family}{_LABELS})"),
            colours=signed(),
        ),
        figure(
            About("Unrealised", f"Sum over the strategies. {unrealised.help}"),
            MONEY,
            prom(f"sum({unrealised.family}{_LABELS})"),
            colours=signed(),
        ),
        figure(
            About("Equity", f"Sum over the strategies. {equity.help}"),
            WHOLE_MONEY,
            prom(f"sum({equity.family}{_LABELS})"),
        ),
        figure(
            About("Deepest drawdown", f"Of one strategy, relative to its highest equity. {drawdown.help}"),
            RATIO,
            prom(
                f"max({drawdown.family}{_LABELS} / ({equity.family}{_LABELS} + {drawdown.family}{_LABELS}))"
            ),
            colours=rising(deep / 2, deep),
        ),
        figure(
            About("Exposure", f"Sum over the strategies. {exposure.help}", risk, "Risk"),
            WHOLE_MONEY,
            prom(f"sum({exposure.family}{_LABELS})"),
        ),
        figure(
            About("Position breaks", f"Sum over the strategies. {breaks.help}", risk, "Risk"),
            COUNT,
            prom(f"sum({breaks.family}{_LABELS})"),
            colours=rising(1),
            background=True,
            trend=False,
        ),
    ]


def _equity() -> PanelBuilder:
    equity = metric("strategy", "equity")
    inner = history_sql("strategy", {"change": "avg(equity_avg)"}, keys=("strategy",), where=_CHOSEN)
    # Relative to the beginning of the range: strategies of different size fit one axis.
    text = (
        "SELECT time, strategy,\n"
        "    change - first_value(change) OVER (PARTITION BY strategy ORDER BY time) AS change\n"
        f"FROM (\n{inner}\n) AS equity ORDER BY time, strategy"
    )
    about = About("Change in equity", f"Since the begin of the time range. {equity.help}")
    return lines(about, MONEY, sql(text), name=_BY_STRATEGY, calculations=["lastNotNull", "min", "max"])


def _pnl() -> PanelBuilder:
    realised, unrealised = metric("strategy", "realised_pnl"), metric("strategy", "unrealised_pnl")
    total = "avg(realised_pnl_avg + coalesce(unrealised_pnl_avg, 0))"
    query = history("strategy", {"pnl": total}, keys=("strategy",), where=_CHOSEN)
    about = About("P&L", f"Realised and unrealised. {realised.help} {unrealised.help}")
    return lines(about, MONEY, query, name=_BY_STRATEGY, calculations=["lastNotNull", "min", "max"])


def _drawdown() -> PanelBuilder:
    drawdown = metric("strategy", "drawdown")
    query = history("strategy", {"drawdown": "-max(drawdown_max)"}, keys=("strategy",), where=_CHOSEN)
    about = About("Drawdown", f"Below zero; the deepest of each step. {drawdown.help}")
    return lines(about, MONEY, query, name=_BY_STRATEGY, fill=20, maximum=0)


def _exposure() -> PanelBuilder:
    net = metric("strategy", "net_exposure")
    query = history("strategy", {"net": "avg(net_exposure_avg)"}, keys=("strategy",), where=_CHOSEN)
    about = About("Net exposure", net.help, address("risk", "recorder", strategy=label("strategy")), "Risk")
    return lines(about, WHOLE_MONEY, query, name=_BY_STRATEGY)


def _round_trip_pnl() -> PanelBuilder:
    query = sql(
        f"SELECT pnl FROM trades WHERE {' AND '.join((IN_RANGE, *_CHOSEN))} ORDER BY time DESC LIMIT 5000",
        table=True,
    )
    about = About(
        "P&L of round trips", "Distribution of the newest 5,000 round trips in the time range, after fees."
    )
    return distribution(about, MONEY, query, name="round trips")


_ROUND_TRIPS: Mapping[str, Cell] = {
    "trades": Cell(COUNT, "n", width=65),
    "win_rate": Cell(RATIO, "Win rate", width=80),
    "win_rate_lower": Cell(RATIO, "from", width=75),
    "win_rate_upper": Cell(RATIO, "to (95 %)", width=85),
    "profit_factor": Cell(style.Display("none", 2), "Profit factor", width=110),
    "payoff_ratio": Cell(style.Display("none", 2), "Payoff", width=70),
    "kelly": Cell(RATIO, "Kelly", colours=signed(), width=75),
    "expectancy": Cell(MONEY, "Expectancy", colours=signed(), width=95),
    "streak": Cell(COUNT, "Streak", colours=signed(), width=70),
    "r_trades": Cell(COUNT, "n of R", width=70),
    "expectancy_r": Cell(R, "Expectancy in R", colours=signed(), width=130),
    "average_win_r": Cell(R, "Mean win", width=85),
    "average_loss_r": Cell(R, "Mean loss", width=85),
}


def _statistics() -> PanelBuilder:
    missing = _no_value()
    about = About(
        "Statistics of round trips",
        "All round trips since the strategy first appeared, each figure next to the size of its sample. Win"
        " rate"
        " with its Wilson bounds. A click opens the tear sheet with intervals and reasons.",
    )
    return _table(about, _ROUND_TRIPS, missing)


def _portfolio() -> PanelBuilder:
    names = {"pnl": Cell(MONEY, "P&L", colours=signed(), width=100), **_ROUND_TRIPS}
    about = About(
        "Portfolio, by regime",
        "All round trips of all strategies, and those opened in each regime; none: before any was reported.",
    )
    cells = {"regime": Cell(title="Regime", width=125), **names, "missing": Cell(title="No value, because")}
    return rows(about, _by_regime(names, reason=True), cells)


def _newest_portfolio() -> PanelBuilder:
    names = {
        "recent_trades": Cell(COUNT, "n"),
        "recent_win_rate": Cell(RATIO, "Win rate"),
        "recent_profit_factor": Cell(style.Display("none", 2), "Profit factor"),
        "recent_expectancy": Cell(MONEY, "Expectancy", colours=signed()),
        "recent_expectancy_r": Cell(R, "in R", colours=signed()),
    }
    about = About(
        "Newest round trips of the portfolio, by regime",
        "The rolling window of the newest round trips of all strategies, and of those opened in each regime.",
    )
    return rows(about, _by_regime(names), {"regime": Cell(title="Regime", width=125), **names})


def _by_regime(names: Iterable[str], *, reason: bool = False) -> Query:
    """The newest sample of each regime, that of all round trips first."""
    for name in names:
        metric("portfolio", name)
    columns = ", ".join(("regime", *names))
    missing = f", {_no_value()} AS missing" if reason else ""
    inner = newest_sql(
        "portfolio", f"{columns}{missing}, trades AS n", keys=("regime",), where=(chosen("recorder"),)
    )
    shown = f"{columns}, missing" if reason else columns
    return sql(f"SELECT {shown} FROM (\n{inner}\n) AS s ORDER BY regime <> 'all', n DESC", table=True)


def _no_value() -> str:
    """SQL for the reason why statistics of round trips are null."""
    missing = _reason(
        ("profit factor", "profit_factor", "no losing round trip"),
        ("payoff and Kelly", "payoff_ratio", "no winning or no losing one"),
        ("R", "expectancy_r", "no round trip with a known initial risk"),
    )
    return f"CASE WHEN trades = 0 THEN 'no round trip yet' ELSE {missing} END"


def _day_statistics() -> PanelBuilder:
    ratio, seconds = style.Display("none", 2), style.display_of(Unit.SECONDS)
    names = {
        "daily_changes": Cell(COUNT, "n of days", width=85),
        "sharpe": Cell(ratio, "Sharpe", width=75),
        "sharpe_error": Cell(ratio, "Standard error", width=120),
        "sortino": Cell(ratio, "Sortino", width=75),
        "daily_loss_streak": Cell(COUNT, "Losing days", width=100),
        "weekly_pnl": Cell(MONEY, "P&L of the week", colours=signed(), width=130),
        "current_r": Cell(R, "Open R", colours=signed(), width=85),
        "drawdown": Cell(MONEY, "Drawdown", width=95),
        "drawdown_seconds": Cell(seconds, "for", width=90),
        "max_drawdown": Cell(MONEY, "Deepest", width=95),
        "max_drawdown_seconds": Cell(seconds, "Longest", width=90),
    }
    missing = _reason(
        ("Sharpe", "sharpe", "few days, or equal ones"),
        ("Sortino", "sortino", "few days, or none lost"),
        ("drawdown", "drawdown", "equity is not known"),
        ("open R", "current_r", "no open round trip with a known risk"),
    )
    about = About(
        "Statistics of days",
        "Changes of equity by trading day, without transfers, and the falls of the equity curve from its"
        " peaks."
        " The standard error is Lo's: the true ratio is within twice of it in 95 of 100 cases.",
    )
    return _table(about, names, missing)


def _table(about: About, names: Mapping[str, Cell], missing: str) -> PanelBuilder:
    """Figures of each strategy, with the reason for those that have none."""
    for name in names:
        metric("strategy", name)
    columns = f"strategy, {', '.join(names)}, {missing} AS missing"
    query = newest("strategy", columns, keys=("strategy",), where=_CHOSEN)
    report = Cell(
        title="Strategy",
        link=f"${{page:raw}}/api/v1/report/{field('strategy')}",
        link_title="Tear sheet",
        width=125,
    )
    return rows(about, query, {"strategy": report, **names, "missing": Cell(title="No value, because")})


def _reason(*reasons: tuple[str, str, str]) -> str:
    """SQL for the reasons of the columns that are null: what is missing, its column, and why."""
    texts = (f"CASE WHEN {column} IS NULL THEN '{what}: {why}' END" for what, column, why in reasons)
    return f"nullif(concat_ws('; ', {', '.join(texts)}), '')"


def _accounts() -> PanelBuilder:
    names = {
        "realised_pnl": Cell(MONEY, "Realised", colours=signed()),
        "cash_pnl": Cell(MONEY, "of it cash flows", colours=signed(), width=130),
        "transfers": Cell(MONEY, "Transfers"),
        "unconverted_fills": Cell(COUNT, "Fills, no rate", colours=rising(1), width=100),
        "unconverted_cash": Cell(COUNT, "Flows, no rate", colours=rising(1), width=115),
        "undefined_instruments": Cell(COUNT, "Undefined", colours=rising(1, 1e9)),
        "cash_difference": Cell(MONEY, "Reported cash, less ours", width=190),
        "cash_breaks": Cell(COUNT, "Cash breaks", colours=rising(1), width=105),
        "mark_age_seconds": Cell(
            style.display_of(Unit.SECONDS), "Oldest mark", colours=rising(_OLD_MARK / 2, _OLD_MARK), width=100
        ),
    }
    for name in names:
        metric("strategy", name)
    about = About(
        "Money",
        "In the account currency. Fills and cash flows without a rate are in no sum. Undefined: open"
        " positions in"
        " instruments without a definition, counted one to one. Cash breaks: accounts whose reported cash"
        " is not what fills and cash flows since the first report leave.",
    )
    query = newest("strategy", f"strategy, {', '.join(names)}", keys=("strategy",), where=_CHOSEN)
    return rows(about, query, {"strategy": Cell(title="Strategy", width=125), **names})


def _currencies() -> PanelBuilder:
    where = " AND ".join((IN_RANGE, *_CHOSEN))
    query = sql(
        f"""
        SELECT strategy, account, what, currency, count(*) AS n, sum(amount) AS amount,
            sum(amount * rate) AS converted, count(*) FILTER (WHERE rate IS NULL) AS no_rate
        FROM (
            SELECT strategy, account, 'fees' AS what, -fee AS amount,
                coalesce(fee_currency, currency, 'account currency') AS currency,
                CASE WHEN coalesce(fee_currency, currency) IS NULL THEN 1 ELSE fee_rate END AS rate
            FROM (
                SELECT DISTINCT ON (recorder, strategy, account, venue, instrument, order_id, fill_id, kind) *
                FROM fills WHERE fee <> 0 AND {where}
                ORDER BY recorder, strategy, account, venue, instrument, order_id, fill_id, kind, time_ns
            ) AS once
            UNION ALL
            SELECT strategy, account, kind, amount, coalesce(currency, 'account currency'),
                CASE WHEN currency IS NULL THEN 1 ELSE rate END
            FROM (
                SELECT DISTINCT ON (recorder, strategy, account, cash_id) * FROM cash WHERE {where}
                ORDER BY recorder, strategy, account, cash_id, time_ns
            ) AS once
        ) AS flows
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4""",
        table=True,
    )
    about = About(
        "Fees and cash flows by currency",
        "Of the time range: fees of fills, funding, interest, dividends, adjustments and transfers, in their"
        " own"
        " currency and, at the rates of their times, in the account currency. Negative when paid.",
    )
    return rows(
        about,
        query,
        {
            "strategy": Cell(title="Strategy", width=125),
            "account": Cell(title="Account"),
            "what": Cell(title="For"),
            "currency": Cell(title="Currency", width=125),
            "n": Cell(COUNT, "n"),
            "amount": Cell(style.Display("locale", 4), "Amount"),
            "converted": Cell(MONEY, "Converted", colours=signed()),
            "no_rate": Cell(COUNT, "No rate", colours=rising(1)),
        },
    )


def _range_statistics() -> PanelBuilder:
    query = sql(
        f"""
        SELECT strategy, count(*) AS n, sum(pnl) AS pnl, sum(fees) AS fees,
            avg((pnl > 0)::int) AS win_rate,
            sum(pnl) FILTER (WHERE pnl > 0) / nullif(-sum(pnl) FILTER (WHERE pnl < 0), 0) AS profit_factor,
            avg(pnl) AS expectancy, min(pnl) AS worst, max(pnl) AS best, count(r_multiple) AS r_n,
            avg(r_multiple) AS expectancy_r, extract(epoch FROM avg(time - opened_at)) AS held
        FROM trades WHERE {" AND ".join((IN_RANGE, *_CHOSEN))}
        GROUP BY strategy ORDER BY strategy""",
        table=True,
    )
    about = About("Round trips of the time range", "Round trips that closed in the time range.")
    return rows(
        about,
        query,
        {
            "strategy": Cell(
                title="Strategy",
                link=address("orders", "recorder", strategy=field("strategy")),
                link_title="Trades and orders",
                width=125,
            ),
            "n": Cell(COUNT, "n"),
            "pnl": Cell(MONEY, "P&L", colours=signed()),
            "fees": Cell(MONEY, "Fees"),
            "win_rate": Cell(RATIO, "Win rate"),
            "profit_factor": Cell(style.Display("none", 2), "Profit factor", width=105),
            "expectancy": Cell(MONEY, "Expectancy", colours=signed(), width=95),
            "worst": Cell(MONEY, "Worst", colours=signed()),
            "best": Cell(MONEY, "Best", colours=signed()),
            "r_n": Cell(COUNT, "n of R"),
            "expectancy_r": Cell(R, "in R", colours=signed()),
            "held": Cell(style.display_of(Unit.SECONDS), "Held for"),
        },
    )


def _r_multiples() -> PanelBuilder:
    query = sql(
        f"SELECT r_multiple FROM trades WHERE {' AND '.join((IN_RANGE, *_CHOSEN))} AND r_multiple IS NOT NULL"
        " ORDER BY time DESC LIMIT 5000",
        table=True,
    )
    about = About(
        "R multiples",
        "Distribution of the newest 5,000 round trips of the range whose initial risk is known.",
    )
    return distribution(about, R, query, name="round trips")
