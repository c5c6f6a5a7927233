"""The engines to measure on: plain PostgreSQL, and TimescaleDB where there is one.

``DECAHERTZ_TEST_POSTGRES`` names a PostgreSQL that has the extension.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from storage.postgres.embedded import EmbeddedPostgres, Installation, find_installation

_TIMESCALE = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
_WITHOUT_JOBS = {"timescaledb.max_background_workers": "0"}
_WITH_JOBS = {"max_worker_processes": "24"}


@dataclass(frozen=True)
class Engine:
    """A PostgreSQL, and what it is used as."""

    name: str
    """As the setting ``tiers.engine`` has it."""
    installation: Installation
    settings: Mapping[str, str] = field(default_factory=dict)

    def server(self, folder: str | Path, *, has_jobs: bool = False) -> EmbeddedPostgres:
        """A server of its own below ``folder``, not started yet.

        With ``has_jobs`` TimescaleDB does what it does by itself, else nothing.
        """
        own = (_WITH_JOBS if has_jobs else _WITHOUT_JOBS) if self.name == "timescaledb" else {}
        return EmbeddedPostgres(
            Path(folder) / "postgres", installation=self.installation, settings={**self.settings, **own}
        )


def engines() -> list[Engine]:
    """Plain PostgreSQL first."""
    found = [Engine("plain", find_installation(None))]
    prefix = os.environ.get("DECAHERTZ_TEST_POSTGRES", "")
    if prefix:
        named = find_installation(Path(prefix))
        if any(named.prefix.glob("share/**/timescaledb.control")):
            found.append(Engine("timescaledb", named, _TIMESCALE))
    return found
