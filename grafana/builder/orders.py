"""Trades and orders: the records themselves, newest first."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from grafana.builder import style, variables
from grafana.builder.execution import order_cells
from grafana.builder.frame import Line, dashboard, field, uid_of
from grafana.builder.panels import About, PanelBuilder, bars
from grafana.builder.queries import IN_RANGE, chosen, history_sql, sql
from grafana.builder.style import COUNT, signed
from grafana.builder.tables import Cell, rows

NAME = "orders"
_CHOSEN = tuple(map(chosen, ("recorder", "strategy", "venue", "instrument")))
_ONE_ORDER = "(${order:sqlstring} = '' OR order_id = ${order:sqlstring})"
_MOST = 200
_NEWEST = f"The newest {_MOST} of the time range."
_WHERE = " AND ".join((IN_RANGE, *_CHOSEN))
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
            Line(10, [(11, _life()), (13, _fills())]),
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
            r_multiple, extract(epoch FROM time - opened_at)::float8 AS held, fills, opened_at, trade_id
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
            ("r_multiple", Cell(style.display_of(Unit.R), "R", colours=signed(), width=90)),
            ("held", Cell(style.display_of(Unit.SECONDS), "Held for", width=90)),
            ("fills", Cell(COUNT, "Fills", width=60)),
            ("opened_at", Cell(style.TIME, "Opened", width=165)),
            ("trade_id", Cell(title="Round trip")),
        ),
    )


def _orders() -> PanelBuilder:
    query = sql(
        f"""
        SELECT time, strategy, venue, instrument, side, state, quantity, filled_quantity, price, reason,
            order_id
        FROM orders WHERE {_WHERE} AND {_ONE_ORDER}
        ORDER BY time DESC LIMIT {_MOST}""",
        table=True,
    )
    return rows(About("Orders", f"State of each order by its newest change. {_NEWEST}"), query, _cells())


def _life() -> PanelBuilder:
    query = sql(
        f"""
        SELECT time, order_id, side, state, filled_quantity, price, reason
        FROM order_events WHERE {_WHERE} AND {_ONE_ORDER}
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
        SELECT time, strategy, instrument, side, quantity, price, fee, liquidity, order_id
        FROM fills WHERE {_WHERE} AND {_ONE_ORDER}
        ORDER BY time DESC LIMIT {_MOST}""",
        table=True,
    )
    more = (("fee", Cell(MONEY, "Fee", width=75)), ("liquidity", Cell(title="Liquidity", width=80)))
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
