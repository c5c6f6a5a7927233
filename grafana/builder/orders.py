"""Trades and orders: the records themselves, newest first."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from grafana.builder import style, variables
from grafana.builder.execution import order_cells
from grafana.builder.frame import Line, dashboard, field, uid_of
from grafana.builder.panels import About, PanelBuilder, bars
from grafana.builder.queries import IN_RANGE, chosen, history_sql, sql
from grafana.builder.style import COUNT, rising, signed
from grafana.builder.tables import Cell, rows

NAME = "orders"
_CHOSEN = tuple(map(chosen, ("recorder", "strategy", "venue", "instrument")))
_MOST = 200
_NEWEST = f"The newest {_MOST} of the time range."
_WHERE = " AND ".join((IN_RANGE, *_CHOSEN))
# An order that a link names may be older or newer than the time range.
_OF_ORDERS = " AND ".join(
    (f"(order_id = ${{order:sqlstring}} OR ${{order:sqlstring}} = '' AND {IN_RANGE})", *_CHOSEN)
)
_SLIPPAGE = (
    "CASE side WHEN 'buy' THEN 10000 ELSE -10000 END * (average_price - arrival_price)"
    " / nullif(arrival_price, 0)"
)
MONEY = style.display_of(Unit.MONEY)
QUANTITY = style.display_of(Unit.QUANTITY)
PRICE = style.display_of(Unit.PRICE)


def orders() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        NAME,
        "Trades and orders",
        "Round trips, orders, fills and signals of the time range. A click on an order shows its life.",
        [
            variables.recorder(),
            variables.venue(),
            variables.instrument(start_with_all=True),
            variables.strategy(),
            variables.order(),
        ],
        [variables.alerts()],
        [
            Line(6, [(24, _activity())]),
            Line(10, [(24, _round_trips())]),
            Line(10, [(24, _orders())]),
            Line(8, [(24, _life())]),
            Line(8, [(24, _fills())]),
            Line(8, [(24, _signals())]),
        ],
    )


def _cells(*more: tuple[str, Cell]) -> dict[str, Cell]:
    return order_cells() | dict(more)


def _activity() -> PanelBuilder:
    where = (chosen("recorder"), chosen("strategy"))
    counted = history_sql(
        "strategy",
        {"fills": "max(fills)", "trades": "max(trades)", "signals": "max(signals)"},
        keys=("recorder", "strategy"),
        where=where,
        tier="decahertz_tier",
    )
    increase = "greatest(0, {0} - lag({0}) OVER (PARTITION BY recorder, strategy ORDER BY time)) AS {0}"
    columns = ", ".join(increase.format(name) for name in ("signals", "fills", "trades"))
    query = sql(
        f'SELECT time, sum(signals) AS signals, sum(fills) AS fills, sum(trades) AS "round trips"\n'
        f"FROM (\nSELECT time, {columns}\nFROM (\n{counted}\n) AS counts\n) AS increases\n"
        "GROUP BY 1 ORDER BY 1"
    )
    about = About(
        "Activity", "Signals, fills and finished round trips of the chosen strategies in each step."
    )
    return bars(about, COUNT, query).max_data_points(120)


def _round_trips() -> PanelBuilder:
    query = sql(
        f"""
        SELECT time, strategy, venue, instrument, side, quantity, entry_price, exit_price, fees, pnl,
            mae, mfe, r_multiple, settled_pnl, currency, reason,
            extract(epoch FROM time - opened_at)::float8 AS held, fills, opened_at, trade_id
        FROM trades WHERE {_WHERE}
        ORDER BY time DESC LIMIT {_MOST}""",
        table=True,
    )
    # The chart of the instrument from the opening to the closing fill.
    span = "from=${__data.fields.opened_at.numeric}&to=${__data.fields.time.numeric}"
    chart = (
        f"/d/{uid_of('market')}?{span}&${{recorder:queryparam}}&var-venue={field('venue')}"
        f"&var-instrument={field('instrument')}"
    )
    return rows(
        About(
            "Round trips",
            f"Closed round trips. {_NEWEST} A click on the instrument opens its chart of that time.",
        ),
        query,
        _cells(
            (
                "instrument",
                Cell(title="Instrument", link=chart, link_title="Market during the round trip", width=100),
            ),
            ("entry_price", Cell(PRICE, "Entry", width=105)),
            ("exit_price", Cell(PRICE, "Exit", width=105)),
            ("fees", Cell(MONEY, "Fees", width=80)),
            ("pnl", Cell(MONEY, "P&L", colours=signed(), width=100)),
            ("mae", Cell(MONEY, "Worst", width=90)),
            ("mfe", Cell(MONEY, "Best", width=90)),
            ("r_multiple", Cell(style.display_of(Unit.R), "R", colours=signed(), width=90)),
            ("settled_pnl", Cell(MONEY, "Settled", width=90)),
            ("currency", Cell(title="in", width=60)),
            ("reason", Cell(title="No P&L, because", width=130)),
            ("held", Cell(style.display_of(Unit.SECONDS), "Held for", width=90)),
            ("fills", Cell(COUNT, "Fills", width=60)),
            ("opened_at", Cell(hidden=True)),
            ("trade_id", Cell(title="Round trip")),
        ),
    )


def _orders() -> PanelBuilder:
    query = sql(
        f"""
        SELECT time, strategy, venue, instrument, side, state, quantity, executed_quantity AS filled_quantity,
            price, average_price, {_SLIPPAGE} AS slippage,
            (accepted_ns - submitted_ns) / 1e9 AS acknowledged,
            (first_fill_ns - submitted_ns) / 1e9 AS first_fill,
            (last_fill_ns - first_fill_ns) / 1e9 AS last_fill, nullif(contradictions, 0) AS contradictions,
            reason, order_id
        FROM orders WHERE {_OF_ORDERS}
        ORDER BY time DESC LIMIT {_MOST}""",
        table=True,
    )
    seconds = style.display_of(Unit.SECONDS)
    return rows(
        About(
            "Orders",
            "State of each order by its changes and fills, with its slippage against the mid at submission"
            " (positive"
            " is a cost) and the times from submission to ack and first fill, and on to the last fill."
            f" {_NEWEST}",
        ),
        query,
        _cells(
            ("average_price", Cell(PRICE, "Average", width=105)),
            ("slippage", Cell(style.display_of(Unit.BASIS_POINTS), "Slippage", width=95)),
            ("acknowledged", Cell(seconds, "Ack", width=80)),
            ("first_fill", Cell(seconds, "First fill", width=80)),
            ("last_fill", Cell(seconds, "to last", width=80)),
            ("contradictions", Cell(COUNT, "Contradicts", colours=rising(1), width=95)),
        ),
    )


def _life() -> PanelBuilder:
    query = sql(
        f"""
        SELECT time, order_id, side, state, filled_quantity, price, reason
        FROM order_events WHERE {_OF_ORDERS}
        ORDER BY time DESC LIMIT {_MOST}""",
        table=True,
    )
    return rows(
        About("Life of orders", f"Every change of every order, or of the chosen one. {_NEWEST}"),
        query,
        _cells(),
    )


def _fills() -> PanelBuilder:
    query = sql(
        f"""
        SELECT time, strategy, venue, instrument, side, quantity, price, fee,
            coalesce(fee_currency, currency) AS fee_currency, liquidity, kind, order_id
        FROM fills WHERE {_OF_ORDERS}
        ORDER BY time DESC LIMIT {_MOST}""",
        table=True,
    )
    more = (
        ("venue", Cell(hidden=True)),  # the link of the instrument has it
        ("fee", Cell(MONEY, "Fee", width=75)),
        ("fee_currency", Cell(title="in", width=65)),
        ("liquidity", Cell(title="Liquidity", width=80)),
        ("kind", Cell(title="Kind", width=80)),
    )
    return rows(About("Fills", f"Fills as they were reported. {_NEWEST}"), query, _cells(*more))


def _signals() -> PanelBuilder:
    query = sql(
        f"""
        SELECT time, strategy, venue, instrument, direction, strength, price, risk, reason
        FROM signals WHERE {_WHERE}
        ORDER BY time DESC LIMIT {_MOST}""",
        table=True,
    )
    more = (
        ("direction", Cell(title="Direction", mapping=style.SIDE, width=105)),
        ("strength", Cell(style.Display("none", 2), "Strength", width=90)),
        ("risk", Cell(MONEY, "Risk", width=90)),
    )
    return rows(
        About("Signals", f"What the strategies decided, before any order. {_NEWEST}"), query, _cells(*more)
    )
