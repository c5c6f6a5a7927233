"""Settings of ``decahertz stack``: the section ``[stack]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from decahertz.settings import Port

_PROGRAM = "empty: found on PATH."


class StackSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Programs that ``decahertz stack`` starts. They listen on 127.0.0.1."""

    prometheus_port: Annotated[Port, Meta(description="Port of Prometheus; 0 picks a free one.")] = 9090
    alertmanager_port: Annotated[Port, Meta(description="Port of Alertmanager; 0 picks a free one.")] = 9093
    grafana_port: Annotated[Port, Meta(description="Port of Grafana; 0 picks a free one.")] = 3000
    prometheus_program: Annotated[Path, Meta(description=f"Program of Prometheus; {_PROGRAM}")] = Path()
    alertmanager_program: Annotated[Path, Meta(description=f"Program of Alertmanager; {_PROGRAM}")] = Path()
    grafana_program: Annotated[Path, Meta(description=f"Program of Grafana; {_PROGRAM}")] = Path()
    prometheus_retention_days: Annotated[
        int, Meta(ge=1, description="Days that Prometheus keeps its data.")
    ] = 30
