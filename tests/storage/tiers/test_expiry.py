"""A database larger than ``storage.max_bytes`` drops its oldest raw rows, counts them, and says so."""

from __future__ import annotations

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from decahertz.clock import NS_PER_SECOND, SystemClock, to_datetime
from decahertz.health import Health
from storage.maintenance.disk_watch import DiskWatch
from storage.schema.samples import quoted
from storage.tiers.names import ROLLED
from tests.storage_examples import BOOK, CYCLE_NS, RECORDER, until
from tests.tier_checks import Row, store
from tests.tiered_database import TieredDatabase

DAY_NS = 86_400 * NS_PER_SECOND
_TICKS = (
    "INSERT INTO ticks"
    " (time, recorder, venue, instrument, price, size, missed, time_ns, received_ns, source, epoch, sequence)"
    " SELECT $1, 'desk', 'sim', 'EUR/USD', 1, 1, 0, 1, 1, $2, 1, n FROM generate_series(1, $3::int) AS n"
)


def day_rows(day_ns: int) -> list[Row]:
    """Forty samples of two instruments, of which one is missing: a packed minute has a hole."""
    return [
        (day_ns + 3600 * NS_PER_SECOND + tick * CYCLE_NS, name, 1.0, tick, "live", None)
        for tick in range(20)
        for name in ("EUR/USD", "GBP/USD")
        if (tick, name) != (7, "GBP/USD")
    ]


async def limited(tiered: TieredDatabase, max_bytes: int, text: str) -> Health:
    """Restarts the worker with a limit, and waits until its health says a text."""
    tiered.database.settings = replace(tiered.database.settings, max_bytes=max_bytes)
    await tiered.prepare([BOOK])
    await tiered.worker.start()
    await until(lambda: text in tiered.worker.status().detail)
    return tiered.worker.status().health


async def stored(tiered: TieredDatabase) -> dict[str, list[tuple[int, int]]]:
    """Number of rows of each day, by relation; days count from now."""
    found = {}
    for name in ("book_samples", *(f"book_samples_{tier}" for tier in ROLLED), "ticks"):
        rows = await tiered.rows(
            "SELECT ($1::timestamptz::date - (time AT TIME ZONE 'UTC')::date) AS day, count(*)"  # noqa: S608 - ours
            f" FROM {quoted(name)} GROUP BY 1 ORDER BY 1 DESC",
            to_datetime(tiered.clock.time_ns()),
        )
        found[name] = [(row[0], row[1]) for row in rows]
    return found


async def test_the_oldest_raw_rows_go_first_and_are_counted(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    today_ns = SystemClock().time_ns() // DAY_NS * DAY_NS
    tiered.clock.advance(today_ns + 12 * 3600 * NS_PER_SECOND - tiered.clock.time_ns())
    await tiered.execute("UPDATE schema_migrations SET time = now() - interval '4 days'")
    for day in (3, 2, 1, 0):
        await store(tiered, day_rows(today_ns - day * DAY_NS))
    for day, source in ((9, "imported"), (3, "feed:a"), (3, "bot"), (2, "bot"), (0, "bot")):
        await tiered.execute(_TICKS, to_datetime(today_ns - day * DAY_NS), source, 5)
    for _ in range(2):  # the second time it drops the partitions that packing has emptied
        await tiered.worker.run_once()
    before = await stored(tiered)
    assert before["book_samples"] == [(3, 39), (2, 39), (1, 39), (0, 39)]

    # Just above the limit: one day is enough.
    await tiered.prepare([BOOK])  # as a restart does, which may free a page
    size = await tiered.value("SELECT pg_database_size(current_database())")
    first = to_datetime(today_ns - 2 * DAY_NS)
    text = f"storage.max_bytes has dropped older rows: raw from {first:%Y-%m-%d} 00:00 on"
    assert await limited(tiered, size - 1, text if tiered.engine == "plain" else "raw from") is Health.OK
    after = await stored(tiered)
    assert after["book_samples"] == before["book_samples"][1:]
    assert after["ticks"] == [(9, 5), (2, 5), (0, 5)]  # what was imported is kept
    assert [after[f"book_samples_{tier}"] for tier in ROLLED] == [
        before[f"book_samples_{tier}"] for tier in ROLLED
    ]
    watch = DiskWatch(tiered.database, RECORDER, tiered.clock, CollectorRegistry())
    counted: dict[str, int] = {}
    watch.tell_expired(counted.update)
    await watch.read()
    assert counted == {"samples:book": 39, "events:feed:a": 5, "events:bot": 5}

    # A late row of the dropped day changes no tier.
    await store(tiered, day_rows(today_ns - 3 * DAY_NS)[:1])
    await tiered.worker.run_once()
    kept = await stored(tiered)
    assert [kept[f"book_samples_{tier}"] for tier in ROLLED] == [
        before[f"book_samples_{tier}"] for tier in ROLLED
    ]

    # Far above it: everything goes but what is being written, and hours.
    text = "more than storage.max_bytes (1), and nothing older is left to drop"
    assert await limited(tiered, 1, text) is Health.DEGRADED
    last = await stored(tiered)
    # A day is one partition, and several chunks of TimescaleDB: those of this morning are over.
    is_kept = tiered.engine == "plain"
    assert [day for day, _ in last["book_samples"]] == [0] * is_kept
    assert last["ticks"] == [(9, 5), *[(0, 5)] * is_kept]
    assert [day for day, _ in last["book_samples_1s"]] == [0]
    assert last["book_samples_1h"] == before["book_samples_1h"]
    packed = "SELECT count(*) FROM packed_seconds WHERE time < $1"
    assert await tiered.value(packed, to_datetime(today_ns)) == 0
    await watch.read()
    days = 3 if is_kept else 4
    assert counted == {"samples:book": days * 39 + 1, "events:feed:a": 5, "events:bot": (days - 1) * 5}


async def test_rows_that_must_be_archived_first_stay_above_the_limit_and_health_says_so(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    today_ns = SystemClock().time_ns() // DAY_NS * DAY_NS
    tiered.clock.advance(today_ns + 12 * 3600 * NS_PER_SECOND - tiered.clock.time_ns())
    await tiered.execute("UPDATE schema_migrations SET time = now() - interval '4 days'")
    tiered.settings = replace(tiered.settings, archive=replace(tiered.settings.archive, required=True))
    await tiered.prepare([BOOK])
    for day in (3, 2, 0):
        await store(tiered, day_rows(today_ns - day * DAY_NS))
        await tiered.execute(_TICKS, to_datetime(today_ns - day * DAY_NS), "bot", 5)
    await tiered.worker.run_once()
    before = await stored(tiered)
    first = f"{to_datetime(today_ns - 3 * DAY_NS):%Y-%m-%d} is not archived (archive.required)"
    assert await limited(tiered, 1, first) is Health.DEGRADED
    await tiered.worker.run_once()
    assert await stored(tiered) == before
    assert await tiered.value("SELECT count(*) FROM expired_rows") == 0
