"""``decahertz check``: checks everything that ``decahertz up`` needs, and lists the problems."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING

from api.security.certificate import checked_expiry
from collectors.host.plugins import Loaded, LoadedCollector, PluginFailure, load_collectors, load_feeds
from decahertz.addresses import PortInUseError, check_port
from decahertz.app.database import database_url, embedded_dir, start_errors
from decahertz.app.health import recorder_of_api, recorder_of_exporter
from decahertz.app.settings import check_contradictions
from decahertz.app.start_error import StartError
from decahertz.clock import SystemClock, format_time
from decahertz.settings import SettingsError
from storage.database import Database, ServerInfo
from storage.postgres.embedded import find_installation, running_pid
from storage.schema.rehearsal import rehearse
from storage.write.api_keys import ApiKeyStore
from storage.write.lease import check_lease, holder_of

if TYPE_CHECKING:
    from decahertz.app.settings import Settings
    from decahertz.sample import SampleSchema

_BLOCK = 4096


async def run_check(settings: Settings) -> int:
    """Print one line per check; return 0 if all pass, else 2.

    The settings themselves are checked when they are loaded. Raises
    :class:`~decahertz.settings.SettingsError` for invalid options of a plugin.
    """
    collectors = load_collectors(settings.collectors.enabled, settings.sources, SystemClock())
    holder, is_running = holder_of(settings.data_dir / "holder")
    lines = [
        _policies(settings),
        *_plugins(settings, collectors),
        _data_dir(settings),
        *_ports(settings, is_running=is_running),
        _exporter(settings),
        *_certificate(settings),
        *[line async for line in _database(settings, [one.schema for one in collectors.plugins], holder)],
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


def _plugins(settings: Settings, collectors: Loaded[LoadedCollector]) -> Iterator[Line]:
    feeds = load_feeds(settings.feeds.enabled, settings.sources, SystemClock())
    for collector in collectors.plugins:
        count = len(collector.schema.metrics)
        yield f"collector {collector.name}", f"{count} metrics, from {collector.distribution}", ""
    for feed in feeds.plugins:
        yield f"feed {feed.name}", f"from {feed.distribution}", ""
    for failure in (*collectors.failures, *feeds.failures):
        yield _failed(failure)


def _failed(failure: PluginFailure) -> Line:
    return f"plugin {failure.name}", "", f"{failure.reason} (from {failure.distribution})"


def _data_dir(settings: Settings) -> Line:
    for folder in (settings.data_dir / "spool", settings.data_dir):
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent  # noqa: PLW2901 - the one in which the start creates the rest
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(_BLOCK))
        except OSError as error:
            return "data_dir", "", f"{folder} cannot be written to: {error.strerror}"
    return "data_dir", str(settings.data_dir), ""


def _ports(settings: Settings, *, is_running: bool) -> Iterator[Line]:
    """Check both ports; with ``is_running``, this recorder may have them already."""
    for table, host, port, recorder_of in (
        ("api", settings.api.host, settings.api.port, recorder_of_api),
        ("exporter", settings.exporter.host, settings.exporter.port, recorder_of_exporter),
    ):
        try:
            check_port(table, host, port)
        except PortInUseError as error:
            name = recorder_of(settings)
            if is_running and name == settings.recorder:
                yield error.key, f"{host}:{port} is in use by this recorder, which is running", ""
            elif name is not None:
                yield error.key, "", f"{port} on {host} is in use by the recorder {name}"
            else:
                yield error.key, "", error.reason
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


async def _database(
    settings: Settings, schemas: Sequence[SampleSchema], holder: uuid.UUID | None
) -> AsyncIterator[Line]:
    keys: int | None = None
    """Valid keys of the API; unknown while the embedded server does not run."""
    try:
        with start_errors():
            if settings.database_url or running_pid(embedded_dir(settings)) is not None:
                async with _opened(settings) as (database, info):
                    await rehearse(database, schemas)
                    if not settings.standby:
                        await check_lease(database, settings.recorder, holder)
                    keys = await ApiKeyStore(database).count_valid(SystemClock().time_ns())
                pooler = ", through a pooler" if info.is_pooled else ""
                yield "database", f"PostgreSQL {info.version} at {database.name}{pooler}", ""
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
