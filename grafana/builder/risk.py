"""Risk: limits, exposure, drawdown and positions."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from decahertz.risk_limits import CAN_TRADE, NET_EXPOSURE, OWN_PREFIX
from grafana.builder import style, variables
from grafana.builder.declared import metric, threshold
from grafana.builder.frame import Line, address, dashboard, field
from grafana.builder.overrides import limit_line
from grafana.builder.panels import About, PanelBuilder, figure, gauges, lines
from grafana.builder.queries import chosen, history, history_sql, matching, newest, prom, prom_now, sql
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
_USAGE_POINTS = 400
"""Of each line: there is one for each measure of each strategy."""
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
            Line(9, [(8, _usage_now()), (16, _usage())]),
            Line(9, [(6, _exposure()), (6, _currencies()), (6, _drawdown()), (6, _daily_loss())]),
            Line(8, [(24, _measures())]),
            Line(9, [(24, _positions())]),
        ],
    )


def _figures() -> list[PanelBuilder]:
    usage, breached = metric("risk", "usage_ratio"), metric("risk", "breached")
    drawdown, equity = metric("strategy", "drawdown"), metric("strategy", "equity")
    breaks = metric("strategy", "position_breaks")
    return [
        can_trade(),
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
    ]


def can_trade(link: str = "", link_title: str = "") -> PanelBuilder:
    """Whether anything speaks against trading."""
    value = metric("risk", "value")
    selected = matching("recorder", risk=CAN_TRADE)  # a dot stands for any character, and no other has it
    return figure(
        About(
            "Can trade",
            "Whether nothing that the recorders know speaks against trading: limits, feeds of open"
            " positions, parts"
            " of the recorder. GET /api/v1/system/status and the page have the objections. It is no"
            " permission.",
            link,
            link_title,
        ),
        style.PLAIN,
        prom(f"min({value.family}{selected})"),
        mappings=[style.YES_NO],
        colours=style.thresholds((1, style.OK), base=style.FAILED),
        background=True,
        trend=False,
    )


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
        "risk",
        {"used": "max(usage_ratio_max)"},
        keys=("strategy", "risk"),
        where=(*_CHOSEN_MEASURES, "usage_ratio_max IS NOT NULL"),
    )
    about = About("Limits in use over time", f"Highest of each step. {usage.help}")
    panel = lines(
        about,
        RATIO,
        query,
        name="${__field.labels.strategy} ${__field.labels.risk}",
        minimum=0,
        calculations=["lastNotNull", "max"],
    ).max_data_points(_USAGE_POINTS)
    return limit_line(panel, _LIMIT)


def _exposure() -> PanelBuilder:
    gross = metric("strategy", "exposure")
    query = history("strategy", {"exposure": "max(exposure_max)"}, keys=("strategy",), where=_CHOSEN)
    about = About(
        "Gross exposure", f"Highest of each step, stacked to the exposure of all strategies. {gross.help}"
    )
    return lines(about, WHOLE_MONEY, query, name=_BY_STRATEGY, fill=40, stacked=True, minimum=0)


def _currencies() -> PanelBuilder:
    value = metric("risk", "value")
    inner = history_sql(
        "risk",
        {"net": "avg(value_avg)"},
        keys=("risk",),
        where=(chosen("recorder"), f"starts_with(risk, '{NET_EXPOSURE}')"),
    )
    query = sql(
        f"SELECT time, substr(risk, {len(NET_EXPOSURE) + 1}) AS currency, net\nFROM (\n{inner}\n) AS measures"
        "\nORDER BY time, currency"
    )
    about = About(
        "Net exposure by currency",
        "Of all strategies together, by settlement currency, in the account currency; unknown: instruments"
        " without"
        f" a definition. {value.help}",
    )
    return lines(about, WHOLE_MONEY, query, name="${__field.labels.currency}")


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
        "strategy, risk, value, soft_limit_value, limit_value, usage_ratio, breached, age_seconds,"
        " CASE WHEN strategy = 'desk' THEN '$' || '__all' ELSE strategy END AS opened",
        keys=("strategy", "risk"),
        where=(*_CHOSEN_MEASURES, f"(limit_value IS NOT NULL OR NOT starts_with(risk, '{OWN_PREFIX}'))"),
    )
    return rows(
        About(
            "Measures and limits",
            "Newest report of each measure; those of the whole desk have the strategy desk. Names that begin"
            " with recorder are the recorder's own figures and the limits of its settings.",
        ),
        query,
        {
            "strategy": Cell(
                title="Strategy",
                link=address("strategy", "recorder", strategy=field("opened")),
                link_title="Strategy",
                width=115,
            ),
            "opened": Cell(hidden=True),
            "risk": Cell(title="Measure", width=120),
            "value": Cell(figures, "Value"),
            "soft_limit_value": Cell(figures, "Soft limit"),
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
        SELECT strategy, account, p.venue, p.instrument, quantity, average_price, mark_price,
            CASE WHEN inverse THEN
                quantity * multiplier * (1 / nullif(average_price, 0) - 1 / nullif(mark_price, 0))
                ELSE quantity * coalesce(multiplier, 1) * (mark_price - average_price) END AS profit,
            coalesce(settlement_currency, CASE WHEN inverse THEN base_currency ELSE quote_currency END)
                AS currency,
            CASE WHEN kind IS NULL THEN 'none: counted one to one'
                ELSE concat_ws(', ', kind, 'multiplier ' || multiplier, CASE WHEN inverse THEN 'inverse' END)
                END AS contract,
            held_by, p.time
        FROM decahertz_positions($__timeTo()) AS p
        LEFT JOIN instruments AS i ON i.venue = p.venue AND i.instrument = p.instrument
        WHERE quantity <> 0 AND {" AND ".join(_CHOSEN)}
        ORDER BY strategy, account, p.venue, p.instrument""",
        table=True,
    )
    price = style.display_of(Unit.PRICE)
    return rows(
        About(
            "Positions",
            "Open positions as the strategies report them. The profit is in the settlement currency, by the"
            " definition of the instrument; without one a contract counts one to one.",
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
            "account": Cell(title="Account", width=95),
            "profit": Cell(MONEY, "Profit", colours=signed()),
            "currency": Cell(title="in", width=75),
            "contract": Cell(title="Definition", width=165),
            "held_by": Cell(title="Held by"),
            "time": Cell(style.TIME, "Reported", width=165),
        },
    )
