"""``decahertz check``: checks everything that ``decahertz up`` needs, and lists the problems."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from api.security.certificate import checked_expiry
from collectors.host.plugins import PluginFailure, load_collectors, load_feeds
from decahertz.addresses import check_port
from decahertz.app.database import database_url, embedded_dir, start_errors
from decahertz.app.settings import check_contradictions
from decahertz.app.start_error import StartError
from decahertz.clock import SystemClock, format_time
from decahertz.settings import SettingsError
from storage.database import Database, ServerInfo
from storage.postgres.embedded import find_installation, running_pid
from storage.write.api_keys import ApiKeyStore

if TYPE_CHECKING:
    from decahertz.app.settings import Settings


async def run_check(settings: Settings) -> int:
    """Print one line per check; return 0 if all pass, else 2.

    The settings themselves are checked when they are loaded. Raises
    :class:`~decahertz.settings.SettingsError` for invalid options of a plugin.
    """
    lines = [
        _policies(settings),
        *_plugins(settings),
        *_ports(settings),
        _exporter(settings),
        *_certificate(settings),
        *[line async for line in _database(settings)],
    ]
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


def _certificate(settings: Settings) -> Iterator[Line]:
    try:
        files = settings.api.certificate()
        if files is not None:
            expires_ns = checked_expiry(files, SystemClock().time_ns())
            yield "api.tls_certificate", f"{files.certificate} expires at {format_time(expires_ns)}", ""
    except SettingsError as error:
        yield error.key, "", error.reason


@contextlib.asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Database, ServerInfo]]:
    database = Database(database_url(settings), settings.storage)
    try:
        yield database, await database.open()
    finally:
        await database.close()


async def _database(settings: Settings) -> AsyncIterator[Line]:
    keys: int | None = None
    """Valid keys of the API; unknown while the embedded server does not run."""
    try:
        with start_errors():
            if settings.database_url or running_pid(embedded_dir(settings)) is not None:
                async with _opened(settings) as (database, info):
                    keys = await ApiKeyStore(database).count_valid(SystemClock().time_ns())
                yield "database", f"PostgreSQL {info.version} at {database.name}", ""
            else:
                directory = embedded_dir(settings)
                installation = find_installation()
                keys = None if directory.exists() else 0
                yield "database", f"embedded PostgreSQL {installation.version} in {directory}", ""
    except StartError as error:
        yield "database", "", str(error)
    yield _exposure(settings, keys)


def _exporter(settings: Settings) -> Line:
    host = settings.exporter.host
    try:
        is_exposed = settings.exporter.check_exposure()
    except SettingsError as error:
        return error.key, "", error.reason
    return "exporter.host", f"{host}: other machines can{'' if is_exposed else 'not'} reach it", ""


def _exposure(settings: Settings, keys: int | None) -> Line:
    host = settings.api.host
    try:
        if not settings.api.is_exposed():
            return "api.host", f"{host}: other machines cannot reach it", ""
    except SettingsError as error:
        return error.key, "", error.reason
    required = f"other machines can reach {host}, so keys are required"
    match keys:
        case None:
            return "api.host", f"{required}; whether there are any is not known until the database runs", ""
        case 0:
            missing = "there is none: make one with `decahertz keys create`, or use 127.0.0.1"
            return "api.host", "", f"{required}, and {missing}"
        case _:
            return "api.host", f"{required}: {keys} valid", ""
