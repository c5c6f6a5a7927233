"""Settings of the Prometheus exporter: the section ``[exporter]``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from decahertz.settings import Port, Seconds


class ExporterSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The Prometheus endpoint."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port for /metrics; 0 picks a free one.")] = 9464
    window_seconds: Annotated[
        Seconds,
        Meta(
            description="Trailing window of the families `…_min` and `…_max`; at least two scrape intervals."
        ),
    ] = 30.0
    max_keys: Annotated[
        int,
        Meta(
            ge=1,
            description="Label budget: keys of a collector (instruments, strategies) with series of their"
            " own. Counters and histograms of the others are added up as `__other__`.",
        ),
    ] = 2_000
    key_ttl_seconds: Annotated[
        float,
        Meta(ge=0, le=2_678_400, description="How long a retired key keeps its place in the label budget."),
    ] = 3600.0
