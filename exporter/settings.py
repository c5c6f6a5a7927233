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
