"""Variables and annotations that dashboards share."""

from __future__ import annotations

from textwrap import dedent

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from grafana.builder import style
from grafana.builder.queries import IN_RANGE, POSTGRES, REAL_ALERTS, Query, SqlDataquery, chosen

_ALL = model.VariableOption(selected=True, text=["All"], value=["$__all"])
_MOST = 500
"""Gaps; more would hide the panel behind them."""
_RANGE_SECONDS = "extract(epoch FROM $__timeTo()::timestamptz - $__timeFrom()::timestamptz)"
_MARK = f"decahertz_bucket(time, {_RANGE_SECONDS} * 1000 / 60)"
"""Alerts, fills and signals of a sixtieth of the range share a mark."""
_MOST_NAMED = 5
"""Alerts that the text of a mark has."""


def _variable(name: str, title: str, help_: str, query: str, *, start_with_all: bool) -> build.QueryVariable:
    """A variable of several values. Grafana starts with all where that is a choice, else with the first."""
    text = dedent(query).strip()
    builder = build.QueryVariable(name).label(title).description(help_).query(text).definition(text)
    builder = builder.datasource(POSTGRES).multi(multi=True).include_all(start_with_all)
    builder = builder.refresh(model.VariableRefresh.ON_DASHBOARD_LOAD).sort(model.VariableSort.DISABLED)
    return builder.current(_ALL) if start_with_all else builder


def recorder() -> build.QueryVariable:
    """The recorders that ever wrote to this database."""
    query = "SELECT recorder FROM recorders ORDER BY 1"
    return _variable("recorder", "Recorder", "Running Decahertz processes.", query, start_with_all=True)


def venue() -> build.QueryVariable:
    """The venues that ever had a quote or a tick."""
    query = "SELECT DISTINCT venue FROM instruments WHERE first_ns IS NOT NULL ORDER BY 1"
    return _variable("venue", "Venue", "Where the instruments trade.", query, start_with_all=True)


def instrument(*, start_with_all: bool = False) -> build.QueryVariable:
    """The instruments of the chosen venues."""
    query = f"""
        SELECT DISTINCT instrument FROM instruments
        WHERE first_ns IS NOT NULL AND {chosen("venue")} ORDER BY 1"""
    help_ = "By the symbol of the venue."
    return _variable("instrument", "Instrument", help_, query, start_with_all=start_with_all)


def strategy() -> build.QueryVariable:
    """The strategies with samples in the time range."""
    return _variable(
        "strategy",
        "Strategy",
        "Strategies of the time range.",
        _seen("strategy", "strategy"),
        start_with_all=True,
    )


def host() -> build.QueryVariable:
    """The machines with samples in the time range."""
    return _variable(
        "host", "Host", "Machines of the time range.", _seen("system", "host"), start_with_all=True
    )


def order() -> build.TextBoxVariable:
    """One order, by its id."""
    builder = build.TextBoxVariable("order").label("Order").default_value("")
    return builder.description(
        "Id of one order, whatever its time; empty shows all orders of the time range."
    )


def page() -> build.TextBoxVariable:
    """Address of the recorder's page, for links to tear sheets; hidden, and changed in the address bar."""
    builder = build.TextBoxVariable("page").label("Page").default_value("http://127.0.0.1:8000")
    builder = builder.description("Address of the recorder's page, for links to tear sheets.")
    return builder.hide(model.VariableHide.HIDE_VARIABLE)


def _seen(collector: str, key: str) -> str:
    step = f"{_RANGE_SECONDS} * 10"
    return f"""
        SELECT DISTINCT {key} FROM {collector}_history
        WHERE tier = decahertz_tier($__timeFrom(), {step}) AND {IN_RANGE}
            AND {chosen("recorder")} ORDER BY 1"""


def _annotation(name: str, colour: str, query: str, *, shown: bool = True) -> build.AnnotationQuery:
    target = SqlDataquery(dedent(query).strip(), "table", "Anno")
    builder = build.AnnotationQuery().name(name).datasource(POSTGRES).enable(shown).hide(hide=False)
    return builder.icon_color(colour).target(Query(target, POSTGRES))


