"""Feed health: which instruments are live, how late and how complete their messages are."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from grafana.builder import style, variables
from grafana.builder.declared import metric, threshold
from grafana.builder.frame import Line, address, dashboard, field
from grafana.builder.overrides import coloured, limit_line
from grafana.builder.panels import About, PanelBuilder, figure, heat, lines
from grafana.builder.queries import chosen, matching, newest, prom, prom_heatmap, prom_now
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
            Line(9, [(16, _instruments()), (8, _missed())]),
            Line(7, [(8, _messages()), (8, _events()), (8, _counts())]),
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
        "venue, instrument, verdict, age_seconds, latency_seconds, quote_rate, tick_rate, quotes, ticks,"
        " gaps, late, crossed"
    )
    seconds, rate = metric("market", "age_seconds").display, metric("market", "tick_rate").display
    yes = model.ValueMap(
        options={
            "true": model.ValueMappingResult(text="crossed", color=style.FAILED, index=0),
            "false": model.ValueMappingResult(text="no", color=style.TEXT, index=1),
        }
    )
    return rows(
        About("Instruments", "Newest sample of each instrument in the time range; counts since the start."),
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
            "age_seconds": Cell(seconds, "Age", colours=rising(_STALE / 2, _STALE)),
            "latency_seconds": Cell(seconds, "Latency"),
            "quote_rate": Cell(rate, "Quotes"),
            "tick_rate": Cell(rate, "Ticks"),
            "quotes": Cell(COUNT, "Quotes, n"),
            "ticks": Cell(COUNT, "Ticks, n"),
            "gaps": Cell(COUNT, "Missed", colours=rising(1)),
            "late": Cell(COUNT, "Late", colours=rising(1)),
            "crossed": Cell(title="Crossed", mapping=yes, width=95),
        },
        sort="Age",
    )


def _missed() -> PanelBuilder:
    gaps, late = metric("market", "gaps"), metric("market", "late")
    about = About("Missed and late", f"{gaps.help} {late.help} Per second, by venue.")
    return lines(
        about,
        style.display_of(Unit.PER_SECOND),
        prom(f"sum by (venue) (rate({gaps.family}{_LABELS}[$__rate_interval]))", "{{venue}} missed"),
        prom(f"sum by (venue) (rate({late.family}{_LABELS}[$__rate_interval]))", "{{venue}} late", ref="B"),
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
