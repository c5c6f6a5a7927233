"""Execution quality: latencies, slippage, rejections and open orders."""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from grafana.builder import style, variables
from grafana.builder.declared import metric, threshold
from grafana.builder.frame import Line, address, dashboard, field
from grafana.builder.overrides import coloured, limit_line
from grafana.builder.panels import About, PanelBuilder, bars, figure, gauges, grouped, heat, lines
from grafana.builder.queries import (
    IN_RANGE,
    chosen,
    history,
    matching,
    newest,
    newest_sql,
    prom,
    prom_heatmap,
    sql,
)
from grafana.builder.style import COUNT, RATIO, rising
from grafana.builder.tables import Cell, rows

NAME = "execution"
_LABELS = matching("recorder", "strategy", "venue")
_CHOSEN = (chosen("recorder"), chosen("strategy"), chosen("venue"))
_KEYS = ("strategy", "venue")
_BY_KEY = "${__field.labels.strategy} on ${__field.labels.venue}"
_LEGS = {
    "decision to submission": "signal_to_submit",
    "queue": "queue",
    "limiter": "limiter",
    "submission to ack": "submit_to_ack",
    "ack to first fill": "ack_to_fill",
    "submission to first fill": "submit_to_fill",
    "submission to last fill": "submit_to_last_fill",
}
"""Legs of an order's life by the names that panels show."""
_SHADES = ("#C7E3FF", "#8AB8FF", "#5794F2", "#3274D9", "#1F60C4")
"""Horizons of markouts, the longer the darker."""
SECONDS = style.display_of(Unit.SECONDS)
BPS = style.display_of(Unit.BASIS_POINTS)
_OUTCOMES = {
    "orders_filled": style.OK,
    "orders_cancelled": style.NEUTRAL,
    "orders_rejected": style.FAILED,
    "orders_expired": style.DEGRADED,
}


def execution() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        NAME,
        "Execution quality",
        "How fast and at which cost do orders become fills?",
        [variables.recorder(), variables.venue(), variables.strategy()],
        [variables.fills((chosen("strategy"), chosen("venue"))), variables.alerts()],
        [
            Line(4, [(4, panel) for panel in _figures()]),
            Line(9, [(12, _percentiles()), (12, _heat_map())]),
            Line(8, [(17, _costs()), (7, _markouts())]),
            Line(8, [(12, _slippage()), (12, _outcomes())]),
            Line(8, [(8, _rejects()), (16, _legs())]),
            Line(7, [(24, _quality())]),
            Line(8, [(24, _open_orders())]),
        ],
    )


def _figures() -> list[PanelBuilder]:
    unresolved, rejected = metric("execution", "unresolved_orders"), metric("execution", "orders_rejected")
    submitted, ack = metric("execution", "orders_submitted"), metric("execution", "submit_to_ack_p99")
    fill, shortfall = metric("execution", "submit_to_fill_p50"), metric("execution", "shortfall_bps")
    conflicts = metric("execution", "order_conflicts")
    return [
        figure(
            About("Orders rejected", "Share of the orders of the last 5 minutes that venues rejected."),
            RATIO,
            prom(
                f"sum(clamp_min(delta({rejected.family}{_LABELS}[5m]), 0))"
                f" / sum(increase({submitted.family}{_LABELS}[5m]))"
            ),
            colours=rising(threshold("RejectSpike") / 2, threshold("RejectSpike")),
        ),
        figure(
            About("Acknowledgement p99", f"Slowest strategy and venue. {ack.help}"),
            SECONDS,
            prom(f"max({ack.family}{_LABELS})"),
            colours=rising(threshold("OrderAckSlow") / 2, threshold("OrderAckSlow")),
        ),
        figure(
            About("First fill, median", f"Slowest strategy and venue. {fill.help}"),
            SECONDS,
            prom(f"max({fill.family}{_LABELS})"),
            colours=rising(threshold("OrderFillSlow") / 2, threshold("OrderFillSlow")),
        ),
        figure(
            About("Shortfall", f"Highest of the strategies and venues. {shortfall.help}"),
            BPS,
            prom(f"max({shortfall.family}{_LABELS})"),
            colours=rising(threshold("ShortfallHigh") / 2, threshold("ShortfallHigh")),
        ),
        figure(
            About("Unresolved orders", unresolved.help),
            COUNT,
            prom(f"sum({unresolved.family}{_LABELS})"),
            colours=rising(1),
            background=True,
            trend=False,
        ),
        figure(
            About("Contradictions", f"In the last 15 minutes. {conflicts.help}"),
            COUNT,
            prom(f"sum(increase({conflicts.family}{_LABELS}[15m]))"),
            colours=rising(1),
            background=True,
            trend=False,
        ),
    ]


