"""Strategy: equity, P&L and drawdown, round trips and their statistics."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from grafana.builder import style, variables
from grafana.builder.declared import metric, threshold
from grafana.builder.frame import Line, address, dashboard, field, label
from grafana.builder.panels import About, PanelBuilder, distribution, figure, lines
from grafana.builder.queries import IN_RANGE, chosen, history, history_sql, matching, newest, prom, sql
from grafana.builder.style import COUNT, RATIO, WHOLE_MONEY, rising, signed
from grafana.builder.tables import Cell, rows

NAME = "strategy"
_LABELS = matching("recorder", "strategy")
_CHOSEN = (chosen("recorder"), chosen("strategy"))
_BY_STRATEGY = "${__field.labels.strategy}"
MONEY = style.display_of(Unit.MONEY)
R = style.display_of(Unit.R)


def strategy() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        NAME,
        "Strategy",
        "Does each strategy earn, at which risk, and is the sample large enough to say so?",
        [variables.recorder(), variables.strategy()],
        [
            variables.fills((chosen("strategy"),)),
            variables.signals((chosen("strategy"),)),
            variables.alerts(),
        ],
        [
            Line(4, [(4, panel) for panel in _figures()]),
            Line(9, [(12, _equity()), (12, _pnl())]),
            Line(7, [(8, _drawdown()), (8, _exposure()), (8, _round_trip_pnl())]),
            Line(6, [(24, _statistics())]),
            Line(7, [(16, _range_statistics()), (8, _r_multiples())]),
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


def _statistics() -> PanelBuilder:
    names = {
        "trades": Cell(COUNT, "n"),
        "win_rate": Cell(RATIO, "Win rate"),
        "win_rate_lower": Cell(RATIO, "at least (95 %)", width=125),
        "profit_factor": Cell(style.Display("none", 2), "Profit factor", width=110),
        "expectancy": Cell(MONEY, "Expectancy", colours=signed()),
        "r_trades": Cell(COUNT, "n of R"),
        "expectancy_r": Cell(R, "Expectancy in R", colours=signed(), width=130),
        "average_win_r": Cell(R, "Mean win"),
        "average_loss_r": Cell(R, "Mean loss"),
        "streak": Cell(COUNT, "Streak", colours=signed()),
        "max_drawdown": Cell(MONEY, "Deepest drawdown", width=150),
        "daily_changes": Cell(COUNT, "n of days"),
        "sharpe": Cell(style.Display("none", 2), "Sharpe"),
        "sortino": Cell(style.Display("none", 2), "Sortino"),
    }
    for name in names:
        metric("strategy", name)
    query = newest("strategy", f"strategy, {', '.join(names)}", keys=("strategy",), where=_CHOSEN)
    about = About(
        "Statistics",
        "All round trips since the strategy first appeared, each figure next to the size of its sample."
        " Sharpe and Sortino need daily changes of equity and are empty on the first days.",
    )
    return rows(about, query, {"strategy": Cell(title="Strategy", width=125), **names})


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
