"""The page that names every metric of Prometheus: docs/metrics.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.registry import Collector

from api.http.body_memory import BodyMemory
from api.http.cache import ResponseCache
from api.http.self_metrics import HttpMetrics
from api.http.server_log import server_logger
from api.live.self_metrics import HubMetrics
from api.security.audit import Auditor
from api.security.certificate import CertificateFiles
from api.security.quotas import Quotas
from api.security.tls import ServerTls
from collectors.execution.self_metrics import OrderEndMetrics
from collectors.feeds.host import FeedMetrics
from collectors.host.plugins import builtin_classes
from collectors.host.sampler import Sampler
from collectors.host.timer import GridTimer
from collectors.news.self_metrics import NewsMetrics
from control.queue import RequestQueue
from control.schedules import Schedules
from control.self_metrics import ControlMetrics, SignalMetrics
from control.templates import Templates
from decahertz.app.read_replica import lag_metric
from decahertz.app.self_metrics import ProgramMetrics
from decahertz.app.settings import Settings
from decahertz.bus import LocalBus
from decahertz.clock import SystemClock
from decahertz.metric import Kind
from decahertz.news_scorer import NewsScores
from decahertz.sample import schema_of
from decahertz.shared_cache import SharedCache
from decahertz.watchdog.self_metrics import WatchdogMetrics, export_thresholds
from exporter.exporter import Exporter
from exporter.family import families_of, histogram_families
from providers.gateway import Gateway
from storage.database import Database
from storage.maintenance.disk_watch import DiskMetrics
from storage.spool import Spool
from storage.tiers.self_metrics import RollUpMetrics
from storage.write.alert_queue import AlertQueue
from storage.write.alerts import AlertStore
from storage.write.order_requests import RequestStore
from storage.write.order_templates import TemplateStore
from storage.write.self_metrics import WriterMetrics

_HEAD = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]


def metric_tables() -> str:
    """All metrics as Markdown tables: a table per collector, and one of self-metrics."""
    parts = [f"### {name}\n\n" + _table(_samples(plugin)) for name, plugin in _collectors()]
    return "\n\n".join([*parts, "### Self-metrics\n\n" + _table(_self_metrics(_registry()))])


def _table(rows: Iterable[tuple[str, str, Sequence[str], str]]) -> str:
    lines = [
        f"| {name} | {type_} | {', '.join(f'`{label}`' for label in labels)} | {text} |"
        for name, type_, labels, text in rows
    ]
    return "\n".join([*_HEAD, *lines])


def _collectors() -> Iterator[tuple[str, Any]]:
    for name, plugin in builtin_classes("collectors").items():
        yield name, plugin(SystemClock(), plugin.options_type())


def _samples(collector: Any) -> Iterator[tuple[str, str, Sequence[str], str]]:  # noqa: ANN401 - any collector
    schema = schema_of(collector.sample_type)
    for family in families_of(schema):
        metric, labels = family.field.metric, schema.key
        name = family.series.decode()
        if family.extreme is not None:
            continue
        names = [name, f"{name}_min", f"{name}_max"] if metric.extremes else [name]
        if metric.kind is Kind.STATE:
            labels = (*labels, name)
        type_ = Kind.GAUGE if metric.kind is Kind.STATE else metric.kind
        yield ", ".join(f"`{one}`" for one in names), type_, labels, metric.meaning
    for histogram in histogram_families(schema.collector, collector.histograms):
        yield f"`{histogram.name}`", "histogram", histogram.histogram.key, histogram.histogram.help


def _self_metrics(registry: CollectorRegistry) -> Iterator[tuple[str, str, Sequence[str], str]]:
    for family in sorted(registry.collect(), key=lambda family: family.name):
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        type_ = "gauge" if family.type == "info" else family.type
        yield f"`{name}`", type_, _labels(registry, family), family.documentation


def _labels(registry: CollectorRegistry, family: Any) -> Sequence[str]:  # noqa: ANN401 - a metric, or its family
    """Labels of a family; the library keeps them in private attributes of the metric, or of the family."""
    found: dict[str, Collector] = registry._names_to_collectors  # noqa: SLF001 - there is no other way
    declared = getattr(family, "_labelnames", None) or getattr(found.get(family.name), "_labelnames", ())
    if family.type == "info":
        return ["version", "python"]
    return list(declared or ())


def _registry() -> CollectorRegistry:
    """The metrics of all parts of the program, none of which is started."""
    registry, bus, clock, settings = CollectorRegistry(), LocalBus(), SystemClock(), Settings()
    export_thresholds(registry, settings.alerts)
    WatchdogMetrics(registry, {})
    RollUpMetrics(registry, lambda: 0)
    WriterMetrics(registry, lambda: 0, lambda: None)
    registry.register(DiskMetrics(lambda: None))
    lag_metric(registry)
    database = Database("postgresql://", settings.storage)
    AlertQueue(AlertStore(database, ""), bus, clock, registry, expire_seconds=1.0)
    Spool(Path(), bus, clock, registry, settings.spool)
    Sampler(bus, clock, GridTimer(clock), registry, settings.sampler, ())
    Exporter(bus, (), registry, settings.exporter, clock, recorder="")
    registry.register(FeedMetrics((), 0))
    HttpMetrics(registry)
    BodyMemory(0, registry)
    ResponseCache(clock, registry, 0, SharedCache("redis://", "", clock, registry))
    HubMetrics(registry)
    Quotas(clock, registry)
    Auditor(database, bus, clock, registry, recorder="")
    server_logger(registry)
    ServerTls(CertificateFiles(Path(), Path()), clock, registry)
    registry.register(ProgramMetrics(list, list))
    registry.register(OrderEndMetrics(lambda: None))
    Gateway((), (), settings.providers, clock, registry, database)
    queue = RequestQueue(RequestStore(database, ""), bus, clock, settings.control, recorder="")
    schedules = Schedules(clock, "UTC")
    store = TemplateStore(database, "")
    templates = Templates(store, queue, schedules, clock, settings.control, recorder="")
    registry.register(ControlMetrics(queue, templates, clock))
    SignalMetrics(registry, ())
    registry.register(NewsMetrics(bus, NewsScores("", None, clock), clock))
    ProcessCollector(registry=registry)
    return registry