def _percentiles() -> PanelBuilder:
    for leg in _LEGS.values():
        metric("execution", f"{leg}_p99")
    columns = {name: f"max({leg}_p99_max)" for name, leg in _LEGS.items()}
    query = history("execution", columns, keys=(), where=_CHOSEN)
    about = About(
        "Latency by leg, 99th percentile",
        "Of the slowest strategy and venue, over the trailing window of the collector. Queue and limiter are"
        " waits"
        " of the trading process before the submission. The time to a fill depends on the order.",
    )
    panel = lines(about, SECONDS, query, minimum=0, calculations=["lastNotNull", "max"])
    colours = ("#8E8E8E", "#B877D9", "#73BF69", style.BUY, style.SELL, "#FFCB7D", "#A352CC")
    for name, colour in zip(_LEGS, colours, strict=True):
        panel = panel.override_by_name(*coloured(name, colour))
    return panel


def _legs() -> PanelBuilder:
    values = ", ".join(
        f"({place}, '{name}', {leg}_observations, {leg}_p50, {leg}_p99)"
        for place, (name, leg) in enumerate(_LEGS.items())
    )
    columns = ", ".join(f"{leg}_{part}" for leg in _LEGS.values() for part in ("observations", "p50", "p99"))
    inner = newest_sql("execution", f"strategy, venue, {columns}", keys=_KEYS, where=_CHOSEN)
    query = sql(
        f"SELECT strategy, venue, leg, n, p50, p99\nFROM (\n{inner}\n) AS newest\n"
        f"CROSS JOIN LATERAL (VALUES {values}) AS legs (place, leg, n, p50, p99)\n"
        "WHERE n > 0 ORDER BY strategy, venue, place",
        table=True,
    )
    about = About(
        "Latency by leg",
        "Median and 99th percentile over the trailing window, with the number of observations.",
    )
    return rows(
        about,
        query,
        {
            "strategy": Cell(title="Strategy", width=125),
            "venue": Cell(title="Venue", width=95),
            "leg": Cell(title="Leg", width=180),
            "n": Cell(COUNT, "n"),
            "p50": Cell(SECONDS, "Median"),
            "p99": Cell(SECONDS, "p99"),
        },
    )


def _costs() -> PanelBuilder:
    slippage, worst = threshold("SlippageHigh"), threshold("ShortfallHigh")
    cost = style.thresholds((1e-9, style.SELL), base=style.TEXT)
    names = {
        "slippage_decision_observations": Cell(COUNT, "n", width=60),
        "slippage_decision_bps": Cell(BPS, "vs decision", colours=cost, width=100),
        "slippage_arrival_observations": Cell(COUNT, "n ", width=60),
        "slippage_arrival_bps": Cell(BPS, "vs arrival", colours=rising(slippage / 2, slippage), width=100),
        "shortfall_observations": Cell(COUNT, "n  ", width=60),
        "shortfall_bps": Cell(BPS, "Shortfall", colours=rising(worst / 2, worst), width=100),
        "shortfall_delay_bps": Cell(BPS, "Delay", width=85),
        "shortfall_trading_bps": Cell(BPS, "Trading", width=85),
        "shortfall_opportunity_bps": Cell(BPS, "Opportunity", width=105),
        "shortfall_fees_bps": Cell(BPS, "Fees", width=85),
    }
    for name in names:
        metric("execution", name)
    about = About(
        "Slippage and shortfall",
        "Slippage against the price at the decision and against the mid at submission, and the implementation"
        " shortfall of finished orders with its four parts, which add up. Means by value over the trailing"
        " window,"
        " each after its number of orders; positive is a cost.",
    )
    return _by_key(about, names)


def _markouts() -> PanelBuilder:
    horizons = {"100 ms": "100ms", "1 s": "1s", "5 s": "5s", "30 s": "30s", "5 min": "5m"}
    markout = metric("execution", "markout_5s_bps")
    columns = ", ".join(f'markout_{name}_bps AS "{title}"' for title, name in horizons.items())
    query = newest(
        "execution", f"strategy || ' on ' || venue AS strategy, {columns}", keys=_KEYS, where=_CHOSEN
    )
    about = About(
        "Markouts",
        "Mean move of the mid after the fills, weighted by value, at five horizons over the trailing window;"
        " below"
        f" zero the market went against the fills. As for 5 s: {markout.help}",
    )
    panel = grouped(about, BPS, query, category="strategy")
    for title, colour in zip(horizons, _SHADES, strict=True):
        panel = panel.override_by_name(*coloured(title, colour))
    return panel


def _quality() -> PanelBuilder:
    names = {
        "orders_submitted": Cell(COUNT, "Orders"),
        "open_orders": Cell(COUNT, "Open", width=60),
        "fill_ratio": Cell(RATIO, "Filled"),
        "cancel_ratio": Cell(RATIO, "Cancelled", width=85),
        "reject_ratio": Cell(RATIO, "Rejected", width=80),
        "maker_ratio": Cell(RATIO, "Maker"),
        "commissions": Cell(style.display_of(Unit.MONEY), "Fees"),
        "unpriced_fills": Cell(COUNT, "No rate", colours=rising(1), width=75),
        "late_events": Cell(COUNT, "Late", colours=rising(1, 1e9), width=60),
        "duplicate_fills": Cell(COUNT, "Repeated", width=85),
        "negative_latencies": Cell(COUNT, "Negative", colours=rising(1, 1e9), width=80),
        "markouts_skipped": Cell(COUNT, "No markout", width=95),
    }
    for name in names:
        metric("execution", name)
    about = About(
        "Orders by strategy and venue",
        "Since the strategy first appeared: shares of the finished orders, fees, and the reports that the"
        " figures"
        " leave out or doubt: fills without a rate, events of forgotten orders, fills reported twice,"
        " latencies"
        " below zero (two clocks disagree), markouts not measured.",
    )
    return _by_key(about, names)


