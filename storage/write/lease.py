"""The lease of a recorder's name: one process at a time writes under it.

The lease is a row of ``recorders``. PostgreSQL's clock decides when it expires, so the clocks of the hosts do
not matter, and no session holds it, so it works through transaction poolers. Each transaction of the writer
proves that its process holds the lease (:mod:`storage.write.transaction`): a process that was paused while
another one took over cannot write.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import structlog

from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.supervision import supervise
from storage.database import Database, DatabaseError, DatabaseUnavailableError
from storage.files import make_private_folder, open_locked

if TYPE_CHECKING:
    from storage.database import Connection

LEASE_SECONDS = 10.0
"""A lease that is not renewed expires after this time; another process may then take it."""
RENEW_SECONDS = 2.0

_ANSWER_SECONDS = 4.0
"""Limit of each statement: a server that is frozen is noticed before the lease expires."""
_ID_BYTES = 36
"""Length of the id in the file of the holder; the id of its process follows."""
_STANDBY_SECONDS = 0.5
_UNBLOCK_SECONDS = 1.0
_RELEASE_SECONDS = 1.0
_INSERT = """
INSERT INTO recorders (time, recorder, holder, host, process_id, held_since, expires_at, session)
VALUES (now(), $1, $2, $3, $4, now(), now() + make_interval(secs => $5), $6)
ON CONFLICT (recorder) DO NOTHING
"""
_CURRENT = """
SELECT holder, host, process_id, expires_at <= clock_timestamp() AS is_expired
FROM recorders WHERE recorder = $1
"""
_TAKE = """
UPDATE recorders SET time = now(), holder = $2, host = $3, process_id = $4, held_since = now(),
    expires_at = clock_timestamp() + make_interval(secs => $5), session = $6
WHERE recorder = $1
"""
_RENEW = """
UPDATE recorders SET time = now(), expires_at = now() + make_interval(secs => $3)
WHERE recorder = $1 AND session = $2
"""
_UNBLOCK = "SELECT count(pg_terminate_backend(pid)) FROM unnest(pg_blocking_pids($1)) AS pid"


class LeaseTakenError(DatabaseError):
    """Another process holds the lease."""


class LeaseLostError(DatabaseError):
    """Another process took the lease over."""


class HolderFile:
    """Identifies a data folder: the id under which its process holds leases.

    A process that is killed and started again on the same folder thus takes its own lease back at once. The
    lock keeps a second process out of the folder; the kernel releases it when the process ends.
    """

    def __init__(self, path: Path) -> None:
        """Raises :class:`LeaseTakenError` when another process uses the folder, and ``OSError``."""
        make_private_folder(path.parent)
        try:
            self._file = open_locked(path)
        except BlockingIOError as error:
            process = path.read_bytes()[_ID_BYTES:].decode(errors="replace").strip()
            raise LeaseTakenError(f"another process records into {path.parent}: process {process}") from error
        try:
            self.holder = uuid.UUID(os.pread(self._file, _ID_BYTES, 0).decode())
        except ValueError:  # new, or cut off
            self.holder = uuid.uuid4()
            os.pwrite(self._file, str(self.holder).encode(), 0)
        os.ftruncate(self._file, _ID_BYTES)
        os.pwrite(self._file, f" {os.getpid()}\n".encode(), _ID_BYTES)
        os.fsync(self._file)

    def close(self) -> None:
        """Releases the lock."""
        os.close(self._file)


def holder_of(path: Path) -> tuple[uuid.UUID | None, bool]:
    """The id in the holder file of a data folder, and whether a process records into that folder.

    Changes nothing; ``None`` where no recorder has run yet.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None, False
    try:
        text = os.pread(descriptor, 36, 0).decode(errors="replace")
        holder = uuid.UUID(text)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return holder, True
    except ValueError:
        return None, False
    finally:
        os.close(descriptor)
    return holder, False


async def check_lease(database: Database, recorder: str, holder: uuid.UUID | None) -> None:
    """Raises :class:`LeaseTakenError` if a process on another data folder than ``holder`` has the lease."""
    async with database.query() as connection:
        if await connection.fetchval("SELECT to_regclass('recorders') IS NULL"):
            return
        _check_free(recorder, holder, await connection.fetchrow(_CURRENT, recorder))


def _check_free(recorder: str, holder: uuid.UUID | None, current: asyncpg.Record | None) -> None:
    if current is not None and current["holder"] != holder and not current["is_expired"]:
        raise LeaseTakenError(
            f"recorder {recorder!r} is already running on host {current['host']}"
            f" (process {current['process_id']}); choose another name with --recorder, or stop it"
        )


