"""PostgreSQL, pipeline and client together, and the invariants that hold after any fault.

Every event the client was told is durable is in the database once, and says what it said. No grid sample is
missing except those of moments when the process was dead, and those that it counted itself as missed. The
ledger balances to the unit at every reading, and in the end it says what the database holds. What a collector
knows, whatever it lived through, is what the database says.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg

from decahertz.clock import CYCLE_NS, from_datetime
from decahertz.event import EVENT_BY_TABLE
from storage.postgres.embedded import Installation
from tests.chaos.background import Background
from tests.chaos.processes import Emitter, Life, Pipeline, Postgres
from tests.pipeline.running import IS_LONG, environment, wait_until
from tests.proxy import ApiProxy

SOURCE = "chaos"
FEED = "feed-synthetic"
COLLECTORS = ("market", "strategy", "portfolio", "execution", "risk", "system")
INSTRUMENTS = 5
RATE = 200.0
LIMIT_SECONDS = 180.0 if IS_LONG else 60.0
"""A deleted spool holds its part of a small disk until it is drained, and events are refused so long."""
EVENT_TABLES = tuple(EVENT_BY_TABLE)
_NUMBER = {  # where the emitter's own number of an event stands
    "quotes": "venue_sequence",
    "fills": "fill_id::bigint",
    "logs": "message::bigint",
    "risks": "value::bigint",
}
_LINES_TOLD = 60
_LEDGERS_PER_EXPOSITION = 1 if IS_LONG else 5
_TIME_LIMITS = {
    "DECAHERTZ_STORAGE_CONNECT_TIMEOUT_SECONDS": "10",
    "DECAHERTZ_STORAGE_READ_TIMEOUT_SECONDS": "5",
    "DECAHERTZ_INGEST_TIMEOUT_SECONDS": "10",
}
"""The product's own: faults are to run into them."""
LAST_GASP_NS = 300_000_000 if IS_LONG else 1_000_000_000
"""Samples this close to a SIGKILL may be lost: a commit waits 50 ms for others, and for a busy machine."""
FIRST_BREATH_NS = 300_000_000
FIRST_SIGHT_NS = 1_500_000_000
"""Time from a start until every instrument has had its first quote."""


@dataclass
class Reading:
    """The ledger at one moment."""

    streams: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Reading:
        return cls({item["stream"]: item for item in answer["streams"]})

    def wrong(self) -> list[str]:
        """Streams that do not balance."""
        return [
            str(s)
            for s in self.streams.values()
            if s["emitted"] != s["stored"] + s["spooled"] + sum(s["dropped"].values())
        ]

    def spooled(self) -> int:
        return sum(int(stream["spooled"]) for stream in self.streams.values())


class Watch:
    """Reads the ledger ten times a second during the test, and the sampler's metrics, which take longer."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-watch", daemon=True)
        self.readings = 0
        self.wrong: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            running = self._pipeline.running
            if running is None or not self._pipeline.lives:
                continue
            with suppress(OSError, ValueError, HTTPException):  # it may be dying
                if self.readings % _LEDGERS_PER_EXPOSITION == 0:
                    self._pipeline.note_missed()
                self.wrong += Reading.of(running.get("/api/v1/ledger")).wrong()
                self.readings += 1


@dataclass
class Full:
    """A time in which the spool's disk is full."""

    began_ns: int
    ended_ns: int = sys.maxsize


