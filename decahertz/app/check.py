"""``decahertz check``: look at everything that ``decahertz up`` will need, and name what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from collectors.host.plugins import PluginFailure, load_collectors, load_feeds
from decahertz.addresses import check_loopback, check_port
from decahertz.app.pipeline import StartError, database_url, embedded_dir, start_errors
from decahertz.clock import SystemClock
from decahertz.settings import SettingsError
from storage.database import Database
from storage.postgres.embedded import find_installation, running_pid
from storage.tiers.lint import lint

if TYPE_CHECKING:
    from decahertz.app.settings import Settings


async def run_check(settings: Settings) -> int:
    """Print one line for each thing looked at; 0 when all is well, 2 otherwise.

    Settings are checked by the time this runs. Raises :class:`~decahertz.settings.SettingsError` for the
    options of a plugin.
    """
    lines = [_policies(settings), *_plugins(settings), *_ports(settings), await _database(settings)]
    for what, found, wrong in lines:
        mark = "wrong" if wrong else "ok"
        sys.stdout.write(f"{mark:<6} {what}" + (f": {wrong or found}" if wrong or found else "") + "\n")
    return 2 if any(wrong for _, _, wrong in lines) else 0


Line = tuple[str, str, str]
"""What was looked at, what was found, what is wrong with it (empty: nothing)."""


def _policies(settings: Settings) -> Line:
    try:
        lint(settings.spool, settings.tiers, settings.retention)
    except SettingsError as error:
        return error.key, "", error.reason
    return "settings", "", ""


def _plugins(settings: Settings) -> Iterator[Line]:
    clock = SystemClock()
    collectors = load_collectors(settings.collectors.enabled, settings.sources, clock)
    feeds = load_feeds(settings.feeds.enabled, settings.sources, clock)
    for collector in collectors.plugins:
        count = len(collector.schema.metrics)
        yield f"collector {collector.name}", f"{count} metrics, from {collector.distribution}", ""
    for feed in feeds.plugins:
        yield f"feed {feed.name}", f"from {feed.distribution}", ""
    for failure in (*collectors.failures, *feeds.failures):
        yield _failed(failure)


def _failed(failure: PluginFailure) -> Line:
    return f"plugin {failure.name}", "", f"{failure.reason} (from {failure.distribution})"


def _ports(settings: Settings) -> Iterator[Line]:
    try:
        check_loopback("api.host", settings.api.host)
    except SettingsError as error:
        yield error.key, "", error.reason
    for table, host, port in (
        ("api", settings.api.host, settings.api.port),
        ("exporter", settings.exporter.host, settings.exporter.port),
    ):
        try:
            check_port(table, host, port)
        except SettingsError as error:
            yield error.key, "", error.reason
        else:
            yield f"{table}.port", f"{host}:{port} is free", ""


async def _database(settings: Settings) -> Line:
    try:
        with start_errors():
            if settings.database_url or running_pid(embedded_dir(settings)) is not None:
                database = Database(database_url(settings), settings.storage)
                info = await database.check()
                return "database", f"PostgreSQL {info.version} at {database.name}", ""
            installation = find_installation()
        return "database", f"embedded PostgreSQL {installation.version} in {embedded_dir(settings)}", ""
    except StartError as error:
        return "database", "", str(error)
