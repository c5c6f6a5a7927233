"""Providers: whether market data of others arrives, from where, and at which cost."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from grafana.builder import style, variables
from grafana.builder.declared import threshold
from grafana.builder.frame import Line, dashboard
from grafana.builder.overrides import limit_line
from grafana.builder.panels import About, PanelBuilder, figure, heat, lines
from grafana.builder.queries import matching, prom, prom_heatmap, prom_now
from grafana.builder.style import COUNT, RATIO, rising

NAME = "providers"
_LABELS = matching("recorder")
_SECONDS, _RATE = style.display_of(Unit.SECONDS), style.display_of(Unit.PER_SECOND)
_SPENT = (
    f"max by (provider) (decahertz_provider_budget_spent{_LABELS})"
    f" / max by (provider) (decahertz_provider_budget_limit{_LABELS})"
)


def providers() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        NAME,
        "Providers",
        "Does the market data of other providers arrive, how fresh, and at which cost?",
        [variables.recorder()],
        [variables.alerts()],
        [
            Line(4, [(6, panel) for panel in _figures()]),
            Line(8, [(12, _answers()), (12, _calls())]),
            Line(8, [(8, _duration()), (8, _breakers()), (8, _budget())]),
            Line(7, [(8, _queue()), (8, _waits()), (8, _entries())]),
        ],
    )


def _figures() -> list[PanelBuilder]:
    closed = matching("recorder", state="closed")
    called = matching("recorder", found="miss")
    family = "decahertz_provider_answers_total"
    return [
        figure(
            About("Breakers open", "Providers whose circuit breaker is not closed."),
            COUNT,
            prom_now(f"sum(decahertz_provider_breaker{closed} == bool 0)"),
            colours=rising(1),
            background=True,
            trend=False,
        ),
        figure(
            About("Without a call", "Share of the answers of five minutes that needed no call of their own."),
            RATIO,
            prom(f"1 - sum(rate({family}{called}[5m])) / sum(rate({family}{_LABELS}[5m]))"),
        ),
        figure(
            About("Without an answer", "Requests of the last five minutes that got no answer."),
            COUNT,
            prom(f"sum(increase(decahertz_provider_answers_failed_total{_LABELS}[5m]))"),
            colours=rising(1),
        ),
        figure(
            About("Budget spent", "Highest share of a day's budget (UTC) that is spent."),
            RATIO,
            prom(f"max({_SPENT})"),
            colours=rising(threshold("ProviderBudgetSpent"), 1),
        ),
    ]


def _answers() -> PanelBuilder:
    about = About(
        "Answers",
        "Answers by how they came about, per second: hit, shared and stale from the cache, stale if error"
        " because there was no new one, collapsed of a call that another request began, miss of a new call.",
    )
    rate = f"rate(decahertz_provider_answers_total{_LABELS}[$__rate_interval])"
    query = prom(f"sum by (provider, found) ({rate})", "{{provider}} {{found}}")
    return lines(about, _RATE, query, fill=40, minimum=0, stacked=True)


def _calls() -> PanelBuilder:
    about = About(
        "Calls", "Calls to providers by outcome, refusals before a call by reason, and retries, per second."
    )
    calls = f"rate(decahertz_provider_calls_total{_LABELS}[$__rate_interval])"
    retries = f"rate(decahertz_provider_retries_total{_LABELS}[$__rate_interval])"
    return lines(
        about,
        _RATE,
        prom(f"sum by (provider, outcome) ({calls})", "{{provider}} {{outcome}}"),
        prom(f"sum by (provider) ({retries})", "{{provider}} retries", ref="B"),
        minimum=0,
    )


def _duration() -> PanelBuilder:
    family = f"decahertz_provider_call_seconds_bucket{_LABELS}"
    about = About("Duration of calls", "Whether they succeed or not.")
    return heat(about, _SECONDS, prom_heatmap(f"sum by (le) (increase({family}[$__rate_interval]))"))


def _breakers() -> PanelBuilder:
    about = About(
        "Circuit breakers",
        "Share of the time in which the breaker of a provider was not closed, and the times that it opened.",
    )
    closed = f"decahertz_provider_breaker{matching('recorder', state='closed')}"
    opened = f"decahertz_provider_breaker_opened_total{_LABELS}"
    panel = lines(
        about,
        RATIO,
        prom(f"1 - min by (provider) (avg_over_time({closed}[$__rate_interval]))", "{{provider}} not closed"),
        prom(f"sum by (provider) (increase({opened}[$__rate_interval]))", "{{provider}} opened", ref="B"),
        minimum=0,
    )
    return limit_line(panel, threshold("ProviderBreakerOpen"))


def _budget() -> PanelBuilder:
    about = About(
        "Budget", "Costs of this day (UTC) over the budget of a day, at the newest charge of each provider."
    )
    panel = lines(about, RATIO, prom(_SPENT, "{{provider}}"), minimum=0)
    return limit_line(panel, threshold("ProviderBudgetSpent"))


def _queue() -> PanelBuilder:
    about = About("Queue", "Calls that wait for room, by priority, and calls under way.")
    return lines(
        about,
        COUNT,
        prom(
            f"sum by (provider, priority) (decahertz_provider_queued{_LABELS})",
            "{{provider}} {{priority}} waits",
        ),
        prom(
            f"sum by (provider) (decahertz_provider_calls_under_way{_LABELS})",
            "{{provider}} under way",
            ref="B",
        ),
        minimum=0,
    )


def _waits() -> PanelBuilder:
    about = About("Waits for the rate limit", "Seconds that calls have waited for a token, per second.")
    waits = f"rate(decahertz_provider_token_wait_seconds_total{_LABELS}[$__rate_interval])"
    return lines(about, style.PLAIN, prom(f"sum by (provider) ({waits})", "{{provider}}"), minimum=0)


def _entries() -> PanelBuilder:
    about = About("Cache", "Answers in memory.")
    query = prom(f"sum by (provider) (decahertz_provider_cache_entries{_LABELS})", "{{provider}}")
    return lines(about, COUNT, query, minimum=0)
