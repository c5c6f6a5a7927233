"""Runs an embedded PostgreSQL: private, on a unix socket, and stopped when its parent ends.

::

    server = EmbeddedPostgres(Path("~/.local/share/decahertz/postgres").expanduser())
    url = await server.start()
    …
    await server.stop()

The server does not listen on the network. Only its own user and root can enter the folder of its socket, and
it accepts connections of one operating system user: the one that started it.

PostgreSQL refuses to run as root. Started by root, it runs as the user that owns the data (see
:func:`storage.postgres.cluster.server_user`). It changes no permission of a folder that is not its own: the
launcher passes the data directory on as an open descriptor (:mod:`storage.postgres.launcher`), and programs
that the user cannot read, such as those in a virtual environment below ``/root``, are copied once to a folder
that every user can read (:func:`storage.postgres.installation.readable_copy`).

When the process that started it dies, even by ``kill -9``, the kernel signals the server to shut down (on
Linux; elsewhere the next start does it). The kernel watches the *thread* that called
:meth:`EmbeddedPostgres.start`, so the event loop has to run in a thread that outlives the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
import structlog

from decahertz.supervision import supervise
from storage.files import make_private_folder
from storage.postgres.cluster import (
    DATABASE,
    ClusterPaths,
    OwnerLock,
    Server,
    database_url,
    find_server,
    own_name,
    running_pid,
    server_user,
)
from storage.postgres.creation import create_cluster, remove_leftovers
from storage.postgres.installation import (
    EmbeddedPostgresError,
    Installation,
    find_installation,
)
from storage.postgres.log import ServerLog
from storage.postgres.process import ProgramRunner, in_thread, retire, runnable
from storage.postgres.settings import (
    NO_SETTINGS,
    access_files,
    check_settings,
    server_options,
)

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "Installation",
    "Options",
    "database_url",
    "find_installation",
    "running_pid",
]

_PROBE_EVERY_S = 0.02
_PROBE_LIMIT_S = 10.0
_RETRY_EVERY_S = 0.2
_MAINTENANCE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Time limits and, for root, the cache folder."""

    start_limit_s: float = 300.0
    """Limit of a start. It is long because after a crash the server replays its log first; a server that
    ends instead is noticed at once."""
    stop_limit_s: float = 30.0
    """Limit of an orderly stop; after it the server is killed, and the next start replays the log."""
    cache_dir: Path = Path("/var/cache/decahertz")
    """As root: folder for a copy of the programs if the server's user cannot read them."""


_DEFAULT_OPTIONS = Options()


