"""Control: order requests, schedules of templates, generated signals, news."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from grafana.builder import style, variables
from grafana.builder.declared import threshold
from grafana.builder.frame import Line, dashboard
from grafana.builder.overrides import limit_line
from grafana.builder.panels import About, PanelBuilder, bars, figure, heat, lines
from grafana.builder.queries import matching, prom, prom_heatmap, prom_now
from grafana.builder.style import COUNT, RATIO, rising

NAME = "control"
_LABELS = matching("recorder")
_SECONDS = style.display_of(Unit.SECONDS)


def control() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        NAME,
        "Control, signals and news",
        "Are order requests taken, schedules kept, signals made in time, and does news arrive?",
        [variables.recorder()],
        [variables.alerts()],
        [
            Line(4, [(6, panel) for panel in _figures()]),
            Line(8, [(8, _requests()), (8, _changes()), (8, _refusals())]),
            Line(8, [(12, _times()), (12, _templates())]),
            Line(8, [(8, _evaluations()), (8, _failures()), (8, _lateness())]),
            Line(8, [(8, _headlines()), (8, _entries()), (8, _news_age())]),
        ],
    )


def _figures() -> list[PanelBuilder]:
    queued, unresolved = matching("recorder", state="queued"), matching("recorder", state="unresolved")
    not_kept = matching("recorder", outcome="missed|refused")
    return [
        figure(
            About("Oldest in the queue", "Time since the oldest order request that nobody has taken."),
            _SECONDS,
            prom(f"max(decahertz_order_request_age_seconds{queued})"),
            colours=rising(threshold("OrderRequestWaiting")),
        ),
        figure(
            About("Unresolved", "Order requests whose process was lost: the order may be in the market."),
            COUNT,
            prom_now(f"sum(decahertz_order_requests{unresolved})"),
            colours=rising(1),
            background=True,
            trend=False,
        ),
        figure(
            About("Schedules not kept", "Templates whose newest scheduled time was refused or missed."),
            COUNT,
            prom_now(f"sum(decahertz_schedule_templates{not_kept})"),
            colours=rising(1),
            trend=False,
        ),
        figure(
            About("Headlines", "Headlines of the last hour."),
            COUNT,
            prom(f"sum(increase(decahertz_news_headlines_total{_LABELS}[1h]))"),
        ),
    ]


def _requests() -> PanelBuilder:
    about = About(
        "Order requests",
        "Requests that somebody has to deal with, by state, and the age of the oldest in the queue.",
    )
    queued = matching("recorder", state="queued")
    return lines(
        about,
        COUNT,
        prom(f"sum by (state) (decahertz_order_requests{_LABELS})", "{{state}}"),
        prom(f"max(decahertz_order_request_age_seconds{queued})", "seconds of the oldest", ref="B"),
        minimum=0,
    )


def _changes() -> PanelBuilder:
    about = About(
        "Changes of requests", "Submitted, taken, done, rejected, expired and others, in each step."
    )
    increase = f"increase(decahertz_order_request_changes_total{_LABELS}[$__rate_interval])"
    return bars(about, COUNT, prom(f"sum by (change) ({increase})", "{{change}}"))


def _refusals() -> PanelBuilder:
    about = About("Refused before the queue", "Requests that a halt or a check refused, by rule.")
    increase = f"increase(decahertz_order_requests_refused_total{_LABELS}[$__rate_interval])"
    return bars(about, COUNT, prom(f"sum by (rule) ({increase})", "{{rule}}"))


def _times() -> PanelBuilder:
    about = About("Scheduled times", "Times of templates that have come: submitted, refused or missed.")
    increase = f"increase(decahertz_schedule_times_total{_LABELS}[$__rate_interval])"
    return bars(about, COUNT, prom(f"sum by (outcome) ({increase})", "{{outcome}}"))


def _templates() -> PanelBuilder:
    about = About("Templates with a schedule", "By the outcome of their newest time.")
    query = prom(f"sum by (outcome) (decahertz_schedule_templates{_LABELS})", "{{outcome}}")
    return lines(about, COUNT, query, minimum=0, fill=40, stacked=True)


def _evaluations() -> PanelBuilder:
    about = About("Evaluations", "Evaluations of signal generators by outcome, per second.")
    rate = f"rate(decahertz_signal_evaluations_total{_LABELS}[$__rate_interval])"
    query = prom(f"sum by (generator, outcome) ({rate})", "{{generator}} {{outcome}}")
    display = style.display_of(Unit.PER_SECOND)
    return lines(about, display, query, minimum=0, fill=40, stacked=True, calculations=["lastNotNull"])


def _failures() -> PanelBuilder:
    about = About("Failed evaluations", "Share of the evaluations of fifteen minutes that failed.")
    failed = matching("recorder", outcome="failed")
    family = "decahertz_signal_evaluations_total"
    query = prom(
        f"sum by (generator) (increase({family}{failed}[15m]))"
        f" / clamp_min(sum by (generator) (increase({family}{_LABELS}[15m])), 1)",
        "{{generator}}",
    )
    return limit_line(lines(about, RATIO, query, minimum=0), threshold("SignalsFailing"))


def _lateness() -> PanelBuilder:
    family = f"decahertz_signal_lateness_seconds_bucket{_LABELS}"
    about = About("Lateness of signals", "Time from the end of the bar until its signal was durable.")
    return heat(about, _SECONDS, prom_heatmap(f"sum by (le) (increase({family}[$__rate_interval]))"))


def _headlines() -> PanelBuilder:
    about = About(
        "News",
        "Headlines, and those of them that the scorer scored or failed on.",
    )
    families = {"headlines": "headlines", "scored": "scored", "scorer failed": "scorer_failures"}
    queries = [
        prom(f"sum(increase(decahertz_news_{name}_total{_LABELS}[$__rate_interval]))", legend, ref=ref)
        for ref, (legend, name) in zip("ABC", families.items(), strict=True)
    ]
    return lines(about, COUNT, *queries, minimum=0)


def _entries() -> PanelBuilder:
    about = About("News feeds", "Entries that are left out as repeats, and documents that cannot be read.")
    kinds = matching("recorder", feed="rss", kind="duplicates|errors|malformed")
    increase = f"increase(decahertz_feed_counts_total{kinds}[$__rate_interval])"
    return bars(about, COUNT, prom(f"sum by (kind) ({increase})", "{{kind}}"))


def _news_age() -> PanelBuilder:
    about = About("Age of the newest headline", "Time since the newest headline was received.")
    age = f"time() - decahertz_news_newest_timestamp_seconds{_LABELS}"
    query = prom(f"max by (recorder) ({age})", "{{recorder}}")
    return limit_line(lines(about, _SECONDS, query, minimum=0), threshold("NewsSilent"))
