"""Risk: limits, exposure, drawdown and positions."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from grafana.builder import style, variables
from grafana.builder.declared import metric, threshold
from grafana.builder.frame import Line, address, dashboard, field
from grafana.builder.overrides import limit_line
from grafana.builder.panels import About, PanelBuilder, figure, gauges, lines
from grafana.builder.queries import chosen, history, matching, newest, prom, prom_now, sql
from grafana.builder.style import COUNT, RATIO, WHOLE_MONEY, rising, signed
from grafana.builder.tables import Cell, rows

NAME = "risk"
_LABELS = matching("recorder", "strategy")
# A measure of the whole desk has the strategy "desk".
_MEASURES = matching("recorder", strategy="$strategy|desk")
_CHOSEN = (chosen("recorder"), chosen("strategy"))
_CHOSEN_MEASURES = (chosen("recorder"), f"({chosen('strategy')} OR strategy = 'desk')")
_LIMIT = threshold("RiskLimitBreached")
_DEEP = threshold("DrawdownDeep")
_LOSS = threshold("DailyLossLimit")
_BY_STRATEGY = "${__field.labels.strategy}"
MONEY = style.display_of(Unit.MONEY)


def risk() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        NAME,
        "Risk",
        "How close is each strategy, and the desk, to its limits?",
        [variables.recorder(), variables.strategy()],
        [variables.alerts(), variables.fills((chosen("strategy"),))],
        [
            Line(4, list(zip((5, 5, 5, 5, 4), _figures(), strict=True))),
            Line(8, [(8, _usage_now()), (16, _usage())]),
            Line(8, [(8, _exposure()), (8, _drawdown()), (8, _daily_loss())]),
            Line(8, [(11, _measures()), (13, _positions())]),
        ],
    )


def _figures() -> list[PanelBuilder]:
    usage, breached = metric("risk", "usage_ratio"), metric("risk", "breached")
    gross = metric("strategy", "exposure")
    drawdown, equity = metric("strategy", "drawdown"), metric("strategy", "equity")
    breaks = metric("strategy", "position_breaks")
    return [
        figure(
            About("Limits breached", f"Number of measures. {breached.help}"),
            COUNT,
            prom(f"sum({breached.family}{_MEASURES})"),
            colours=rising(1),
            background=True,
            trend=False,
        ),
        figure(
            About("Highest limit used", f"Of all measures. {usage.help}"),
            RATIO,
            prom(f"max({usage.family}_max{_MEASURES})"),
            colours=rising(0.8 * _LIMIT, _LIMIT),
        ),
        figure(
            About("Position breaks", f"Sum over the strategies. {breaks.help}"),
            COUNT,
            prom(f"sum({breaks.family}{_LABELS})"),
            colours=rising(1),
            background=True,
            trend=False,
        ),
        figure(
            About("Deepest drawdown", f"Of one strategy, relative to its highest equity. {drawdown.help}"),
            RATIO,
            prom(
                f"max({drawdown.family}{_LABELS} / ({equity.family}{_LABELS} + {drawdown.family}{_LABELS}))"
            ),
            colours=rising(_DEEP / 2, _DEEP),
        ),
        figure(
            About("Gross exposure", f"Sum over the strategies. {gross.help}"),
            WHOLE_MONEY,
            prom(f"sum({gross.family}{_LABELS})"),
        ),
    ]


def _usage_now() -> PanelBuilder:
    usage = metric("risk", "usage_ratio")
    about = About("Limits in use", usage.help)
    query = prom_now(f"sort_desc({usage.family}{_MEASURES})", "{{strategy}} {{risk}}")
    return gauges(
        about,
        RATIO,
        query,
        colours=rising(0.8 * _LIMIT, _LIMIT),
        name="${__field.labels.strategy} ${__field.labels.risk}",
        maximum=_LIMIT,
    )


def _usage() -> PanelBuilder:
    usage = metric("risk", "usage_ratio")
    query = history(
        "risk", {"used": "max(usage_ratio_max)"}, keys=("strategy", "risk"), where=_CHOSEN_MEASURES
    )
    about = About("Limits in use over time", f"Highest of each step. {usage.help}")
    panel = lines(
        about,
        RATIO,
        query,
        name="${__field.labels.strategy} ${__field.labels.risk}",
        minimum=0,
        calculations=["lastNotNull", "max"],
    )
    return limit_line(panel, _LIMIT)


def _exposure() -> PanelBuilder:
    gross = metric("strategy", "exposure")
    query = history("strategy", {"exposure": "max(exposure_max)"}, keys=("strategy",), where=_CHOSEN)
    about = About(
        "Gross exposure", f"Highest of each step, stacked to the exposure of all strategies. {gross.help}"
    )
    return lines(about, WHOLE_MONEY, query, name=_BY_STRATEGY, fill=40, stacked=True, minimum=0)


def _drawdown() -> PanelBuilder:
    drawdown = metric("strategy", "drawdown")
    ratio = "max(drawdown_max / nullif(equity + drawdown_max, 0))"
    query = history("strategy", {"drawdown": ratio}, keys=("strategy",), where=_CHOSEN)
    about = About("Drawdown", f"Relative to the highest equity, deepest of each step. {drawdown.help}")
    return limit_line(lines(about, RATIO, query, name=_BY_STRATEGY, minimum=0), _DEEP)


def _daily_loss() -> PanelBuilder:
    daily = metric("strategy", "daily_pnl")
    loss = "max(greatest(0, -daily_pnl_min) / nullif(equity - daily_pnl_min, 0))"
    query = history("strategy", {"loss": loss}, keys=("strategy",), where=_CHOSEN)
    about = About("Loss of the day", f"Relative to the equity before it, highest of each step. {daily.help}")
    return limit_line(lines(about, RATIO, query, name=_BY_STRATEGY, minimum=0), _LOSS)


def _measures() -> PanelBuilder:
    figures = style.Display("locale", 2)
    query = newest(
        "risk",
        "strategy, risk, value, limit_value, usage_ratio, breached, age_seconds",
        keys=("strategy", "risk"),
        where=_CHOSEN_MEASURES,
    )
    return rows(
        About(
            "Measures and limits",
            "Newest report of each measure; measures of the whole desk have the strategy desk.",
        ),
        query,
        {
            "strategy": Cell(
                title="Strategy",
                link=address("strategy", "recorder", strategy=field("strategy")),
                link_title="Strategy",
                width=115,
            ),
            "risk": Cell(title="Measure", width=120),
            "value": Cell(figures, "Value"),
            "limit_value": Cell(figures, "Limit"),
            "usage_ratio": Cell(RATIO, "Used", colours=rising(0.8 * _LIMIT, _LIMIT)),
            "breached": Cell(title="Limit is", mapping=style.BREACHED, width=95),
            "age_seconds": Cell(style.display_of(Unit.SECONDS), "Age"),
        },
        sort="Used",
    )


def _positions() -> PanelBuilder:
    query = sql(
        f"""
        SELECT strategy, venue, instrument, quantity, average_price, mark_price,
            quantity * (mark_price - average_price) AS profit, held_by, time
        FROM decahertz_positions($__timeTo())
        WHERE quantity <> 0 AND {" AND ".join(_CHOSEN)}
        ORDER BY strategy, venue, instrument""",
        table=True,
    )
    price = style.display_of(Unit.PRICE)
    return rows(
        About(
            "Positions",
            "Open positions as the strategies report them. The profit is quantity times mark price"
            " less average price: contracts with a multiplier differ.",
        ),
        query,
        {
            "strategy": Cell(title="Strategy", width=115),
            "venue": Cell(title="Venue"),
            "instrument": Cell(
                title="Instrument",
                link=address("market", "recorder", venue=field("venue"), instrument=field("instrument")),
                link_title="Market",
            ),
            "quantity": Cell(
                style.Display("locale"),
                "Quantity",
                colours=style.thresholds((0, style.TEXT), (1e-12, style.BUY), base=style.SELL),
            ),
            "average_price": Cell(price, "Average price", width=115),
            "mark_price": Cell(price, "Mark price"),
            "profit": Cell(MONEY, "Profit", colours=signed()),
            "held_by": Cell(title="Held by"),
            "time": Cell(style.TIME, "Reported", width=165),
        },
    )