class EmbeddedPostgres:
    """One PostgreSQL server on one data directory. :meth:`start` may be called once."""

    def __init__(
        self,
        data_dir: Path,
        *,
        installation: Installation | None = None,
        settings: Mapping[str, str] = NO_SETTINGS,
        options: Options = _DEFAULT_OPTIONS,
    ) -> None:
        """``settings`` override the defaults, by their names in ``postgresql.conf``.

        Without an ``installation``, :func:`find_installation` chooses one. Raises
        :class:`EmbeddedPostgresError` for a setting that cannot be changed.
        """
        self._paths = ClusterPaths.of(data_dir)
        check_settings(self._paths, settings)
        self._installation = installation
        self._settings = settings
        self._options = options
        self._lock = OwnerLock(self._paths)
        self._server_log = ServerLog(self._paths.log)
        self._runner: ProgramRunner | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._used = False
        self._end_expected = False
        self._log = structlog.get_logger(part="embedded_postgres", data_dir=str(self._paths.root))

    @property
    def url(self) -> str:
        """URL of the database, for asyncpg and psycopg; it never changes."""
        return self._paths.url()

    @property
    def pid(self) -> int | None:
        """Process id of the server; ``None`` if it does not run."""
        return self._runner.pid if self._runner is not None and self._watcher is not None else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> str:
        """Starts the server, creates data directory and database if they are missing, and returns the URL.

        Returns when the database accepts connections. Raises :class:`EmbeddedPostgresError`, and then leaves
        nothing running.
        """
        if self._used:
            raise EmbeddedPostgresError("an embedded PostgreSQL can be started only once: create a new one")
        self._used = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._options.start_limit_s):
                await self._start()
        except TimeoutError:
            failure = await in_thread(
                self._server_log.failure, f"not ready after {self._options.start_limit_s:g} s"
            )
            await self.stop()
            raise failure from None
        except OSError as error:
            await self.stop()
            raise EmbeddedPostgresError(f"cannot start PostgreSQL on {self._paths.root}: {error}") from error
        except BaseException:
            await asyncio.shield(self.stop())
            raise
        self._log.info("postgres_ready", pid=self.pid, seconds=round(loop.time() - began, 3))
        return self.url

    async def stop(self) -> None:
        """Stops the server in an orderly way. Safe without :meth:`start`, and twice."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
            self._watcher = None
        if self._runner is not None:
            await self._runner.halt(self._options.stop_limit_s)
        await in_thread(self._release)

    def expect_end(self) -> None:
        """Takes the end of the server from now on as part of the stop: the signal for this process may have
        gone to its whole group.
        """
        self._end_expected = True

    async def wait_ended(self) -> int:
        """Waits until the server ends, for whatever reason; returns its exit code."""
        if self._runner is None:
            raise EmbeddedPostgresError("the embedded PostgreSQL has not been started")
        return await self._runner.wait()

    async def _start(self) -> None:
        runner, orphan = await in_thread(self._prepare)
        if orphan is not None:
            await retire(orphan, self._options.stop_limit_s)
        installation = self._installation
        if installation is None:
            installation = await in_thread(find_installation)
        installation = await runnable(runner, installation, self._options.cache_dir)
        user = own_name()
        if not await in_thread(self._paths.holds_data, installation):
            self._log.info("cluster_creation_started", version=installation.version)
            await create_cluster(self._paths, runner, installation, self._server_log)
        await in_thread(self._paths.publish_alias)
        options = await in_thread(server_options, self._paths, installation, self._settings)
        command = [installation.program("postgres"), "-D", runner.seen(self._paths.cluster), *options]
        while True:
            await runner.start_server(command, directory=self._paths.cluster, files=access_files(user))
            if await self._is_ready(runner):
                break
            await asyncio.sleep(_RETRY_EVERY_S)  # only another start shows whether they have ended
        self._watcher = supervise(partial(self._watch, runner), "embedded-postgres-watch")

    def _prepare(self) -> tuple[ProgramRunner, Server | None]:
        """Locks the data directory, and looks for a server that its last owner left behind."""
        make_private_folder(self._paths.root)
        self._lock.acquire()
        output = self._server_log.open()
        self._runner = ProgramRunner(server_user(self._paths), output)
        remove_leftovers(self._paths)
        return self._runner, find_server(self._paths)

    def _release(self) -> None:
        if self._runner is not None:
            self._runner = None
            self._paths.withdraw_alias()
        self._server_log.close()
        self._lock.release()

    async def _is_ready(self, runner: ProgramRunner) -> bool:
        """Waits until the server accepts connections; ``False`` if processes of a killed server prevent it.

        The children of a server that was killed go on until each of them notices.
        """
        while not await self._accepts():
            try:
                code = await runner.wait(_PROBE_EVERY_S)
            except TimeoutError:
                continue
            failure = await in_thread(
                self._server_log.failure, f"PostgreSQL ended during its start with exit code {code}"
            )
            if "pre-existing shared memory block" not in str(failure):
                raise failure
            self._log.warning("postgres_start_delayed", reason="processes of a killed server still run")
            await in_thread(self._server_log.mark)
            return False
        return True

    async def _accepts(self) -> bool:
        """Whether the server accepts connections; if so, the database exists, created if it was missing."""
        try:
            await self._make_database()
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
            return False
        except asyncpg.PostgresError as error:
            raise await in_thread(
                self._server_log.failure, f"cannot connect to {self.url}: {error}"
            ) from error
        return True

    async def _make_database(self) -> None:
        connection = await asyncpg.connect(
            self._paths.url("postgres"),
            password="",  # none is needed; without it asyncpg looks for a password file
            timeout=_PROBE_LIMIT_S,
            command_timeout=_PROBE_LIMIT_S,
        )
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close(timeout=_PROBE_LIMIT_S)

    async def _watch(self, runner: ProgramRunner) -> None:
        """Maintain the server's files; log its end if nobody stopped it."""
        while True:
            try:
                code = await runner.wait(_MAINTENANCE_EVERY_S)
            except TimeoutError:
                await in_thread(self._maintain_files)
                continue
            if self._end_expected:
                return
            message = await in_thread(self._server_log.tail)
            self._log.error("postgres_ended", exit_code=code, message=message)
            return

    def _maintain_files(self) -> None:
        try:
            self._server_log.rotate()
            self._paths.publish_alias()  # cleaners of temporary folders remove it
        except (OSError, EmbeddedPostgresError) as error:
            self._log.warning("postgres_maintenance_failed", reason=str(error))
