"""Feed health: which instruments are live, how late and how complete their messages are."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from grafana.builder import style, variables
from grafana.builder.declared import metric, threshold
from grafana.builder.frame import Line, address, dashboard, field
from grafana.builder.overrides import coloured, dashed, limit_line
from grafana.builder.panels import About, PanelBuilder, figure, gauges, heat, lines
from grafana.builder.queries import (
    IN_RANGE,
    chosen,
    matching,
    newest,
    newest_sql,
    prom,
    prom_heatmap,
    prom_now,
    sql,
)
from grafana.builder.style import COUNT, rising
from grafana.builder.tables import Cell, rows

NAME = "feeds"
_LABELS = matching("recorder", "venue", "instrument")
_RECORDER = matching("recorder")
_CHOSEN = (chosen("recorder"), chosen("venue"), chosen("instrument"))
_STALE = threshold("FeedStale")


def feeds() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        NAME,
        "Feed health",
        "Is each market live, on time and complete? A connected feed is not always a live one.",
        [variables.recorder(), variables.venue(), variables.instrument(start_with_all=True)],
        [variables.alerts()],
        [
            Line(4, [(6, panel) for panel in _figures()]),
            Line(8, [(8, _verdicts()), (8, _ages()), (8, _latency())]),
            Line(9, [(24, _instruments())]),
            Line(8, [(6, _reasons()), (9, _split()), (9, _missed())]),
            Line(7, [(15, _gap_ledger()), (9, _counts())]),
            Line(7, [(12, _messages()), (12, _events())]),
        ],
    )


def _figures() -> list[PanelBuilder]:
    verdict, gaps = metric("market", "verdict").family, metric("market", "gaps")
    age = metric("market", "age_seconds")
    bad = matching("recorder", "venue", "instrument", decahertz_market_verdict="stale|mute|gap|closed")
    return [
        figure(
            About("Not live", "Instruments whose feed verdict is stale, mute, gap or closed."),
            COUNT,
            prom_now(f"sum({verdict}{bad})"),
            colours=rising(1),
            background=True,
            trend=False,
        ),
        figure(
            About(
                "Feeds down",
                "Feeds of the recorder that wait for a restart, have ended, or cannot be loaded.",
            ),
            COUNT,
            prom(f"sum(decahertz_feed_up{_RECORDER} == bool 0)"),
            colours=rising(1),
            background=True,
        ),
        figure(
            About("Oldest message", f"Highest of all instruments. {age.help}"),
            age.display,
            prom(f"max({age.family}_max{_LABELS})"),
            colours=rising(_STALE / 2, _STALE),
        ),
        figure(
            About("Missed messages", f"In the last 5 minutes. {gaps.help}"),
            COUNT,
            prom(f"sum(increase({gaps.family}{_LABELS}[5m]))"),
            colours=rising(1, threshold("SequenceGaps")),
        ),
    ]


def _verdicts() -> PanelBuilder:
    verdict = metric("market", "verdict")
    recorded = f"recorder_venue:{verdict.family}:sum{matching('recorder', 'venue')}"
    query = prom(f"sum by (decahertz_market_verdict) ({recorded})", "{{decahertz_market_verdict}}")
    about = About(
        "Instruments by verdict",
        f"{verdict.help} Number of instruments with each verdict, of all instruments of the venues.",
    )
    panel = lines(about, COUNT, query, fill=60, minimum=0, stacked=True)
    for name, colour in style.VERDICTS.items():
        panel = panel.override_by_name(*coloured(name, colour))
    return panel


def _ages() -> PanelBuilder:
    age = metric("market", "age_seconds")
    query = prom(f"max by (venue) ({age.family}_max{_LABELS})", "{{venue}}")
    about = About("Oldest message by venue", f"Highest of the instruments of each venue. {age.help}")
    return limit_line(lines(about, age.display, query, minimum=0, calculations=["max"]), _STALE)


def _latency() -> PanelBuilder:
    latency = metric("market", "latency_seconds")
    family = f"decahertz_market_receipt_latency_seconds_bucket{matching('recorder', 'venue')}"
    about = About("Latency of messages", "From the venue's time to the receipt, as the venue's clock says.")
    return heat(
        about,
        latency.display,
        prom_heatmap(f"sum by (le) (increase({family}[$__rate_interval]))"),
    )


def _instruments() -> PanelBuilder:
    columns = (
        "venue, instrument, verdict, replace(verdict_reason, '_', ' ') AS verdict_reason, age_seconds,"
        " cadence_seconds, latency_seconds,"
        " sampling_latency_seconds, quote_rate, tick_rate, gaps, late, clock_faults, crossed_quotes,"
        " locked_quotes, crossed"
    )
    seconds, rate = metric("market", "age_seconds").display, metric("market", "tick_rate").display
    yes = model.ValueMap(
        options={
            "true": model.ValueMappingResult(text="crossed", color=style.FAILED, index=0),
            "false": model.ValueMappingResult(text="in order", color=style.TEXT, index=1),
        }
    )
    return rows(
        About(
            "Instruments",
            "Newest sample of each instrument in the time range; counts since the start. A feed verdict has"
            " its"
            " reason; a latency below zero is a clock that is wrong.",
        ),
        newest("market", columns, keys=("venue", "instrument"), where=_CHOSEN),
        {
            "venue": Cell(title="Venue"),
            "instrument": Cell(
                title="Instrument",
                link=address("market", "recorder", venue=field("venue"), instrument=field("instrument")),
                link_title="Market",
                width=95,
            ),
            "verdict": Cell(title="Feed", mapping=style.VERDICT),
            "verdict_reason": Cell(title="Reason", width=150),
            "age_seconds": Cell(seconds, "Age", colours=rising(_STALE / 2, _STALE)),
            "cadence_seconds": Cell(seconds, "Usual silence"),
            "latency_seconds": Cell(
                seconds, "To receipt", colours=style.thresholds((0, style.TEXT), base=style.FAILED)
            ),
            "sampling_latency_seconds": Cell(seconds, "To cycle"),
            "quote_rate": Cell(rate, "Quotes"),
            "tick_rate": Cell(rate, "Ticks"),
            "gaps": Cell(COUNT, "Missed", colours=rising(1)),
            "late": Cell(COUNT, "Late", colours=rising(1)),
            "clock_faults": Cell(COUNT, "From the future", colours=rising(1), width=120),
            "crossed_quotes": Cell(COUNT, "Crossed", colours=rising(1)),
            "locked_quotes": Cell(COUNT, "Locked"),
            "crossed": Cell(title="Now", mapping=yes, width=90),
        },
        sort="Age",
    )


def _reasons() -> PanelBuilder:
    inner = newest_sql("market", "verdict, verdict_reason", keys=("venue", "instrument"), where=_CHOSEN)
    query = sql(
        "SELECT verdict || ', ' || replace(verdict_reason, '_', ' ') AS metric, count(*) AS instruments\n"
        f"FROM (\n{inner}\n) AS newest GROUP BY 1 ORDER BY 2 DESC",
        table=True,
    )
    about = About(
        "Verdicts by reason",
        "Instruments by feed verdict and the rule that decided it, at the end of the range.",
    )
    return gauges(about, COUNT, query, colours=style.thresholds(base=style.BUY))


def _split() -> PanelBuilder:
    receipt, cycle = metric("market", "latency_seconds"), metric("market", "sampling_latency_seconds")
    bound = metric("system", "clock_bound_seconds")
    about = About(
        "From venue to cycle",
        f"Mean of the instruments. {receipt.help} {cycle.help} The latency from the venue is as wrong as the"
        " clock"
        f" of this machine: {bound.help}",
    )
    panel = lines(
        about,
        receipt.display,
        prom(f"avg by (venue) ({receipt.family}{_LABELS})", "{{venue}} to receipt"),
        prom(f"avg by (venue) ({cycle.family}{_LABELS})", "{{venue}} receipt to cycle", ref="B"),
        prom(f"max by (recorder) ({bound.family}{_RECORDER})", "clock of {{recorder}}, at most", ref="C"),
    )
    return dashed(panel, "/^clock of/")


def _gap_ledger() -> PanelBuilder:
    key = "recorder, venue, instrument, numbering, from_sequence, to_sequence"
    query = sql(
        f"""
        SELECT time, venue, instrument, numbering, from_sequence, to_sequence, missing, state,
            CASE WHEN recovered THEN extract(epoch FROM time - opened_at)::float8 END AS lasted
        FROM (
            SELECT *, min(time) OVER (PARTITION BY {key}) AS opened_at,
                row_number() OVER (PARTITION BY {key} ORDER BY time_ns DESC, sequence DESC) AS place,
                CASE WHEN recovered THEN 'recovered' WHEN announced THEN 'announced' ELSE 'open' END AS state
            FROM gaps WHERE {" AND ".join((IN_RANGE, *_CHOSEN))}
        ) AS reports
        WHERE place = 1 ORDER BY time DESC LIMIT 200""",
        table=True,
    )
    number = style.Display("none", 0)
    return rows(
        About(
            "Gap ledger",
            "Messages that were missed, by the venue's numbers: the newest report of each gap in the range."
            " Recovered: all have arrived late. Announced: a heartbeat named them, and no message has come"
            " yet.",
        ),
        query,
        {
            "time": Cell(style.TIME, "Time", width=165),
            "venue": Cell(title="Venue"),
            "instrument": Cell(
                title="Instrument",
                link=address("market", "recorder", venue=field("venue"), instrument=field("instrument")),
                link_title="Market",
            ),
            "numbering": Cell(title="Of"),
            "from_sequence": Cell(number, "First missing"),
            "to_sequence": Cell(number, "Last missing"),
            "missing": Cell(COUNT, "Missing", colours=rising(1)),
            "state": Cell(title="Gap is", mapping=style.GAP_STATE),
            "lasted": Cell(metric("market", "age_seconds").display, "Closed after"),
        },
    )


def _missed() -> PanelBuilder:
    gaps, late = metric("market", "gaps"), metric("market", "late")
    faults = metric("market", "clock_faults")
    about = About("Missed and late", f"{gaps.help} {late.help} {faults.help} Per second, by venue.")
    return lines(
        about,
        style.display_of(Unit.PER_SECOND),
        prom(f"sum by (venue) (rate({gaps.family}{_LABELS}[$__rate_interval]))", "{{venue}} missed"),
        prom(f"sum by (venue) (rate({late.family}{_LABELS}[$__rate_interval]))", "{{venue}} late", ref="B"),
        prom(
            f"sum by (venue) (rate({faults.family}{_LABELS}[$__rate_interval]))",
            "{{venue}} from the future",
            ref="C",
        ),
        minimum=0,
    )


def _messages() -> PanelBuilder:
    ticks, quotes = metric("market", "tick_rate"), metric("market", "quote_rate")
    about = About("Messages by venue", f"Sum over the instruments. {quotes.help} {ticks.help}")
    return lines(
        about,
        ticks.display,
        prom(f"sum by (venue) ({quotes.family}{_LABELS})", "{{venue}} quotes"),
        prom(f"sum by (venue) ({ticks.family}{_LABELS})", "{{venue}} ticks", ref="B"),
        minimum=0,
    )


def _events() -> PanelBuilder:
    return lines(
        About(
            "Events by feed", "Events that each feed publishes, and those refused by validation, per second."
        ),
        style.display_of(Unit.PER_SECOND),
        prom(f"rate(decahertz_feed_events_total{_RECORDER}[$__rate_interval])", "{{feed}} published"),
        prom(
            f"rate(decahertz_feed_refused_events_total{_RECORDER}[$__rate_interval])",
            "{{feed}} refused",
            ref="B",
        ),
        minimum=0,
    )


def _counts() -> PanelBuilder:
    return lines(
        About(
            "Incidents of feeds", "Restarts, reconnects, malformed messages and whatever else a feed counts."
        ),
        COUNT,
        prom(f"increase(decahertz_feed_restarts_total{_RECORDER}[$__rate_interval])", "{{feed}} restarts"),
        prom(
            f"increase(decahertz_feed_counts_total{_RECORDER}[$__rate_interval])",
            "{{feed}} {{kind}}",
            ref="B",
        ),
        minimum=0,
    )
