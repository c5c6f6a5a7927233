from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import msgspec
import psutil
import pytest
from blockbuster import blockbuster_ctx
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from collectors.system import poll
from collectors.system.collector import SystemCollector, SystemOptions
from collectors.system.loop import PROBE_SECONDS, LoopMonitor, Watchdog
from collectors.system.poll import Poll, Reading
from collectors.system.readings import Share, Total, busy_and_total, read_disk
from collectors.system.sample import SystemSample
from collectors.system.time_source import ClockError, chrony_error, kernel_error
from decahertz.app.settings import Settings, load
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.testing import ManualClock

LIMIT_SECONDS = 20
QUICK = SystemOptions(fast_seconds=0.02, slow_seconds=0.02, disk_seconds=0.02, disk_path="/")


def take(collector: SystemCollector) -> SystemSample:
    """The sample of this very moment."""
    [sample] = collector.sample(time.monotonic_ns())
    assert isinstance(sample, SystemSample)
    return sample


async def eventually(collector: SystemCollector, holds: Callable[[SystemSample], bool]) -> SystemSample:
    """The first sample for which something holds."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not holds(sample := take(collector)):  # noqa: ASYNC110 - samples are looked at, as on a tick
            await asyncio.sleep(0.01)
        return sample


def is_complete(sample: SystemSample) -> bool:
    values = msgspec.structs.asdict(sample)
    return None not in (value for name, value in values.items() if not name.startswith("clock_"))


@pytest.fixture
async def collector() -> AsyncIterator[SystemCollector]:
    collector = SystemCollector(SystemClock(), QUICK)
    await collector.start()
    yield collector
    await collector.stop()


def test_the_error_of_the_clock_is_in_either_unit_of_the_kernel_and_unknown_without_a_source() -> None:
    assert kernel_error(status=0x0001, offset=-250_000, maximum=500) == ClockError(-0.25, 0.0005)
    assert kernel_error(status=0x2001, offset=250_000_000, maximum=500) == ClockError(0.25, 0.0005)
    assert kernel_error(status=0x2041, offset=250_000_000, maximum=500) == ClockError()


CHRONY = "A9FEA97B,169.254.169.123,4,1700000000.1,{},-0.000001,0.000002,-1.5,0.0,0.01,{},{},16.1,{}\n"


def test_chrony_states_offset_and_bound() -> None:
    found = chrony_error(CHRONY.format("-0.000250000", "0.000400000", "0.000100000", "Normal"))
    assert found is not None
    assert found.offset_seconds == -0.00025
    assert found.bound_seconds == pytest.approx(0.00055)
    assert chrony_error(CHRONY.format("0.0", "1.0", "1.0", "Not synchronised")) is None
    for line in ("", "506 Cannot talk to daemon", CHRONY.format("?", "1.0", "1.0", "Normal")):
        assert chrony_error(line) is None


async def test_every_value_is_there_and_agrees_with_an_independent_reading(
    collector: SystemCollector,
) -> None:
    sample = await eventually(collector, is_complete)
    memory, disk, process = psutil.virtual_memory(), psutil.disk_usage("/"), psutil.Process()
    times = process.cpu_times()

    assert sample.host == socket.gethostname()
    assert sample.poll_errors == 0
    assert sample.uptime_seconds > 0
    assert sample.memory_used_ratio == pytest.approx(memory.percent / 100, abs=0.1)
    assert sample.memory_available_bytes == pytest.approx(memory.available, rel=0.2)
    assert sample.disk_used_ratio == pytest.approx(disk.percent / 100, abs=0.02)
    assert sample.disk_free_bytes == pytest.approx(disk.free, rel=0.1)
    assert sample.processes == pytest.approx(len(psutil.pids()), rel=0.5)
    assert 0 <= (sample.cpu_ratio or 0) <= 1
    assert sample.process_resident_bytes == pytest.approx(process.memory_info().rss, rel=0.3)
    assert sample.clock_offset_seconds is None or abs(sample.clock_offset_seconds) < 1
    assert sample.process_threads == pytest.approx(process.num_threads(), abs=3)
    assert sample.process_cpu_seconds == pytest.approx(times.user + times.system, rel=0.2, abs=0.5)


async def test_files_that_are_opened_are_seen(collector: SystemCollector) -> None:
    before = (await eventually(collector, is_complete)).process_open_files or 0
    sockets = [socket.socket() for _ in range(50)]
    try:
        await eventually(collector, lambda sample: (sample.process_open_files or 0) >= before + 40)
    finally:
        for opened in sockets:
            opened.close()


async def test_work_of_this_process_shows_in_its_share_of_a_core(collector: SystemCollector) -> None:
    await eventually(collector, is_complete)
    busy = threading.Event()

    def work() -> None:
        while not busy.is_set():
            sum(range(10_000))

    worker = threading.Thread(target=work)
    worker.start()
    try:
        await eventually(collector, lambda sample: (sample.process_cpu_ratio or 0) > 0.2)
    finally:
        busy.set()
        worker.join()


async def test_traffic_on_loopback_is_no_traffic_of_the_network(collector: SystemCollector) -> None:
    before = await eventually(collector, is_complete)
    sent = 8 << 20
    with socket.create_server(("127.0.0.1", 0)) as server:
        _, writer = await asyncio.open_connection(*server.getsockname())
        peer, _ = server.accept()
        with peer:
            writer.write(bytes(sent))
            received = 0
            while received < sent:
                received += len(await asyncio.to_thread(peer.recv, 1 << 20))
        writer.close()
        await writer.wait_closed()
    later = before.uptime_seconds + 10 * QUICK.slow_seconds
    after = await eventually(collector, lambda sample: sample.uptime_seconds > later)

    assert after.network_sent_bytes - before.network_sent_bytes < sent


async def test_a_blocked_event_loop_is_measured_and_its_stack_names_the_function(
    collector: SystemCollector,
) -> None:
    def the_culprit() -> None:
        time.sleep(0.6)  # the very thing that must not happen in an event loop

    await eventually(collector, is_complete)
    with capture_logs() as logs:
        asyncio.get_running_loop().call_soon(the_culprit)
        sample = await eventually(collector, lambda sample: sample.loop_lag_max_seconds >= 0.5)
        await eventually(collector, lambda _: any(entry["event"] == "loop_recovered" for entry in logs))

    [blocked] = [entry for entry in logs if entry.get("function") == "the_culprit"]
    assert blocked["event"] == "loop_blocked"
    assert "test_system.py" in blocked["where"]
    assert "in the_culprit" in blocked["stack"]
    assert sample.loop_late >= 1
    assert sample.loop_blocks >= 1
    await eventually(collector, lambda sample: sample.loop_lag_max_seconds < 0.5)  # after a second


async def test_the_work_of_a_start_is_no_block_of_the_event_loop() -> None:
    def block() -> None:
        time.sleep(0.4)

    collector = SystemCollector(SystemClock(), QUICK)
    with capture_logs() as logs:
        await collector.start()
        try:
            block()  # the host restores the state of other collectors
            collector.sample(1)
            block()  # the first cycle does what has waited
            await asyncio.sleep(0.2)  # the watchdog would have its turn
            sample = take(collector)
            again = take(collector)
        finally:
            await collector.stop()

    assert logs == []
    assert [(one.loop_late, one.loop_blocks) for one in (sample, again)] == [(0, 0)] * 2


def watched(clock: ManualClock) -> tuple[LoopMonitor, Watchdog]:
    """A started monitor of this loop, and its watchdog, to be called by hand."""
    monitor = LoopMonitor(clock, late_seconds=0.05, block_seconds=0.1)
    watchdog = Watchdog(clock, monitor, block_seconds=0.1)
    watchdog.watch(threading.get_ident())
    monitor.start()
    return monitor, watchdog


async def test_a_block_is_reported_once_and_so_is_its_end() -> None:
    clock, block_ns = ManualClock(), NS_PER_SECOND // 10
    monitor, watchdog = watched(clock)
    with capture_logs() as logs:
        for _ in range(10):  # the probe cannot run: nothing is awaited here
            clock.advance(block_ns // 2)
            watchdog.check()
        async with asyncio.timeout(LIMIT_SECONDS):
            while not monitor.blocked_ns:  # noqa: ASYNC110 - now the probe runs, in real time
                await asyncio.sleep(0)
        watchdog.check()
        watchdog.check()
    monitor.stop()

    assert [entry["event"] for entry in logs] == ["loop_blocked", "loop_recovered"]
    assert (monitor.lag().blocks, logs[1]["seconds"]) == (1, 0.45)


async def test_no_stack_is_blamed_when_the_whole_process_stood_still() -> None:
    clock = ManualClock()
    monitor, watchdog = watched(clock)
    with capture_logs() as logs:
        watchdog.check()
        clock.advance(5 * NS_PER_SECOND)  # neither the probe nor the watchdog ran
        watchdog.check()
    lag = monitor.lag()
    monitor.stop()

    assert logs == []
    assert lag.max_ns == 5 * NS_PER_SECOND - round(PROBE_SECONDS * NS_PER_SECOND)


async def test_it_opens_no_file_in_the_event_loop() -> None:
    with blockbuster_ctx():
        collector = SystemCollector(SystemClock(), QUICK)
        await collector.start()
        await eventually(collector, is_complete)
        await collector.stop()


async def test_it_stops_without_a_start_and_twice_and_emits_nothing_then() -> None:
    collector = SystemCollector(SystemClock(), QUICK)
    await collector.stop()
    await collector.start()
    assert take(collector).host
    await collector.stop()
    await collector.stop()

    assert list(collector.sample(1)) == []
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("system-")]


async def test_a_disk_path_that_does_not_exist_yet_is_measured_by_the_folder_above(tmp_path: Path) -> None:
    assert read_disk(tmp_path / "a" / "b").used_ratio == read_disk(tmp_path).used_ratio


async def test_a_reading_that_fails_is_counted_logged_once_and_its_value_vanishes() -> None:
    clock = ManualClock()
    answers: list[int | OSError] = [5, OSError("away"), OSError("away"), 6]

    def read() -> int:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    reading = Reading("thing", read, 1.0, clock)
    seen = []
    with capture_logs() as logs:
        for _ in range(4):
            reading.take()
            seen.append((reading.fresh, reading.last, reading.errors))
            clock.advance(11 * NS_PER_SECOND)

    assert seen == [(5, 5, 0), (None, 5, 1), (None, 5, 2), (6, 6, 2)]
    assert [entry["event"] for entry in logs] == ["reading_failed", "reading_recovered"]


async def test_a_reading_that_hangs_neither_keeps_the_stop_nor_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(poll, "_JOIN_SECONDS", 0.05)
    release, entered = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        release.wait()

    hanging = Poll("hanging", [Reading("hanging", hang, 0.01, SystemClock())], 0.01)
    hanging.start()
    await asyncio.to_thread(entered.wait, LIMIT_SECONDS)
    async with asyncio.timeout(LIMIT_SECONDS):
        await hanging.stop()
    release.set()


def test_busy_time_leaves_out_idle_waiting_and_guests_that_count_as_user_already() -> None:
    times = {"user": 10.0, "system": 5.0, "idle": 80.0, "iowait": 5.0, "guest": 4.0}

    assert busy_and_total({**times, "user": 14.0}) == (19.0, 104.0)
    assert busy_and_total({name: times[name] for name in ("user", "system", "idle")}) == (15.0, 95.0)


def test_a_share_is_that_of_the_trailing_second() -> None:
    share = Share(limit=1.0)
    tenth = NS_PER_SECOND // 10
    values = [share.add(tick * tenth, part=min(tick, 10) / 10, whole=tick / 10) for tick in range(30)]

    assert values[0] is None
    assert values[5] == pytest.approx(1.0)
    assert values[15] == pytest.approx(0.5)
    assert values[29] == 0.0


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["eth0", "eth1", "veth"]), st.integers(0, 1000)),
        min_size=1,
        max_size=20,
    )
)
def test_a_total_begins_at_zero_and_never_falls(readings: list[Mapping[str, int]]) -> None:
    total = Total()
    values = [total.add(reading) for reading in readings]

    assert values[0] == 0
    assert values == sorted(values)


def test_a_total_adds_what_counters_grew_by_and_what_new_and_restarted_ones_show() -> None:
    total = Total()
    for reading in ({"a": 100}, {"a": 130}, {"a": 130, "b": 7}, {"a": 5, "b": 7}, {"b": 9}):
        total.add(reading)

    assert total.value == 30 + 7 + 5 + 2


def test_options_come_from_the_settings() -> None:
    settings: Settings = load(
        environ={"DECAHERTZ_COLLECTORS_SYSTEM_HOST": "desk-1", "HOME": os.environ.get("HOME", "/")},
        arguments={"collectors.system.block_seconds": 0.5},
    )

    options = settings.sources.plugin_options("collectors", "system", SystemOptions)

    assert (options.host, options.block_seconds, options.late_seconds) == ("desk-1", 0.5, 0.05)
