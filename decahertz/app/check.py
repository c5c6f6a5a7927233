"""``decahertz check``: checks everything that ``decahertz up`` needs, and lists the problems."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from collectors.host.plugins import PluginFailure, load_collectors, load_feeds
from decahertz.addresses import check_port
from decahertz.app.pipeline import StartError, database_url, embedded_dir, start_errors
from decahertz.app.settings import check_contradictions
from decahertz.clock import SystemClock
from decahertz.settings import SettingsError
from storage.database import Database
from storage.postgres.embedded import find_installation, running_pid

if TYPE_CHECKING:
    from decahertz.app.settings import Settings


async def run_check(settings: Settings) -> int:
    """Print one line per check; return 0 if all pass, else 2.

    The settings themselves are checked when they are loaded. Raises
    :class:`~decahertz.settings.SettingsError` for invalid options of a plugin.
    """
    lines = [_policies(settings), *_plugins(settings), *_ports(settings), await _database(settings)]
    for subject, finding, problem in lines:
        mark = "wrong" if problem else "ok"
        text = f": {problem or finding}" if problem or finding else ""
        sys.stdout.write(f"{mark:<6} {subject}{text}\n")
    return 2 if any(problem for _, _, problem in lines) else 0


Line = tuple[str, str, str]
"""Subject, finding, problem (empty: none)."""


def _policies(settings: Settings) -> Line:
    try:
        check_contradictions(settings)
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
        if settings.api.is_exposed():
            yield "api.host", f"other machines can reach {settings.api.host}, so keys are required", ""
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
