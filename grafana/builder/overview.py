"""Overview: is everything all right, on one screen."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder import style, variables
from grafana.builder.declared import alert, metric, threshold
from grafana.builder.frame import Line, address, dashboard, field, label, uid_of
from grafana.builder.panels import LINK_TIME, About, PanelBuilder, figure, lines
from grafana.builder.queries import (
    REAL_ALERTS,
    chosen,
    history,
    matching,
    newest,
    newest_sql,
    prom,
    prom_now,
    sql,
)
from grafana.builder.risk import can_trade
from grafana.builder.style import COUNT, RATIO, WHOLE_MONEY, rising, signed
from grafana.builder.tables import Cell, rows

NAME = "overview"
_RECORDER = matching("recorder")
_TRADING = matching("recorder", "strategy")
_DETAILS = {
    "feeds": ("FeedStale", "FeedMute", "FeedLate", "SequenceGaps", "BookCrossed", "SpreadBlowOut"),
    "execution": (
        "RejectSpike",
        "OrderAckSlow",
        "OrderFillSlow",
        "SlippageHigh",
        "ShortfallHigh",
        "MarkoutAdverse",
        "OrderUnresolved",
        "OrderContradicted",
    ),
    "risk": (
        "DrawdownDeep",
        "DailyLossLimit",
        "RiskLimitBreached",
        "RiskLimitNear",
        "PositionBreak",
        "CashBreak",
    ),
    "strategy": ("StrategySilent", "MarkPriceOld", "MoneyUnconverted"),
    "system": ("EventLoopLag", "ClockOffset", "ClockStepped", "CpuHigh", "MemoryHigh", "DiskFilling"),
}
"""Alerts by the dashboard with the details; of all others that is Recorder self-health."""


def overview() -> Dashboard:
    """The dashboard."""
    return dashboard(
        NAME,
        "Overview",
        "Is everything all right? Each figure links to the dashboard with the details.",
        [variables.recorder(), variables.venue(), variables.strategy()],
        [variables.alerts()],
        [
            Line(4, [(3, panel) for panel in _figures()]),
            Line(
                20, [(11, [(11, _pnl()), (9, _strategies())]), (13, [(6, _alerts()), (14, _instruments())])]
            ),
        ],
    )


def _figures() -> list[PanelBuilder]:
    daily_pnl = metric("strategy", "daily_pnl")
    usage = metric("risk", "usage_ratio")
    verdict = metric("market", "verdict").family
    rejected, submitted = metric("execution", "orders_rejected"), metric("execution", "orders_submitted")
    firing = sql(
        f"""
        SELECT count(*) FILTER (WHERE severity = 'page') AS page,
            count(*) FILTER (WHERE severity <> 'page') AS ticket
        FROM alerts WHERE state = 'firing' AND {REAL_ALERTS} AND {chosen("recorder")}""",
        table=True,
    )
    alerts = figure(
        About("Alerts firing", "Alerts of the watchdog and of Prometheus that fire now, by severity."),
        COUNT,
        firing,
        colours=rising(1),
        name="${__field.name}",
        trend=False,
    )
    return [
        alerts.override_by_name("ticket", Cell(colours=rising(1, 1e9)).colour_properties()),
        figure(
            About(
                "Recorder",
                "Health of the least healthy component of all recorders.",
                address("recorder", "recorder"),
                "Recorder self-health",
            ),
            style.PLAIN,
            prom(f"min(decahertz_component_health{_RECORDER})"),
            mappings=[style.HEALTH],
            colours=style.thresholds((0.5, style.DEGRADED), (1, style.OK), base=style.FAILED),
            background=True,
            trend=False,
        ),
        figure(
            About(
                "Feeds not live",
                "Instruments whose feed verdict is stale, mute, gap or closed.",
                address("feeds", "recorder", "venue"),
                "Feed health",
            ),
            COUNT,
            prom_now(
                f"sum({verdict}"
                f"{matching('recorder', 'venue', decahertz_market_verdict='stale|mute|gap|closed')})"
            ),
            colours=rising(1),
            background=True,
            trend=False,
        ),
        figure(
            About(
                "P&L today",
                f"Sum over the strategies. {daily_pnl.help}",
                address("strategy", "recorder", "strategy"),
                "Strategy",
            ),
            daily_pnl.display,
            prom(f"sum({daily_pnl.family}{_TRADING})"),
            colours=signed(),
        ),
        can_trade(address("risk", "recorder", "strategy"), "Risk"),
        figure(
            About(
                "Risk limit used",
                f"Highest of all measures. {usage.help}",
                address("risk", "recorder", "strategy"),
                "Risk",
            ),
            usage.display,
            prom(f"max({usage.family}{_TRADING})"),
            colours=rising(0.8 * threshold("RiskLimitBreached"), threshold("RiskLimitBreached")),
        ),
        figure(
            About(
                "Orders rejected",
                "Share of the orders of the last 5 minutes that venues rejected.",
                address("execution", "recorder", "venue", "strategy"),
                "Execution quality",
            ),
            RATIO,
            prom(
                f"sum(clamp_min(delta({rejected.family}{_TRADING}[5m]), 0))"
                f" / sum(increase({submitted.family}{_TRADING}[5m]))"
            ),
            colours=rising(threshold("RejectSpike") / 2, threshold("RejectSpike")),
        ),
        figure(
            About(
                "Rows lost",
                "Events and samples that were dropped in the last hour, for whatever reason.",
                address("recorder", "recorder"),
                "Recorder self-health",
            ),
            COUNT,
            prom(f"sum(increase(decahertz_ledger_dropped_total{_RECORDER}[1h])) or vector(0)"),
            colours=rising(1),
            background=True,
        ),
    ]


def _pnl() -> PanelBuilder:
    realised, unrealised = metric("strategy", "realised_pnl"), metric("strategy", "unrealised_pnl")
    about = About(
        "P&L by strategy",
        f"Realised and unrealised. {realised.help} {unrealised.help}",
        address("strategy", "recorder", strategy=label("strategy")),
        "Strategy",
    )
    query = history(
        "strategy",
        {"pnl": "avg(realised_pnl_avg + coalesce(unrealised_pnl_avg, 0))"},
        keys=("strategy",),
        where=(chosen("recorder"), chosen("strategy")),
    )
    return lines(
        about, realised.display, query, name="${__field.labels.strategy}", calculations=["lastNotNull"]
    )


def _alerts() -> PanelBuilder:
    details = " ".join(
        f"WHEN name IN ({', '.join(map(repr, map(alert, names)))}) THEN '/d/{uid_of(name)}'"
        for name, names in _DETAILS.items()
    )
    details += f" ELSE '/d/{uid_of('recorder')}'"
    query = sql(
        f"""
        SELECT time, severity, state, name, summary, origin,
            CASE WHEN runbook_url ~ '^https?://' THEN runbook_url {details} END AS details
        FROM alerts
        WHERE (state = 'firing' OR $__timeFilter(time)) AND {REAL_ALERTS} AND {chosen("recorder")}
        ORDER BY state, starts_ns DESC LIMIT 100""",
        table=True,
    )
    return rows(
        About(
            "Alerts",
            "Alerts that fire, then those that began in the time range; without the dead man's switch, which"
            " always fires. A click opens the runbook, if the docs have an address, or the dashboard with the"
            " details.",
        ),
        query,
        {
            "time": Cell(style.AGO, "Since", width=125),
            "severity": Cell(title="Severity", mapping=style.SEVERITY, width=90),
            "state": Cell(title="State", mapping=style.ALERT_STATE, width=80),
            "name": Cell(
                title="Alert",
                link=f"${{__data.fields.details}}?{LINK_TIME}&${{recorder:queryparam}}",
                link_title="Details",
                width=150,
            ),
            "summary": Cell(title="Summary"),
            "origin": Cell(title="Origin", width=95),
            "details": Cell(hidden=True),
        },
    )


def _strategies() -> PanelBuilder:
    money = metric("strategy", "equity").display
    columns = (
        "strategy, equity, daily_pnl, unrealised_pnl, drawdown / nullif(equity + drawdown, 0) AS drawdown,"
        " exposure, open_positions, position_breaks"
    )
    inner = newest_sql(
        "strategy", columns, keys=("strategy",), where=(chosen("recorder"), chosen("strategy"))
    )
    regime = (
        "(SELECT regime FROM regimes AS r\n"
        "    WHERE {0} AND time <= $__timeTo() ORDER BY time_ns DESC LIMIT 1)"
    )
    query = sql(
        f"SELECT strategy, coalesce({regime.format('r.strategy = s.strategy')},\n"
        f"    {regime.format('r.strategy IS NULL')}) AS regime,\n"
        "    equity, daily_pnl, unrealised_pnl, drawdown, exposure, open_positions, position_breaks\n"
        f"FROM (\n{inner}\n) AS s ORDER BY strategy",
        table=True,
    )
    return rows(
        About(
            "Strategies",
            "Newest sample of each strategy in the time range, and the regime that it, or else the desk,"
            " reported."
            " A click opens the strategy.",
        ),
        query,
        {
            "strategy": Cell(
                title="Strategy",
                link=address("strategy", "recorder", strategy=field("strategy")),
                link_title="Strategy",
                width=115,
            ),
            "regime": Cell(title="Regime", width=80),
            "equity": Cell(WHOLE_MONEY, "Equity"),
            "daily_pnl": Cell(money, "P&L today", colours=signed()),
            "unrealised_pnl": Cell(money, "Unrealised", colours=signed()),
            "drawdown": Cell(
                RATIO,
                "Drawdown",
                colours=rising(threshold("DrawdownDeep") / 2, threshold("DrawdownDeep")),
            ),
            "exposure": Cell(WHOLE_MONEY, "Exposure"),
            "open_positions": Cell(COUNT, "Positions", width=80),
            "position_breaks": Cell(COUNT, "Breaks", colours=rising(1), width=65),
        },
    )


def _instruments() -> PanelBuilder:
    columns = (
        "venue, instrument, verdict, replace(verdict_reason, '_', ' ') AS reason, bid, ask, spread_bps,"
        " age_seconds, gaps"
    )
    query = newest(
        "market", columns, keys=("venue", "instrument"), where=(chosen("recorder"), chosen("venue"))
    )
    price = metric("market", "bid").display
    seconds = metric("market", "age_seconds").display
    stale = threshold("FeedStale")
    return rows(
        About(
            "Instruments", "Newest sample of each instrument in the time range. A click opens the instrument."
        ),
        query,
        {
            "venue": Cell(title="Venue"),
            "instrument": Cell(
                title="Instrument",
                link=address("market", "recorder", venue=field("venue"), instrument=field("instrument")),
                link_title="Market",
                width=95,
            ),
            "verdict": Cell(title="Feed", mapping=style.VERDICT, width=75),
            "reason": Cell(title="Because", width=135),
            "bid": Cell(price, "Bid", colours=style.thresholds(base=style.BUY), width=100),
            "ask": Cell(price, "Ask", colours=style.thresholds(base=style.SELL), width=100),
            "spread_bps": Cell(metric("market", "spread_bps").display, "Spread"),
            "age_seconds": Cell(seconds, "Age", colours=rising(stale / 2, stale)),
            "gaps": Cell(COUNT, "Missed", colours=rising(1)),
        },
    )
