"""Self-metrics of the exporter."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from exporter.negotiation import Format

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class ExporterMetrics:
    """Scrapes, their duration and errors."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Every series exists from the start, so that its first increase is visible.
        scrapes = Counter("decahertz_exporter_scrapes", "Scrapes served.", ["format"], registry=registry)
        self._scrapes = {form: scrapes.labels(form.name.lower()) for form in Format}
        self._duration = Histogram(
            "decahertz_exporter_scrape_duration_seconds",
            "Time from the request to the complete body, including pauses between slices.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            "decahertz_exporter_errors",
            "Failures to take the samples of a collector, or to render them or self-metrics.",
            registry=registry,
        )

    def scraped(self, form: Format, seconds: float) -> None:
        """Counts a scrape."""
        self._scrapes[form].inc()
        self._duration.observe(seconds)

    def failed(self) -> None:
        """Counts a failure to render."""
        self._errors.inc()
