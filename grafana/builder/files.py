"""The files of the dashboards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder.control import control
from grafana.builder.execution import execution
from grafana.builder.feeds import feeds
from grafana.builder.market import market
from grafana.builder.orders import orders
from grafana.builder.overview import overview
from grafana.builder.providers import providers
from grafana.builder.recorder import recorder
from grafana.builder.risk import risk
from grafana.builder.strategy import strategy
from grafana.builder.system import system

FOLDER = Path("grafana") / "dashboards"
DASHBOARDS: tuple[Callable[[], Dashboard], ...] = (
    overview,
    feeds,
    market,
    strategy,
    execution,
    risk,
    orders,
    system,
    recorder,
    providers,
    control,
)


def dashboard_files() -> Iterator[tuple[Path, str]]:
    """Each file, relative to the root of the project, with its text."""
    for build in DASHBOARDS:
        made = build()
        assert made.uid is not None  # noqa: S101 - every dashboard has one
        text = json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        yield FOLDER / f"{made.uid.removeprefix('decahertz-')}.json", text + "\n"
