"""Database engines to benchmark: plain PostgreSQL, and TimescaleDB if it is available.

``DECAHERTZ_TEST_POSTGRES`` names a PostgreSQL installation that has the extension.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from decahertz.app.settings import Settings
from storage.database import Database
from storage.postgres.embedded import EmbeddedPostgres, Installation, find_installation
from storage.schema.migrate import migrate
from storage.schema.samples import recent_of

_TIMESCALE = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
_WITHOUT_JOBS = {"timescaledb.max_background_workers": "0"}
_WITH_JOBS = {"max_worker_processes": "24"}


@dataclass(frozen=True)
class Engine:
    """A PostgreSQL installation and the engine that it serves as."""

    name: str
    """As in the setting ``tiers.engine``."""
    installation: Installation
    settings: Mapping[str, str] = field(default_factory=dict)

    def stored(self, table: str) -> str:
        """The table that samples are written into; on plain PostgreSQL ``table`` is a view."""
        return recent_of(table) if self.name == "plain" else table

    def server(self, folder: str | Path, *, has_jobs: bool = False) -> EmbeddedPostgres:
        """Makes a server in ``folder``, not started; ``has_jobs`` enables TimescaleDB's background jobs."""
        own = (_WITH_JOBS if has_jobs else _WITHOUT_JOBS) if self.name == "timescaledb" else {}
        return EmbeddedPostgres(
            Path(folder) / "postgres", installation=self.installation, settings={**self.settings, **own}
        )

    @asynccontextmanager
    async def database(self, **storage: float) -> AsyncIterator[tuple[Database, Settings]]:
        """Runs a server with a migrated database; yields it and its settings (``storage``: some of them)."""
        defaults = Settings()
        settings = replace(
            defaults,
            tiers=replace(defaults.tiers, engine=self.name),
            storage=replace(defaults.storage, **storage),
        )
        with tempfile.TemporaryDirectory() as folder:
            async with self.server(folder) as server:
                database = Database(server.url, settings.storage)
                await database.open()
                try:
                    await migrate(database)
                    yield database, settings
                finally:
                    await database.close()


def engines() -> list[Engine]:
    """Returns the available engines, plain PostgreSQL first."""
    found = [Engine("plain", find_installation(None))]
    prefix = os.environ.get("DECAHERTZ_TEST_POSTGRES", "")
    if prefix:
        named = find_installation(Path(prefix))
        if any(named.prefix.glob("share/**/timescaledb.control")):
            found.append(Engine("timescaledb", named, _TIMESCALE))
    return found