class RecorderLease:
    """Takes, renews and releases the lease of one recorder.

    free ── take ──► held ── release ──► free
                      │ renewed every two seconds; an outage of the database changes nothing
                      └─ expired, and another process took it ──► lost (for good)
    """

    def __init__(
        self, database: Database, recorder: str, holder: uuid.UUID, *, standby: bool = False
    ) -> None:
        """With ``standby``, :meth:`start` waits for the lease that another process holds."""
        self._database = database
        self.recorder = recorder
        self.holder = holder
        self.session = uuid.uuid4()
        """New at each start: of two processes with copies of one data folder only the newer one can write."""
        self.was_elsewhere = False
        """Whether another holder had the lease before this process took it."""
        self._standby = standby
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._problem = ""
        self._log = structlog.get_logger(part="recorder", recorder=recorder)
        self._incident = Incident("lease_renewal", self._log)

    async def start(self) -> None:
        """Takes the lease and keeps renewing it.

        Raises :class:`LeaseTakenError` when another process holds it, and
        :class:`~storage.database.DatabaseUnavailableError`.
        """
        waits = False
        while True:
            try:
                await self.take()
                break
            except LeaseTakenError as error:
                if not self._standby:
                    raise
                if not waits:
                    self._log.info("lease_awaited", reason=str(error))
                waits = True
            except DatabaseUnavailableError:
                if not waits:
                    raise
            await asyncio.sleep(_STANDBY_SECONDS)
        if waits:
            self._log.warning("lease_taken_over")
        self._task = supervise(self._renew_forever, "recorder-lease")

    async def stop(self) -> None:
        """Releases the lease, so that another process can take it at once. Safe twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not self._lost.is_set():
                with suppress(DatabaseError, TimeoutError):
                    async with asyncio.timeout(_RELEASE_SECONDS):
                        await self._extend(0.0)
        await self._disconnect()

    async def take(self) -> None:
        """Takes the lease if it is free, expired, or this holder's own. Raises as :meth:`start` does."""
        try:
            connection = await self._connect()
            with self._database.errors():
                async with connection.transaction():
                    await self._take(connection)
        except LeaseTakenError:
            raise
        except DatabaseError:
            await self._disconnect()
            raise

    async def _take(self, connection: Connection) -> None:
        host, process = socket.gethostname(), os.getpid()
        values = (self.recorder, self.holder, host, process, LEASE_SECONDS, self.session)
        if (await connection.execute(_INSERT, *values)).endswith(" 1"):
            return
        _check_free(self.recorder, self.holder, await connection.fetchrow(_CURRENT, self.recorder))
        # A transaction of the previous holder keeps the row locked. If that process is paused in the middle
        # of one, its session has to be terminated.
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        unblocking = asyncio.create_task(self._unblock(pid), name="recorder-lease-unblock")
        try:
            current = await connection.fetchrow(f"{_CURRENT} FOR UPDATE", self.recorder)
            _check_free(self.recorder, self.holder, current)
            self.was_elsewhere = current is not None and current["holder"] != self.holder
        finally:
            unblocking.cancel()
            await asyncio.wait([unblocking])
        await connection.execute(_TAKE, *values)

    async def _unblock(self, pid: int) -> None:
        """Terminates the sessions that block the session ``pid``."""
        while True:
            await asyncio.sleep(_UNBLOCK_SECONDS)
            try:
                connection = await self._database.connect("lease")
                try:
                    with self._database.errors():
                        ended = await connection.fetchval(_UNBLOCK, pid)
                finally:
                    await self._database.disconnect(connection)
                self._log.warning("lease_holder_sessions_terminated", sessions=ended)
            except (DatabaseError, asyncpg.PostgresError) as error:
                self._log.warning("lease_unblock_failed", error=str(error))

    async def lost(self) -> LeaseLostError:
        """Waits until another process has taken the lease over."""
        await self._lost.wait()
        return self.loss()

    def lose(self) -> LeaseLostError:
        """Record that another process has taken the lease over, and return the error to raise."""
        if not self._lost.is_set():
            self._lost.set()
            self._log.error("lease_lost")
        return self.loss()

    def loss(self) -> LeaseLostError:
        """The error for a lost lease."""
        return LeaseLostError(
            f"another process has taken over recorder {self.recorder!r}: this one stops, and its spool keeps"
            " the rows that are not stored yet"
        )

    def status(self) -> ComponentStatus:
        """Current status."""
        if self._task is None:
            detail = "the lease of the name is taken when the database is there"
            return ComponentStatus(name="recorder", health=Health.DEGRADED, detail=detail)
        if self._lost.is_set():
            return ComponentStatus(name="recorder", health=Health.FAILED, detail=str(self.loss()))
        if self._problem:
            detail = f"the lease cannot be renewed: {self._problem}"
            return ComponentStatus(name="recorder", health=Health.DEGRADED, detail=detail)
        return ComponentStatus(name="recorder", health=Health.OK)

    async def _renew_forever(self) -> None:
        while not self._lost.is_set():
            await asyncio.sleep(RENEW_SECONDS)
            try:
                if not await self._extend(LEASE_SECONDS):
                    self.lose()
            except (DatabaseError, asyncpg.PostgresError) as error:
                self._incident.fail(error=error)
                self._problem = str(error)
            else:
                self._incident.recover()
                self._problem = ""

    async def _extend(self, seconds: float) -> bool:
        """Sets the lease to expire after ``seconds``; ``False`` when another process holds it."""
        try:
            connection = await self._connect()
            with self._database.errors():
                status = await connection.execute(_RENEW, self.recorder, self.session, seconds)
        except DatabaseError:
            await self._disconnect()
            raise
        return status.endswith(" 1")

    async def _connect(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            await self._disconnect()
            self._connection = await self._database.connect("lease", seconds=_ANSWER_SECONDS)
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._database.disconnect(connection)
