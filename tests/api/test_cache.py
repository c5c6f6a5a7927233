"""The cache of responses, by itself and in front of the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from api.http.cache import Cached, Caching, Found, ResponseCache
from decahertz.clock import NS_PER_SECOND
from decahertz.fakes import ManualClock
from decahertz.wire import Codec
from tests.api.checked import MSGPACK, Caller
from tests.api.helpers import Stack, wait_for
from tests.api.test_records import fill, send_fills

KEY = ("/fills?limit=20", Codec.JSON)
FILLS = Caching(reads=("fills",), seconds=1.0, stale_seconds=2.0)


class Bench:
    """A cache, one route, and the computations that it was asked for."""

    def __init__(self, max_bytes: int = 100_000) -> None:
        self.clock = ManualClock(NS_PER_SECOND)
        self.registry = CollectorRegistry()
        self.cache = ResponseCache(self.clock, self.registry, max_bytes)
        self.watch = self.cache.watch(FILLS)
        self.computed = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def produce(self) -> bytes:
        self.computed += 1
        number = self.computed
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return b"answer %d" % number

    async def ask(self, key: tuple[str, Codec] = KEY, *, bypass: bool = False) -> Cached:
        found = None if bypass else self.cache.lookup(key, self.watch)
        return found or await self.cache.respond(key, self.watch, self.produce, bypass=bypass)

    async def answer(self, key: tuple[str, Codec] = KEY) -> tuple[bytes, Found, int]:
        cached = await self.ask(key)
        return cached.entry.data, cached.found, cached.age_seconds

    def pass_seconds(self, seconds: float) -> None:
        self.clock.advance(round(seconds * NS_PER_SECOND))

    @property
    def bytes(self) -> float:
        return self.registry.get_sample_value("decahertz_api_cache_bytes") or 0.0


async def until(condition: Callable[[], bool]) -> None:
    await wait_for(condition, "the computation")


async def test_a_response_is_fresh_for_its_time_to_live() -> None:
    bench = Bench()
    assert await bench.answer() == (b"answer 1", Found.MISS, 0)
    bench.pass_seconds(0.9)
    assert await bench.answer() == (b"answer 1", Found.HIT, 0)
    assert bench.computed == 1


async def test_a_stale_response_is_served_while_one_request_renews_it() -> None:
    bench = Bench()
    await bench.answer()
    bench.gate.clear()
    bench.pass_seconds(1.5)
    assert await bench.answer() == (b"answer 1", Found.STALE, 1)
    assert await bench.answer() == (b"answer 1", Found.STALE, 1)
    await until(lambda: bench.computed == 2)
    bench.gate.set()
    await until(lambda: bench.cache.lookup(KEY, bench.watch) is not None)
    assert await bench.answer() == (b"answer 2", Found.HIT, 0)
    assert bench.computed == 2


async def test_an_expired_response_is_not_served() -> None:
    bench = Bench()
    await bench.answer()
    bench.pass_seconds(3.0)
    assert await bench.answer() == (b"answer 2", Found.MISS, 0)


async def test_a_change_of_what_was_read_ends_a_response_at_once() -> None:
    bench = Bench()
    await bench.answer()
    bench.cache.changed(["quotes"])
    assert (await bench.answer())[1] is Found.HIT
    bench.cache.changed(["quotes", "fills"])
    assert await bench.answer() == (b"answer 2", Found.MISS, 0)


async def test_a_computation_that_a_change_overtakes_is_neither_kept_nor_shared() -> None:
    bench = Bench()
    bench.gate.clear()
    early = asyncio.create_task(bench.answer())
    await until(lambda: bench.computed == 1)
    bench.cache.changed(["fills"])
    late = asyncio.create_task(bench.answer())
    await until(lambda: bench.computed == 2)
    bench.gate.set()
    assert await early == (b"answer 1", Found.MISS, 0)
    assert await late == (b"answer 2", Found.MISS, 0)
    assert await bench.answer() == (b"answer 2", Found.HIT, 0)


async def test_requests_for_the_same_share_one_computation() -> None:
    bench = Bench()
    bench.gate.clear()
    asked = [asyncio.create_task(bench.answer()) for _ in range(10)]
    await until(lambda: bench.computed == 1)
    await asyncio.sleep(0)
    bench.gate.set()
    found = [await one for one in asked]
    assert {data for data, _, _ in found} == {b"answer 1"}
    assert sorted(how for _, how, _ in found) == [Found.COLLAPSED] * 9 + [Found.MISS]


async def test_who_waits_for_a_request_that_is_cancelled_computes_it_instead() -> None:
    bench = Bench()
    bench.gate.clear()
    first, second, third = (asyncio.create_task(bench.answer()) for _ in range(3))
    await until(lambda: bench.computed == 1)
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    bench.gate.set()
    assert await second == (b"answer 2", Found.MISS, 0)


async def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    bench = Bench()
    bench.gate.clear()
    bench.error = ValueError("no database")
    asked = [asyncio.create_task(bench.answer()) for _ in range(3)]
    await until(lambda: bench.computed == 1)
    bench.gate.set()
    for one in asked:
        with pytest.raises(ValueError, match="no database"):
            await one
    bench.error = None
    assert (await bench.answer())[1] is Found.MISS


async def test_a_failed_renewal_leaves_the_error_to_the_next_request() -> None:
    bench = Bench()
    await bench.answer()
    bench.error = ValueError("no database")
    bench.pass_seconds(1.5)
    assert (await bench.answer())[1] is Found.STALE
    await until(lambda: bench.computed == 2)
    bench.pass_seconds(2.0)
    with pytest.raises(ValueError, match="no database"):
        await bench.answer()
    await bench.cache.stop()


async def test_a_request_can_insist_on_a_new_response_which_others_then_get() -> None:
    bench = Bench()
    await bench.answer()
    cached = await bench.ask(bypass=True)
    assert (cached.entry.data, cached.found) == (b"answer 2", Found.BYPASS)
    assert await bench.answer() == (b"answer 2", Found.HIT, 0)


async def test_memory_is_bounded_and_the_least_recently_used_leaves_first() -> None:
    bench = Bench(max_bytes=10_000)
    for number in range(100):
        await bench.answer((f"/fills?limit={number}", Codec.JSON))
        await bench.answer(("/fills?limit=0", Codec.JSON))
        assert bench.bytes <= 10_000
    assert (await bench.answer(("/fills?limit=99", Codec.JSON)))[1] is Found.HIT
    assert (await bench.answer(("/fills?limit=0", Codec.JSON)))[1] is Found.HIT
    assert (await bench.answer(("/fills?limit=50", Codec.JSON)))[1] is Found.MISS
    entry = (await bench.ask()).entry
    bench.cache.compressed(KEY, entry, b"x" * 20_000)
    assert bench.bytes <= 10_000
    assert (await Bench(max_bytes=0).answer())[1] is Found.MISS


async def test_a_list_says_its_age_and_changes_with_the_first_new_row(
    stored: Stack, stored_caller: Caller
) -> None:
    await send_fills(stored_caller, fill(1, "buy"))
    first = await stored_caller.get("fills")
    again = await stored_caller.get("fills")
    assert (first.headers["Cache-Status"], again.headers["Cache-Status"]) == (
        "decahertz; fwd=miss",
        "decahertz; hit",
    )
    assert (again.headers["Age"], again.headers["Cache-Control"]) == ("0", "private, no-cache")
    assert again.body == first.body
    for header in ("no-cache", "max-age=0"):
        new = await stored_caller.get("fills", headers={"Cache-Control": header})
        assert new.headers["Cache-Status"] == "decahertz; fwd=request"
    packed = await stored_caller.get("fills", headers={"Accept": MSGPACK})
    assert packed.headers["Cache-Status"] == "decahertz; fwd=miss"
    for number in range(2, 30):
        sent = {"source": "bot", "epoch": 7, "first_sequence": number}
        side = "sell" if number % 2 == 0 else "buy"
        await stored_caller.send(sent | {"events": [fill(number, side)]})
        items = (await stored_caller.get("fills")).body["items"]
        assert [item["fill_id"] for item in items] == [f"f{n}" for n in range(number, 0, -1)]
        trades = (await stored_caller.get("trades")).body["items"]
        assert len(trades) == number // 2
    assert stored.api.cache is not None


async def test_a_cached_list_is_compressed_once_and_the_same(stored_caller: Caller) -> None:
    await send_fills(stored_caller, *(fill(n, "buy") for n in range(1, 60)))
    plain = await stored_caller.get("fills", headers={"Accept-Encoding": "identity"})
    packed = [await stored_caller.get("fills", headers={"Accept-Encoding": "gzip"}) for _ in range(2)]
    assert {one.headers["Content-Encoding"] for one in packed} == {"gzip"}
    assert all(one.body == plain.body for one in packed)