def fills(where: tuple[str, ...]) -> build.AnnotationQuery:
    """Fills: their number, and the quantities bought and sold."""
    query = f"""
        SELECT {_MARK} AS time,
            concat_ws(', ', count(*) || ' fills',
                'bought ' || nullif(sum(quantity) FILTER (WHERE side = 'buy'), 0)::numeric(20, 4),
                'sold ' || nullif(sum(quantity) FILTER (WHERE side = 'sell'), 0)::numeric(20, 4)) AS text,
            string_agg(DISTINCT strategy, ',') AS tags
        FROM fills WHERE {" AND ".join((IN_RANGE, chosen("recorder"), *where))}
        GROUP BY 1 ORDER BY 1"""
    return _annotation("Fills", style.BUY, query, shown=False)


def signals(where: tuple[str, ...]) -> build.AnnotationQuery:
    """Signals: the number of each direction."""
    query = f"""
        SELECT {_MARK} AS time,
            concat_ws(', ', nullif(count(*) FILTER (WHERE direction = 'buy'), 0) || ' buy',
                nullif(count(*) FILTER (WHERE direction = 'sell'), 0) || ' sell',
                nullif(count(*) FILTER (WHERE direction = 'flat'), 0) || ' flat') AS text,
            string_agg(DISTINCT strategy, ',') AS tags
        FROM signals WHERE {" AND ".join((IN_RANGE, chosen("recorder"), *where))}
        GROUP BY 1 ORDER BY 1"""
    return _annotation("Signals", style.VWAP, query, shown=False)


def regimes(where: tuple[str, ...]) -> build.AnnotationQuery:
    """Regimes that are reported and differ from the one before them."""
    query = f"""
        SELECT time, coalesce(strategy, 'desk') || ': ' || coalesce(before || ' → ', '') || regime AS text,
            'regime' AS tags
        FROM (
            SELECT time, strategy, regime,
                lag(regime) OVER (PARTITION BY recorder, strategy ORDER BY time_ns, sequence) AS before
            FROM regimes WHERE {" AND ".join((IN_RANGE, chosen("recorder"), *where))}
        ) AS reported
        WHERE regime IS DISTINCT FROM before ORDER BY time DESC LIMIT {_MOST}"""
    return _annotation("Regimes", style.MID, query)


def alerts() -> build.AnnotationQuery:
    """Starts of alerts of the watchdog and of Prometheus.

    A region up to the end would tint whole charts just when they matter.
    """
    query = f"""
        SELECT min(time) AS time,
            array_to_string((array_agg(name || ': ' || summary ORDER BY time))[1:{_MOST_NAMED}], '<br>')
                || CASE WHEN count(*) > {_MOST_NAMED}
                    THEN '<br>and ' || count(*) - {_MOST_NAMED} || ' more' ELSE '' END AS text,
            string_agg(DISTINCT severity, ',') AS tags
        FROM alerts WHERE {IN_RANGE} AND {REAL_ALERTS} AND {chosen("recorder")}
        GROUP BY {_MARK} ORDER BY 1"""
    return _annotation("Alerts", style.FAILED, query)


def gaps(where: tuple[str, ...]) -> build.AnnotationQuery:
    """Messages that a feed missed; ``where`` has to choose few instruments."""
    step = f"{_RANGE_SECONDS} * 10"
    query = f"""
        SELECT time, missed || ' missed on ' || venue || ' ' || instrument AS text, 'gap' AS tags
        FROM (
            SELECT time, venue, instrument,
                gaps - lag(gaps) OVER (PARTITION BY recorder, venue, instrument ORDER BY time) AS missed
            FROM market_history
            WHERE tier = decahertz_tier($__timeFrom(), {step})
                AND {" AND ".join((IN_RANGE, chosen("recorder"), *where))}
        ) AS changes
        WHERE missed > 0 ORDER BY time DESC LIMIT {_MOST}"""
    return _annotation("Gaps", style.DEGRADED, query)