@dataclass
class World:
    """Everything that is running."""

    background: Background
    postgres: Postgres
    pipeline: Pipeline
    network: ApiProxy
    emitter: Emitter
    env: dict[str, str]
    watch: Watch
    arguments: tuple[str, ...]
    dead_letters: set[int] = field(default_factory=set)
    """Numbers of events that are expected in the dead letters rather than in a table."""
    disk: Full = field(default_factory=lambda: Full(0, 0))
    """When the disk was full the last time."""
    is_state_exact: bool = True
    """Whether collectors have taken every event: without memory one may fail, as the log and health tell."""
    fills_seen: int = 0
    """Fills counted by the strategy collector after the client had sent everything."""

    @property
    def spool(self) -> Path:
        """The folder of the spool."""
        return Path(self.env["DECAHERTZ_DATA_DIR"]) / "spool"

    @property
    def client_url(self) -> str:
        return f"http://127.0.0.1:{self.network.port}"

    def pids(self) -> list[int]:
        """Processes of the recorder and of its database that run now."""
        found = self.postgres.pids()
        if self.pipeline.running is not None:
            found.append(self.pipeline.running.process.pid)
        return found

    def start_pipeline(self) -> None:
        self.pipeline.start(*self.arguments)

    def start_client(self, rate: float = RATE) -> None:
        self.emitter.start(self.client_url, rate)

    def ask(self, question: str, *values: object) -> list[asyncpg.Record]:
        """Asks the database."""

        async def asked() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.postgres.url, timeout=10)
            try:
                found: list[asyncpg.Record] = await connection.fetch(question, *values)
                return found
            finally:
                await connection.close()

        return self.background.call(asked())

    def administer(self, *statements: str) -> None:
        """Executes statements in another database of the same server, one after the other."""

        async def done() -> None:
            connection = await asyncpg.connect(self.postgres.url, database="postgres", timeout=10)
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()

        self.background.call(done())

    def acknowledged(self) -> int:
        return sum(self.emitter.promised().values())

    def wait_acknowledged(self, more: int = 100) -> None:
        """Waits until this many more events are acknowledged."""
        goal = self.acknowledged() + more
        wait_until(f"{more} more events that are safe", LIMIT_SECONDS, lambda: self.acknowledged() >= goal)

    def settle(self, limit_seconds: float = LIMIT_SECONDS) -> None:
        """Lets the client send the rest, stops the pipeline, and starts it with nothing to record."""
        self.emitter.stop()
        self.fills_seen = self._strategy_later()["values"]["fills"]
        self.pipeline.stop()
        self.pipeline.start("--feeds-enabled", "", "--collectors-enabled", "")
        wait_until("an empty spool", limit_seconds, lambda: self.ledger().spooled() == 0)

    def _strategy_later(self) -> Any:  # noqa: ANN401 - whatever the API answers
        """The sample of the client's strategy, from at least a whole cycle after this moment."""
        first_ns = 0

        def sample() -> Any:  # noqa: ANN401 - see above
            question = f"/api/v1/metrics/current?collector=strategy&strategy={SOURCE}"
            return next(iter(self.pipeline.get(question)["items"]), {"time_ns": 0})

        def has_passed() -> bool:
            nonlocal first_ns
            first_ns = first_ns or sample()["time_ns"]
            return bool(first_ns) and sample()["time_ns"] >= first_ns + 2 * CYCLE_NS

        wait_until("a later sample of the strategy", LIMIT_SECONDS, has_passed)
        return sample()

    def ledger(self) -> Reading:
        return Reading.of(self.pipeline.get("/api/v1/ledger"))

    def check(self, settled_in_seconds: float = LIMIT_SECONDS) -> None:
        """Checks all invariants, after the client has sent everything and the spool is empty."""
        self.settle(settled_in_seconds)
        self.check_events()
        self.check_grid()
        self.check_ledger()
        if self.is_state_exact:
            self.check_state()

    def check_state(self) -> None:
        stored = self.ask("SELECT count(*) AS n FROM fills WHERE source = $1", SOURCE)[0]["n"]
        assert self.fills_seen == stored

    def check_events(self, lost: int = 0) -> None:
        """``lost`` is the number of losses in the ledger."""
        promised = self.emitter.promised()
        assert promised
        stored, odd = self._stored()
        assert odd == []
        missing: list[int] = []
        for epoch, count in promised.items():
            numbers = stored.get(epoch, Counter())
            doubled = [number for number, times in numbers.items() if times > 1]
            assert doubled == [], f"epoch {epoch}: {len(doubled)} doubled, {doubled[:10]}"
            missing += sorted(set(range(1, count + 1)) - numbers.keys() - self.dead_letters)
        assert len(missing) <= lost, f"{len(missing)} missing, {lost} lost: {missing[:10]}"
        others = self.ask(
            f"SELECT source, epoch, sequence FROM ({_union(EVENT_TABLES)}) AS e"  # noqa: S608 - our names
            " GROUP BY source, epoch, sequence HAVING count(*) > 1 LIMIT 10"
        )
        assert others == []

    def stored_events(self) -> int:
        """Events of the client that are in the database."""
        stored, _ = self._stored()
        return sum(len(numbers) for numbers in stored.values())

    def _stored(self) -> tuple[dict[int, Counter[int]], list[Any]]:
        """Counts the stored events of the client by epoch and sequence; also returns the altered ones."""
        found: dict[int, Counter[int]] = {}
        odd: list[Any] = []
        for table, column in _NUMBER.items():
            rows = self.ask(
                f"SELECT epoch, sequence, {column} AS number FROM {table} WHERE source = $1",  # noqa: S608
                SOURCE,
            )
            for row in rows:
                found.setdefault(row["epoch"], Counter())[row["sequence"]] += 1
                if row["number"] != row["sequence"]:
                    odd.append(row)
        return found, odd

    def check_grid(self) -> None:
        recorded = [life for life in self.pipeline.lives if life is not self.pipeline.lives[-1]]
        # A spool without room drops the oldest samples, and says so in the ledger.
        dropped = {name: sum(s["dropped"].values()) for name, s in self.ledger().streams.items()}
        missed = sum(life.missed.get("system", 0) for life in recorded) + dropped["samples:system"]
        rows = self.ask("SELECT time, count(*) AS n FROM system_samples GROUP BY time ORDER BY time")
        times = {from_datetime(row["time"]): row["n"] for row in rows}
        missing = _missing(times, recorded, FIRST_BREATH_NS)
        assert len(missing) <= missed, f"{missed} counted, {_gaps(missing)} in {recorded}"
        missed = sum(life.missed.get("market", 0) for life in recorded)
        missed += dropped["samples:market"] // INSTRUMENTS
        by_key: dict[tuple[str, str], dict[int, int]] = {}
        for row in self.ask(
            "SELECT venue, instrument, time, count(*) AS n FROM market_samples"
            " GROUP BY venue, instrument, time ORDER BY time"
        ):
            by_key.setdefault((row["venue"], row["instrument"]), {})[from_datetime(row["time"])] = row["n"]
        assert len(by_key) >= INSTRUMENTS
        for key, seen in by_key.items():
            if key[0] != "paper":  # which the client quotes, and only while it lives
                missing = _missing(seen, recorded, FIRST_SIGHT_NS)
                assert len(missing) <= missed, f"{key}: {missed} counted, {_gaps(missing)} in {recorded}"

    def check_ledger(self) -> None:
        assert self.watch.readings
        assert self.watch.wrong == []
        reading = self.ledger()
        assert reading.wrong() == []
        held = self._held()
        said = {name: int(s["stored"]) for name, s in reading.streams.items() if s["stored"] or name in held}
        assert said == held

    def _held(self) -> dict[str, int]:
        """Counts the rows in the database, by stream."""
        rows = self.ask(
            f"SELECT source, count(*) AS n FROM ({_union(EVENT_TABLES)}) AS e GROUP BY source"  # noqa: S608
        )
        held = {f"events:{row['source']}": int(row["n"]) for row in rows}
        for collector in COLLECTORS:
            count = self.ask(f"SELECT count(*) AS n FROM {collector}_samples")[0]["n"]  # noqa: S608
            if count:
                held[f"samples:{collector}"] = int(count)
        return held


