"""What the exporter says of itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from exporter.negotiation import Format

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class ExporterMetrics:
    """Registers the families ``decahertz_exporter_…``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register; every series exists from the start, so that its first increase is seen."""
        scrapes = Counter("decahertz_exporter_scrapes", "Scrapes answered.", ["format"], registry=registry)
        self._scrapes = {form: scrapes.labels(form.name.lower()) for form in Format}
        self._duration = Histogram(
            "decahertz_exporter_scrape_duration_seconds",
            "Time from the request to the finished body, the waits between slices included.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            "decahertz_exporter_errors",
            "Times a collector or a self-metric could not be shown in a scrape.",
            registry=registry,
        )

    def scraped(self, form: Format, seconds: float) -> None:
        """Count one answer."""
        self._scrapes[form].inc()
        self._duration.observe(seconds)

    def failed(self) -> None:
        """Count one part that could not be shown."""
        self._errors.inc()