def _by_key(about: About, names: Mapping[str, Cell]) -> PanelBuilder:
    query = newest("execution", f"strategy, venue, {', '.join(names)}", keys=_KEYS, where=_CHOSEN)
    strategy = Cell(
        title="Strategy",
        link=address("strategy", "recorder", strategy=field("strategy")),
        link_title="Strategy",
        width=125,
    )
    return rows(about, query, {"strategy": strategy, "venue": Cell(title="Venue", width=95), **names})


def _heat_map() -> PanelBuilder:
    family = "decahertz_execution_submit_to_ack_seconds_bucket"
    about = About("Acknowledgement latency", "Orders by the time from submission to acceptance.")
    return heat(about, SECONDS, prom_heatmap(f"sum by (le) (increase({family}{_LABELS}[$__rate_interval]))"))


def _slippage() -> PanelBuilder:
    arrival = metric("execution", "slippage_arrival_bps")
    query = history("execution", {"slippage": "avg(slippage_arrival_bps)"}, keys=_KEYS, where=_CHOSEN)
    about = About("Slippage at arrival", arrival.help)
    return limit_line(lines(about, BPS, query, name=_BY_KEY), threshold("SlippageHigh"))


def _outcomes() -> PanelBuilder:
    queries = [
        prom(
            f"sum(clamp_min(delta({metric('execution', name).family}{_LABELS}[$__rate_interval]), 0))",
            name.removeprefix("orders_"),
            ref=ref,
        )
        for ref, name in zip("ABCD", _OUTCOMES, strict=True)
    ]
    panel = bars(
        About("Orders by outcome", "Orders that reached a final state, in each step."), COUNT, *queries
    )
    for name, colour in _OUTCOMES.items():
        panel = panel.override_by_name(*coloured(name.removeprefix("orders_"), colour))
    return panel.max_data_points(100)


def _rejects() -> PanelBuilder:
    query = sql(
        f"""
        SELECT coalesce(reason, 'no reason given') AS metric, count(*) AS rejected
        FROM order_events
        WHERE state = 'rejected' AND {" AND ".join((IN_RANGE, *_CHOSEN))}
        GROUP BY 1 ORDER BY 2 DESC LIMIT 12""",
        table=True,
    )
    about = About(
        "Rejections by reason", "Orders of the time range that the venue rejected, by the reason it gave."
    )
    return gauges(about, COUNT, query, colours=style.thresholds(base=style.FAILED))


def _open_orders() -> PanelBuilder:
    query = sql(
        f"""
        SELECT time, strategy, venue, instrument, side, state, quantity, filled_quantity, price, order_type,
            order_id, greatest(0, extract(epoch FROM $__timeTo() - time)) AS unchanged
        FROM orders
        WHERE NOT is_final AND {" AND ".join(_CHOSEN)}
        ORDER BY time LIMIT 200""",
        table=True,
    )
    unresolved = threshold("OrderUnresolved")
    return rows(
        About(
            "Open orders", "Orders without a final state, the one without news for the longest time first."
        ),
        query,
        order_cells()
        | {"unchanged": Cell(SECONDS, "No news for", colours=style.thresholds((unresolved, style.DEGRADED)))},
    )


def order_cells() -> dict[str, Cell]:
    """Columns of tables with orders."""
    quantity, price = style.display_of(Unit.QUANTITY), style.display_of(Unit.PRICE)
    return {
        "time": Cell(style.TIME, "Time", width=165),
        "strategy": Cell(
            title="Strategy",
            link=address("strategy", "recorder", strategy=field("strategy")),
            link_title="Strategy",
            width=130,
        ),
        "venue": Cell(title="Venue", width=100),
        "instrument": Cell(
            title="Instrument",
            link=address("market", "recorder", venue=field("venue"), instrument=field("instrument")),
            link_title="Market",
            width=100,
        ),
        "side": Cell(title="Side", mapping=style.SIDE, width=75),
        "state": Cell(title="State", mapping=style.ORDER_STATE, width=115),
        "quantity": Cell(quantity, "Quantity", width=85),
        "filled_quantity": Cell(quantity, "Filled", width=85),
        "price": Cell(price, "Price", width=105),
        "order_type": Cell(title="Type", width=70),
        "reason": Cell(title="Reason"),
        "order_id": Cell(
            title="Order",
            link=address("orders", "recorder", "venue", "strategy", order=field("order_id")),
            link_title="The order's life",
            width=225,
        ),
    }
