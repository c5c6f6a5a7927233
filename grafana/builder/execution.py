"""Execution quality: latencies, slippage, rejections and open orders."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from grafana.builder import style, variables
from grafana.builder.declared import metric, threshold
from grafana.builder.frame import Line, address, dashboard, field
from grafana.builder.overrides import coloured, limit_line
from grafana.builder.panels import About, PanelBuilder, bars, figure, gauges, heat, lines
from grafana.builder.queries import IN_RANGE, chosen, history, matching, prom, prom_heatmap, sql
from grafana.builder.style import COUNT, RATIO, rising
from grafana.builder.tables import Cell, rows

NAME = "execution"
_LABELS = matching("recorder", "strategy", "venue")
_CHOSEN = (chosen("recorder"), chosen("strategy"), chosen("venue"))
_KEYS = ("strategy", "venue")
_BY_KEY = "${__field.labels.strategy} on ${__field.labels.venue}"
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
            Line(8, [(8, _slippage()), (8, _outcomes()), (8, _rejects())]),
            Line(8, [(24, _open_orders())]),
        ],
    )


def _figures() -> list[PanelBuilder]:
    opened, rejected = metric("execution", "open_orders"), metric("execution", "orders_rejected")
    submitted, ack = metric("execution", "orders_submitted"), metric("execution", "submit_to_ack_p99")
    fill, slippage = metric("execution", "submit_to_fill_p50"), metric("execution", "slippage_arrival_bps")
    maker = metric("execution", "maker_ratio")
    return [
        figure(
            About("Orders rejected", "Share of the orders of the last 5 minutes that venues rejected."),
            RATIO,
            prom(
                f"sum(increase({rejected.family}{_LABELS}[5m]))"
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
            About("Slippage", f"Highest of the strategies and venues. {slippage.help}"),
            BPS,
            prom(f"max({slippage.family}{_LABELS})"),
            colours=rising(threshold("SlippageHigh") / 2, threshold("SlippageHigh")),
        ),
        figure(About("Open orders", opened.help), COUNT, prom(f"sum({opened.family}{_LABELS})")),
        figure(
            About("Maker share", f"Mean of the strategies and venues. {maker.help}"),
            RATIO,
            prom(f"avg({maker.family}{_LABELS})"),
        ),
    ]


def _percentiles() -> PanelBuilder:
    ack, fill = metric("execution", "submit_to_ack_p99"), metric("execution", "submit_to_fill_p99")
    query = history(
        "execution",
        {
            "acknowledged p50": "max(submit_to_ack_p50_max)",
            "acknowledged p99": "max(submit_to_ack_p99_max)",
            "filled p50": "max(submit_to_fill_p50_max)",
            "filled p99": "max(submit_to_fill_p99_max)",
        },
        keys=(),
        where=_CHOSEN,
    )
    about = About(
        "Latency from submission",
        f"Of the slowest strategy and venue. {ack.help} {fill.help} The time to a fill depends on the order.",
    )
    panel = lines(about, SECONDS, query, minimum=0, calculations=["lastNotNull", "max"])
    colours = {
        "acknowledged p50": "#8AB8FF",
        "acknowledged p99": style.BUY,
        "filled p50": "#FFCB7D",
        "filled p99": style.SELL,
    }
    for name, colour in colours.items():
        panel = panel.override_by_name(*coloured(name, colour))
    return panel


def _heat_map() -> PanelBuilder:
    family = "decahertz_execution_submit_to_ack_seconds_bucket"
    about = About("Acknowledgement latency", "Orders by the time from submission to acceptance.")
    return heat(about, SECONDS, prom_heatmap(f"sum by (le) (increase({family}{_LABELS}[$__rate_interval]))"))


def _slippage() -> PanelBuilder:
    arrival = metric("execution", "slippage_arrival_bps")
    query = history("execution", {"slippage": "avg(slippage_arrival_bps_avg)"}, keys=_KEYS, where=_CHOSEN)
    about = About("Slippage at arrival", arrival.help)
    return limit_line(lines(about, BPS, query, name=_BY_KEY), threshold("SlippageHigh"))


def _outcomes() -> PanelBuilder:
    queries = [
        prom(
            f"sum(increase({metric('execution', name).family}{_LABELS}[$__rate_interval]))",
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
