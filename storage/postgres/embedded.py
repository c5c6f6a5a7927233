"""An embedded PostgreSQL: ours alone, reached over a unix socket, gone with its parent, its data kept.

::

    server = EmbeddedPostgres(Path("~/.local/share/decahertz/postgres").expanduser())
    url = await server.start()
    …
    await server.stop()

The server listens on no network. Its socket is in a folder that only its own user (and root) can enter,
and it lets in one operating system user: the one who started it.

As root, whom PostgreSQL refuses, it runs as the user who owns the data (see
:func:`storage.postgres.cluster.server_account`). No permission of a folder that is not ours is changed: the
data directory is handed over open (:mod:`storage.postgres.launcher`), and programs that the user cannot
read, as those in a virtual environment below ``/root``, are copied once to where everybody can
(:func:`storage.postgres.installation.readable_copy`).

When the process that started it dies, by ``kill -9`` too, the kernel tells the server to shut down
(Linux; elsewhere the next start does). The kernel watches the *thread* that called
:meth:`EmbeddedPostgres.start`: the event loop has to run in one that lives as long as the server shall.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
import structlog

from storage.postgres.cluster import (
    DATABASE,
    Layout,
    OwnerLock,
    Server,
    database_url,
    find_server,
    own_name,
    running_pid,
    server_account,
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
_UPKEEP_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run it; the defaults suit nearly everybody."""

    start_limit_s: float = 300.0
    """For the whole start. It is long because after a crash the server has to replay its log first;
    a server that ends instead is noticed at once."""
    stop_limit_s: float = 30.0
    """For an orderly stop; then it is made to stop, and the next start replays the log."""
    user: str | None = None
    """As root: whom new data shall belong to. By default ``postgres``, else ``nobody``."""
    cache_dir: Path = Path("/var/cache/decahertz")
    """As root: where a copy of the programs goes when the server's user cannot read them."""


_DEFAULT_OPTIONS = Options()


class EmbeddedPostgres:
    """One PostgreSQL server on one data directory. :meth:`start` may be called once."""

    def __init__(
        self,
        data_dir: Path,
        *,
        database: str = DATABASE,
        installation: Installation | None = None,
        settings: Mapping[str, str] = NO_SETTINGS,
        options: Options = _DEFAULT_OPTIONS,
    ) -> None:
        """Nothing happens yet.

        Without an ``installation`` it is :func:`find_installation` that chooses. ``settings`` go over our
        defaults, by their names in ``postgresql.conf``. Raises :class:`EmbeddedPostgresError` for one that
        cannot be changed.
        """
        self._layout = Layout.of(data_dir)
        check_settings(self._layout, settings)
        self._database = database
        self._installation = installation
        self._settings = settings
        self._options = options
        self._lock = OwnerLock(self._layout)
        self._server_log = ServerLog(self._layout.log)
        self._runner: ProgramRunner | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._used = False
        self._log = structlog.get_logger(part="embedded_postgres", data_dir=str(self._layout.root))

    @property
    def url(self) -> str:
        """The database's address, for asyncpg and psycopg alike; it never changes."""
        return self._layout.url(self._database)

    @property
    def pid(self) -> int | None:
        """Process id of the server while it runs."""
        return self._runner.pid if self._runner is not None and self._watcher is not None else None

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        await self.stop()

    async def start(self) -> str:
        """Start the server, making data directory and database where they are missing; returns the address.

        Returns when the database takes connections. Raises :class:`EmbeddedPostgresError`, and then
        leaves nothing running.
        """
        if self._used:
            raise EmbeddedPostgresError("an embedded PostgreSQL can be started only once: make a new one")
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
            raise EmbeddedPostgresError(f"cannot start PostgreSQL on {self._layout.root}: {error}") from error
        except BaseException:
            await asyncio.shield(self.stop())
            raise
        self._log.info("postgres_ready", pid=self.pid, seconds=round(loop.time() - began, 3))
        return self.url

    async def stop(self) -> None:
        """Stop the server in an orderly way. Safe without :meth:`start`, and twice."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
            self._watcher = None
        if self._runner is not None:
            await self._runner.halt(self._options.stop_limit_s)
        await in_thread(self._release)

    async def wait_ended(self) -> int:
        """Wait until the started server ends, for whatever reason; returns its exit code."""
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
        if not await in_thread(self._layout.holds_data, installation):
            self._log.info("postgres_creating", version=installation.version)
            await create_cluster(self._layout, runner, installation, self._server_log)
        await in_thread(self._layout.publish_alias)
        options = server_options(self._layout, installation, self._settings)
        command = [installation.program("postgres"), "-D", runner.seen(self._layout.cluster), *options]
        while True:
            await runner.start_server(command, directory=self._layout.cluster, files=access_files(user))
            if await self._is_ready(runner):
                break
            await asyncio.sleep(_RETRY_EVERY_S)  # only a server itself can tell whether they have gone
        self._watcher = asyncio.create_task(self._watch(runner), name="embedded-postgres-watch")

    def _prepare(self) -> tuple[ProgramRunner, Server | None]:
        """Take the data directory over; from here on nobody else starts a server on it."""
        self._layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.acquire()
        output = self._server_log.open()
        self._runner = ProgramRunner(server_account(self._layout, self._options.user), output)
        remove_leftovers(self._layout)
        return self._runner, find_server(self._layout)

    def _release(self) -> None:
        if self._runner is not None:
            self._runner = None
            self._layout.withdraw_alias()
        self._server_log.close()
        self._lock.release()

    async def _is_ready(self, runner: ProgramRunner) -> bool:
        """Wait until the server takes connections; ``False`` when processes of a killed one are in its way.

        A server that was killed leaves its processes behind until each of them notices.
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
            self._log.warning("postgres_waits_for_old_processes")
            await in_thread(self._server_log.mark)
            return False
        return True

    async def _accepts(self) -> bool:
        """Whether the server takes connections; then the database is there too, made now if need be."""
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
            self._layout.url("postgres"),
            password="",  # none is asked for; without it a password file would be looked for
            timeout=_PROBE_LIMIT_S,
            command_timeout=_PROBE_LIMIT_S,
        )
        try:
            known = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", self._database)
            if known is None:
                name = '"' + self._database.replace('"', '""') + '"'
                await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close(timeout=_PROBE_LIMIT_S)

    async def _watch(self, runner: ProgramRunner) -> None:
        """Say so when the server ends on its own; look after its files."""
        while True:
            try:
                code = await runner.wait(_UPKEEP_EVERY_S)
            except TimeoutError:
                await in_thread(self._keep_up)
                continue
            said = await in_thread(self._server_log.tail)
            self._log.error("postgres_ended", exit_code=code, said=said)
            return

    def _keep_up(self) -> None:
        try:
            self._server_log.bound()
            self._layout.publish_alias()  # it is where old files are cleared away
        except (OSError, EmbeddedPostgresError) as error:
            self._log.warning("postgres_upkeep_failed", reason=str(error))
