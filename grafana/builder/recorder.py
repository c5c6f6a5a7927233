"""Recorder self-health: cycles, spool, writer, ledger, roll-up, database and the ways out."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from decahertz.metric import Unit
from grafana.builder import style, variables
from grafana.builder.declared import threshold
from grafana.builder.frame import Line, Section, dashboard
from grafana.builder.overrides import limit_line
from grafana.builder.panels import About, PanelBuilder, figure, heat, lines, timeline
from grafana.builder.queries import matching, prom, prom_heatmap
from grafana.builder.style import COUNT, RATIO, display_of, rising

NAME = "recorder"
_LABELS = matching("recorder")
SECONDS, PER_SECOND = display_of(Unit.SECONDS), display_of(Unit.PER_SECOND)


def recorder() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        NAME,
        "Recorder self-health",
        "Does the recorder hold its 10 Hz grid, and does everything reach the database?",
        [variables.recorder()],
        [variables.alerts()],
        [
            Line(4, [(4, panel) for panel in _figures()]),
            Line(10, [(12, _health()), (12, _databases())]),
            Section("Cycles", [Line(11, [(8, _lateness()), (8, _missed()), (8, _durations())])]),
            Section(
                "From the spool to the database",
                [
                    Line(8, [(8, _spool()), (8, _spool_age()), (8, _rows())]),
                    Line(8, [(8, _flush()), (8, _roll_up()), (8, _losses())]),
                ],
            ),
            Section("Readers", [Line(8, [(8, _requests()), (8, _request_time()), (8, _live())])]),
        ],
    )


def _per_second(family: str, *by: str) -> str:
    return f"sum by ({', '.join(('recorder', *by))}) (rate({family}{_LABELS}[$__rate_interval]))"


def _quantile(share: float, family: str, *by: str) -> str:
    buckets = (
        f"sum by ({', '.join(('recorder', *by, 'le'))}) (rate({family}_bucket{_LABELS}[$__rate_interval]))"
    )
    return f"histogram_quantile({share}, {buckets})"


def _figures() -> list[PanelBuilder]:
    spool_age = threshold("SpoolOld")
    return [
        figure(
            About("Health", "Health of the least healthy component."),
            style.PLAIN,
            prom(f"min(decahertz_component_health{_LABELS})"),
            mappings=[style.HEALTH],
            colours=style.thresholds((0.5, style.DEGRADED), (1, style.OK), base=style.FAILED),
            background=True,
            trend=False,
        ),
        figure(
            About(
                "Database",
                "Whether the recorder reaches its database; while it does not, the spool keeps everything.",
            ),
            style.PLAIN,
            prom(f"min(decahertz_database_up{_LABELS})"),
            mappings=[style.UP_DOWN],
            colours=style.thresholds((1, style.OK), base=style.FAILED),
            background=True,
            trend=False,
        ),
        figure(
            About("Rows lost", "Events and samples dropped in the last hour, for whatever reason."),
            COUNT,
            prom(f"sum(increase(decahertz_ledger_dropped_total{_LABELS}[1h])) or vector(0)"),
            colours=rising(1),
            background=True,
        ),
        figure(
            About("Cycles missed", "Cycles of the 10 Hz grid that did not run in the last minute."),
            COUNT,
            prom(f"sum(increase(decahertz_sampler_missed_cycles_total{_LABELS}[1m]))"),
            colours=rising(1, threshold("CyclesMissed")),
        ),
        figure(
            About("Spool age", "Age of the oldest entry that the database does not have."),
            SECONDS,
            prom(f"max(decahertz_spool_age_seconds{_LABELS})"),
            colours=rising(spool_age / 2, spool_age),
        ),
        figure(
            About(
                "Dead letters",
                "Rows that the database refused in the last hour; decahertz dead-letters shows them.",
            ),
            COUNT,
            prom(f"sum(increase(decahertz_storage_dead_letters_total{_LABELS}[1h]))"),
            colours=rising(1),
        ),
    ]


def _health() -> PanelBuilder:
    query = prom(f"decahertz_component_health{_LABELS}", "{{recorder}} {{component}}")
    return timeline(
        About("Components", "Health of each component: ok, degraded or failed."), query, [style.HEALTH]
    )


def _databases() -> PanelBuilder:
    return lines(
        About(
            "Rows that wait",
            "Events and samples on disk or in memory that the database does not have, by stream.",
        ),
        COUNT,
        prom(f"decahertz_ledger_spooled{_LABELS}", "{{recorder}} {{stream}}"),
        minimum=0,
        stacked=True,
        fill=30,
    )


def _lateness() -> PanelBuilder:
    about = About("Cycle lateness", "Cycles by the time from their place on the grid to their start.")
    return heat(
        about,
        SECONDS,
        prom_heatmap(
            f"sum by (le) (increase(decahertz_sampler_lateness_seconds_bucket{_LABELS}[$__rate_interval]))"
        ),
    )


def _missed() -> PanelBuilder:
    return lines(
        About(
            "Cycles",
            "Cycles per second: 10 when all run. Missed ones, and clock steps, which realign the grid.",
        ),
        PER_SECOND,
        prom(_per_second("decahertz_sampler_cycles_total"), "{{recorder}} run"),
        prom(_per_second("decahertz_sampler_missed_cycles_total"), "{{recorder}} missed", ref="B"),
        prom(_per_second("decahertz_sampler_clock_steps_total"), "{{recorder}} clock steps", ref="C"),
        minimum=0,
    )


def _durations() -> PanelBuilder:
    query = prom(
        _quantile(0.99, "decahertz_sampler_collector_duration_seconds", "collector"),
        "{{recorder}} {{collector}}",
    )
    return lines(
        About("Collectors", "99th percentile of the time that each collector takes in a cycle."),
        SECONDS,
        query,
        minimum=0,
    )


def _spool() -> PanelBuilder:
    panel = lines(
        About(
            "Spool used",
            "Size of the entries on disk relative to the limit, beyond which entries are dropped.",
        ),
        RATIO,
        prom(f"decahertz_spool_bytes{_LABELS} / decahertz_spool_limit_bytes{_LABELS}", "{{recorder}}"),
        minimum=0,
    )
    return limit_line(panel, threshold("SpoolLarge"))


def _spool_age() -> PanelBuilder:
    query = prom(f"decahertz_spool_age_seconds{_LABELS}", "{{recorder}}")
    about = About("Spool age", "Age of the oldest entry that the database does not have; 0 without one.")
    return limit_line(lines(about, SECONDS, query, minimum=0), threshold("SpoolOld"))


def _rows() -> PanelBuilder:
    return lines(
        About("Rows stored", "Rows per second that the database has committed, by table."),
        PER_SECOND,
        prom(_per_second("decahertz_storage_rows_total", "table") + " > 0", "{{recorder}} {{table}}"),
        minimum=0,
        calculations=["lastNotNull"],
        stacked=True,
        fill=30,
    )


def _flush() -> PanelBuilder:
    return lines(
        About(
            "Writes", "Time of a transaction of the writer, and until a batch from an emitter was on disk."
        ),
        SECONDS,
        prom(_quantile(0.5, "decahertz_storage_flush_seconds"), "{{recorder}} transaction p50"),
        prom(_quantile(0.99, "decahertz_storage_flush_seconds"), "{{recorder}} transaction p99", ref="B"),
        prom(_quantile(0.99, "decahertz_spool_durable_seconds"), "{{recorder}} durable p99", ref="C"),
        minimum=0,
    )


def _roll_up() -> PanelBuilder:
    return lines(
        About(
            "Roll-up",
            "Time that a round of the roll-up takes. Rounds that fail make tiers slower, never wrong.",
        ),
        SECONDS,
        prom(_quantile(0.5, "decahertz_roll_up_round_seconds"), "{{recorder}} p50"),
        prom(_quantile(0.99, "decahertz_roll_up_round_seconds"), "{{recorder}} p99", ref="B"),
        minimum=0,
    )


def _losses() -> PanelBuilder:
    return lines(
        About(
            "Losses and retries",
            "Rows dropped by reason, rows that the database refused, attempts repeated, rounds failed.",
        ),
        COUNT,
        prom(
            "sum by (recorder, reason)"
            f" (increase(decahertz_ledger_dropped_total{_LABELS}[$__rate_interval]))",
            "{{recorder}} dropped: {{reason}}",
        ),
        prom(
            f"increase(decahertz_storage_dead_letters_total{_LABELS}[$__rate_interval])",
            "{{recorder}} dead letters",
            ref="B",
        ),
        prom(
            f"increase(decahertz_storage_retries_total{_LABELS}[$__rate_interval])",
            "{{recorder}} retries",
            ref="C",
        ),
        prom(
            f"increase(decahertz_roll_up_failures_total{_LABELS}[$__rate_interval])",
            "{{recorder}} failed roll-ups",
            ref="D",
        ),
        minimum=0,
    )


def _requests() -> PanelBuilder:
    return lines(
        About("Requests", "HTTP requests per second, by status."),
        PER_SECOND,
        prom(_per_second("decahertz_api_requests_total", "status"), "{{recorder}} {{status}}"),
        minimum=0,
        stacked=True,
        fill=30,
    )


def _request_time() -> PanelBuilder:
    query = prom(_quantile(0.99, "decahertz_api_request_duration_seconds", "route"), "{{recorder}} {{route}}")
    about = About("Time of requests", "99th percentile by route.")
    return lines(about, SECONDS, query, minimum=0, calculations=["lastNotNull"])


def _live() -> PanelBuilder:
    return lines(
        About(
            "WebSocket readers",
            "Readers connected; states that slow ones did not get; readers closed, per second.",
        ),
        style.PLAIN,
        prom(f"decahertz_api_websocket_clients{_LABELS}", "{{recorder}} readers"),
        prom(_per_second("decahertz_api_websocket_conflated_total"), "{{recorder}} conflated", ref="B"),
        prom(
            _per_second("decahertz_api_websocket_closed_total", "reason") + " > 0",
            "{{recorder}} closed: {{reason}}",
            ref="C",
        ),
        minimum=0,
    )
