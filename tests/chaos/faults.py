"""Faults that can be injected into a running world, each with how it ends and what health says of it."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import socket
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import asyncpg
import msgspec
import psutil

from tests.chaos.world import Full, World, now_ns
from tests.small_disk import fill_up

Heal = Callable[[], object]
LONGEST_STEP = 3.0
"""Seconds. Of a longer step back instants are sampled a second time, by design."""
_RESCUE_NS = 500_000_000
"""Time in which a disk that has room again gets the rows that it had refused."""
_SLOW_CLIENTS = 100
_RATE = 1000.0


@dataclass(frozen=True)
class Fault:
    """A fault: ``inject`` begins it and returns what ends it."""

    name: str
    group: str
    """Of the faults of one group, one at a time."""
    inject: Callable[[World, random.Random], Heal]
    parts: tuple[str, ...] = ()
    """One of these is not healthy while the fault lasts, and all are soon after it; none: nobody can say."""


def postgres_stopped(chaos: World, _: random.Random) -> Heal:
    chaos.postgres.stop()
    return chaos.postgres.start


def postgres_killed(chaos: World, _: random.Random) -> Heal:
    chaos.postgres.kill()
    return chaos.postgres.start


def postgres_frozen(chaos: World, _: random.Random) -> Heal:
    frozen = chaos.postgres.processes()
    for process in frozen:
        process.suspend()

    def thaw() -> None:
        for process in frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    return thaw


def connections_forbidden(chaos: World, _: random.Random) -> Heal:
    chaos.administer("ALTER DATABASE decahertz ALLOW_CONNECTIONS false", _TERMINATE)
    return partial(chaos.administer, "ALTER DATABASE decahertz ALLOW_CONNECTIONS true")


def database_read_only(chaos: World, _: random.Random) -> Heal:
    chaos.administer("ALTER DATABASE decahertz SET default_transaction_read_only = on", _TERMINATE)
    return partial(
        chaos.administer, "ALTER DATABASE decahertz RESET default_transaction_read_only", _TERMINATE
    )


def connections_taken(chaos: World, _: random.Random) -> Heal:
    taken: list[asyncpg.Connection[asyncpg.Record]] = []

    async def take() -> None:
        taken.append(await asyncpg.connect(chaos.postgres.url, timeout=10))
        limit = int(await taken[0].fetchval("SHOW max_connections"))
        while len(taken) < limit:  # it connects again, or one of ours does first
            await taken[0].execute(_TERMINATE_OTHERS, [one.get_server_pid() for one in taken])
            with contextlib.suppress(asyncpg.TooManyConnectionsError):
                while len(taken) < limit:
                    taken.append(await asyncpg.connect(chaos.postgres.url, timeout=10))

    chaos.background.call(take())

    async def close() -> None:
        for connection in taken:
            connection.terminate()

    return lambda: chaos.background.call(close())


def table_locked(chaos: World, _: random.Random) -> Heal:
    async def lock() -> asyncpg.Connection[asyncpg.Record]:
        connection = await asyncpg.connect(chaos.postgres.url, timeout=10)
        await connection.execute("BEGIN; LOCK TABLE logs IN ACCESS EXCLUSIVE MODE")
        return connection

    connection = chaos.background.call(lock())

    async def unlock() -> None:
        connection.terminate()

    return lambda: chaos.background.call(unlock())


def table_missing(chaos: World, _: random.Random) -> Heal:
    chaos.ask("ALTER TABLE logs RENAME TO logs_away")
    return partial(chaos.ask, "ALTER TABLE logs_away RENAME TO logs")


def pipeline_killed(chaos: World, _: random.Random) -> Heal:
    life = chaos.pipeline.lives[-1]
    chaos.pipeline.kill()
    if chaos.disk.ended_ns + _RESCUE_NS > life.died_ns:  # what is in memory only, it takes with it
        life.unclear.append((chaos.disk.began_ns, life.died_ns))
    return chaos.start_pipeline


def pipeline_frozen(chaos: World, _: random.Random) -> Heal:
    assert chaos.pipeline.running is not None
    pid = chaos.pipeline.running.process.pid
    os.kill(pid, signal.SIGSTOP)
    return partial(os.kill, pid, signal.SIGCONT)


def clock_stepped(chaos: World, chance: random.Random) -> Heal:
    step = chance.uniform(-LONGEST_STEP, LONGEST_STEP)
    chaos.pipeline.tell(str(step))
    return lambda: chaos.pipeline.tell(str(-step))


def descriptors_exhausted(chaos: World, _: random.Random) -> Heal:
    assert chaos.pipeline.running is not None
    pid = chaos.pipeline.running.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (psutil.Process(pid).num_fds(), before[1]))
    return lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def memory_exhausted(chaos: World, _: random.Random) -> Heal:
    """Some libraries abort without memory: then the process ends, as if it was killed."""
    assert chaos.pipeline.running is not None
    process, life, began_ns = chaos.pipeline.running.process, chaos.pipeline.lives[-1], now_ns()
    chaos.is_state_exact = False
    before = resource.prlimit(process.pid, resource.RLIMIT_AS)
    used = psutil.Process(process.pid).memory_info().vms
    resource.prlimit(process.pid, resource.RLIMIT_AS, (used, before[1]))

    def give_back() -> None:
        if process.poll() is None:
            resource.prlimit(process.pid, resource.RLIMIT_AS, before)
        else:
            chaos.pipeline.kill()
            life.unclear.append((began_ns, life.died_ns))
            chaos.start_pipeline()

    return give_back


def slow_clients(chaos: World, _: random.Random) -> Heal:
    sockets = []
    for _number in range(_SLOW_CLIENTS):
        client = socket.create_connection(("127.0.0.1", chaos.pipeline.port), timeout=10)
        client.sendall(b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n[")
        sockets.append(client)

    def close() -> None:
        for client in sockets:
            client.close()

    return close


def keys_flooded(chaos: World, _: random.Random) -> Heal:
    """A trading process with 5,000 strategies; while nobody answers, it gives up."""
    time_ns = now_ns()
    equity = (
        {"type": "equity", "time_ns": time_ns, "strategy": f"s{n}", "equity": 1.0} for n in range(5_000)
    )
    batch = {"source": "flood", "epoch": time_ns, "first_sequence": 1, "events": list(equity)}
    request = urllib.request.Request(  # noqa: S310 - this machine
        f"{chaos.pipeline.url}/api/v1/events",
        data=msgspec.json.encode(batch),
        headers={"Content-Type": "application/json"},
    )
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10):  # noqa: S310 - this machine
        pass
    return lambda: None


def disk_full(chaos: World, _: random.Random) -> Heal:
    filler = chaos.spool / "filler"
    chaos.disk = Full(now_ns())
    fill_up(filler)

    def make_room() -> None:
        filler.unlink()
        chaos.disk.ended_ns = now_ns()

    return make_room


def spool_deleted(chaos: World, _: random.Random) -> Heal:
    for file in chaos.spool.glob("spool.sqlite*"):
        file.unlink(missing_ok=True)  # those that are written again come and go
    return lambda: None


def client_killed(chaos: World, _: random.Random) -> Heal:
    chaos.emitter.kill()
    return partial(chaos.start_client, _RATE)


def network_cut(chaos: World, _: random.Random) -> Heal:
    chaos.background.call(chaos.network.cut())
    return partial(setattr, chaos.network, "is_cut", False)


def network_slow(chaos: World, chance: random.Random) -> Heal:
    chaos.network.delay_seconds = chance.uniform(0.01, 0.3)
    return partial(setattr, chaos.network, "delay_seconds", 0.0)


def answers_lost(chaos: World, chance: random.Random) -> Heal:
    chaos.network.lose_answers = chance.randint(1, 5)
    return partial(setattr, chaos.network, "lose_answers", 0)


_TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = 'decahertz' AND pid <> pg_backend_pid()"
)
_TERMINATE_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = 'decahertz' AND pid <> ALL ($1::int[])"
)
_DATABASE = ("storage",)
FAULTS = (
    Fault("postgres_stopped", "database", postgres_stopped, _DATABASE),
    Fault("postgres_killed", "database", postgres_killed, _DATABASE),
    Fault("postgres_frozen", "database", postgres_frozen, _DATABASE),
    Fault("connections_forbidden", "database", connections_forbidden, _DATABASE),
    Fault("database_read_only", "database", database_read_only, _DATABASE),
    Fault("connections_taken", "database", connections_taken, _DATABASE),
    Fault("table_locked", "database", table_locked, _DATABASE),
    Fault("table_missing", "database", table_missing, _DATABASE),
    Fault("pipeline_killed", "pipeline", pipeline_killed),
    Fault("pipeline_frozen", "pipeline", pipeline_frozen),
    Fault("clock_stepped", "pipeline", clock_stepped),
    Fault("descriptors_exhausted", "descriptors", descriptors_exhausted),
    Fault("memory_exhausted", "descriptors", memory_exhausted),
    Fault("slow_clients", "descriptors", slow_clients),
    Fault("keys_flooded", "descriptors", keys_flooded),
    Fault("disk_full", "disk", disk_full),
    Fault("spool_deleted", "disk", spool_deleted, ("spool",)),
    Fault("client_killed", "client", client_killed),
    Fault("network_cut", "network", network_cut),
    Fault("network_slow", "network", network_slow),
    Fault("answers_lost", "network", answers_lost),
)