def _union(tables: Sequence[str]) -> str:
    return " UNION ALL ".join(f"SELECT source, epoch, sequence FROM {table}" for table in tables)  # noqa: S608


def _missing(times: Mapping[int, int], lives: Sequence[Life], first_ns: int) -> list[int]:
    """Cycles without a sample, from the first to the last, while the process lived and could be asked."""
    assert times
    doubled = [cycle for cycle, count in times.items() if count > 1]
    assert doubled == []
    assert all(cycle % CYCLE_NS == 0 for cycle in times)
    last_ns = max(times)
    found = []
    for life in lives:
        begin_ns = life.ready_ns + first_ns
        end_ns = min(life.died_ns - LAST_GASP_NS, life.noted_ns, last_ns)
        first = -(-begin_ns // CYCLE_NS) * CYCLE_NS
        cycles = range(first, end_ns, CYCLE_NS)
        # A gap is reported by the cycle after it: one that a kill ends is in no report.
        reported_ns = max((cycle for cycle in cycles if cycle in times), default=first)
        found += [
            cycle
            for cycle in cycles
            if cycle < reported_ns
            and cycle not in times
            and not any(low <= cycle <= high for low, high in life.unclear)
        ]
    return found


def _gaps(missing: Sequence[int]) -> str:
    """Missing cycles as ranges: the start and length of each."""
    ranges: list[list[int]] = []
    for cycle in missing:
        if ranges and cycle == ranges[-1][-1] + CYCLE_NS:
            ranges[-1].append(cycle)
        else:
            ranges.append([cycle])
    return f"{len(missing)} missing: " + ", ".join(f"{len(s)} from {s[0]}" for s in ranges)


def live_through(seconds: float) -> None:
    """Lets a fault last: the only wait for a time instead of a condition."""
    time.sleep(seconds)


@contextmanager
def world(
    folder: Path,
    installation: Installation,
    *,
    arguments: Sequence[str] = (),
    program: Callable[[], None] | None = None,
    database: Callable[[Background, str], str] | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[World]:
    """All three processes, the pipeline started and the client not yet.

    ``settings`` are environment variables of the pipeline; ``database`` may put something between it and
    PostgreSQL and returns the URL to use then.
    """
    data_dir = folder / "data"
    data_dir.mkdir(exist_ok=True)
    background = Background()
    postgres = Postgres(background, folder / "postgres", installation)
    postgres.start()
    url = postgres.url if database is None else database(background, postgres.url)
    env = environment(data_dir, DECAHERTZ_DATABASE_URL=url, **{**_TIME_LIMITS, **settings})
    feed = ("--feeds-enabled", "synthetic", "--feeds-synthetic-instruments", str(INSTRUMENTS))
    pipeline = Pipeline(env, folder / "log", program)
    network = ApiProxy(pipeline.port)
    background.call(network.start())
    emitter = Emitter(SOURCE, folder / "promises", folder / "client.log")
    watch = Watch(pipeline)
    made = World(background, postgres, pipeline, network, emitter, env, watch, (*feed, *arguments))
    try:
        made.start_pipeline()
        watch.start()
        yield made
    except BaseException:
        _tell(made, folder)
        raise
    finally:
        _end(made)


def _tell(made: World, folder: Path) -> None:
    """Prints logs, promises, health and ledger after a failure; the folder is removed with the test."""
    for name in ("log", "client.log"):
        if (folder / name).exists():
            lines = (folder / name).read_text(errors="replace").splitlines()[-_LINES_TOLD:]
            sys.stdout.write("\n".join((f"--- the end of {name}", *lines, "")))
    sys.stdout.write(f"--- promised: {made.emitter.promised()}\n")
    files = {file.name: file.stat().st_size for file in made.spool.iterdir()}
    sys.stdout.write(f"--- spool: {files}, {shutil.disk_usage(made.spool)}\n")
    for path in ("/api/v1/health", "/api/v1/ledger"):
        with suppress(Exception):
            sys.stdout.write(f"--- {path}: {made.pipeline.get(path)}\n")


def _end(made: World) -> None:
    """Ends all processes, in any state."""
    made.watch.stop()
    if made.emitter._process is not None:
        made.emitter.kill()
    if made.pipeline.running is not None:
        made.pipeline.kill()
    made.postgres.stop()
    made.background.call(made.network.stop())
    made.background.close()


def now_ns() -> int:
    """The machine's wall clock, which is the pipeline's too unless a test steps it."""
    return time.time_ns()
