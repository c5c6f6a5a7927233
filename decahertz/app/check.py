"""``decahertz check``: checks everything that ``decahertz up`` needs, and lists the problems."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from api.security.certificate import checked_expiry
from collectors.host.plugins import (
    Loaded,
    LoadedCollector,
    LoadedGenerator,
    PluginFailure,
    load_collectors,
    load_feeds,
    load_generators,
    load_scorer,
)
from control.signals.schedule import check_schedules
from decahertz.addresses import PortInUseError, check_port
from decahertz.app.database import READ_URL, database_url, embedded_dir, read_url, start_errors
from decahertz.app.health import recorder_of_api, recorder_of_exporter
from decahertz.app.provider_loading import enabled_providers
from decahertz.app.settings import check_contradictions
from decahertz.app.start_error import StartError
from decahertz.bus import LocalBus
from decahertz.clock import SystemClock, format_time
from decahertz.contracts import Contracts
from decahertz.instruments_file import InstrumentsFileError, read_instruments
from decahertz.latest import LatestSamples
from decahertz.settings import SettingsError
from decahertz.words import counted
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
    """Prints one line per check; returns 0 if all pass, else 2.

    The settings themselves are checked when they are loaded. Raises
    :class:`~decahertz.settings.SettingsError` for invalid options of a plugin.
    """
    collectors = load_collectors(settings.collectors.enabled, settings.sources, SystemClock())
    holder, is_running = holder_of(settings.data_dir / "holder")
    lines = [
        _policies(settings),
        *_plugins(settings, collectors),
        _data_dir(settings),
        *_instruments(settings),
        *_ports(settings, is_running=is_running),
        _exporter(settings),
        *_certificate(settings),
        *[line async for line in _reads(settings)],
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
    clock = SystemClock()
    feeds = load_feeds(settings.feeds.enabled, settings.sources, clock, data_dir=settings.data_dir)
    contracts = Contracts(settings.accounting, clock)
    providers = enabled_providers(settings, clock, LatestSamples(LocalBus()), contracts)
    for collector in collectors.plugins:
        count = len(collector.schema.metrics)
        yield f"collector {collector.name}", f"{count} metrics, from {collector.distribution}", ""
    for feed in feeds.plugins:
        yield f"feed {feed.name}", f"from {feed.distribution}", ""
    for provider in providers.plugins:
        yield f"provider {provider.name}", "", ""
    generators = load_generators(settings.signals.enabled)
    yield _schedules(settings, generators)
    for generator in generators.plugins:
        yield f"signal generator {generator.name}", f"from {generator.distribution}", ""
    scorers = load_scorer(settings.news.scorer)
    for scorer in scorers.plugins:
        yield f"news scorer {scorer.name}", f"from {scorer.distribution}", ""
    for failure in (
        *collectors.failures,
        *feeds.failures,
        *providers.failures,
        *generators.failures,
        *scorers.failures,
    ):
        yield _failed(failure)


def _schedules(settings: Settings, generators: Loaded[LoadedGenerator]) -> Line:
    try:
        check_schedules(settings.signals, settings.accounting, generators)
    except SettingsError as error:
        return error.key, "", error.reason
    return "signal schedules", str(len(settings.signals.schedules)), ""


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


def _instruments(settings: Settings) -> Iterator[Line]:
    if settings.instruments_file != Path():
        try:
            found = read_instruments(settings.instruments_file, SystemClock().time_ns())
        except InstrumentsFileError as error:
            yield "instruments_file", "", str(error)
        else:
            yield (
                "instruments_file",
                f"{settings.instruments_file} defines {counted(len(found), 'instrument')}",
                "",
            )


def _ports(settings: Settings, *, is_running: bool) -> Iterator[Line]:
    """Checks both ports; with ``is_running``, this recorder may have them already."""
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


async def _reads(settings: Settings) -> AsyncIterator[Line]:
    """Checks the replica, which need not have the tables yet."""
    if not settings.storage.read_url:
        return
    try:
        with start_errors():
            info = await Database(read_url(settings), settings.storage, key=READ_URL).check()
        yield READ_URL, f"PostgreSQL {info.version}", ""
    except StartError as error:
        yield READ_URL, "", str(error)


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
