"""The grid timer against clocks that stall, drift and step, and against the real ones."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectors.host.timer import GridTimer
from decahertz.clock import CYCLE_NS, NS_PER_SECOND, Cycle, SystemClock

START_NS = 1_767_225_600_000_000_000
MS = 1_000_000
YEAR_NS = 365 * 86_400 * NS_PER_SECOND


@dataclass
class Machine:
    """A wall and a monotonic clock, and a sleep that passes time on both as a script says."""

    wall_ns: int = START_NS
    monotonic: int = 7 * NS_PER_SECOND
    during_sleep: Iterator[Callable[[Machine, int], None]] = field(default_factory=lambda: iter(()))
    sleeps: list[int] = field(default_factory=list)

    def time_ns(self) -> int:
        return self.wall_ns

    def monotonic_ns(self) -> int:
        return self.monotonic

    def pass_(self, duration_ns: int) -> None:
        self.wall_ns += duration_ns
        self.monotonic += duration_ns

    async def sleep(self, seconds: float) -> None:
        asked_ns = round(seconds * NS_PER_SECOND)
        self.sleeps.append(asked_ns)
        next(self.during_sleep, Machine.pass_)(self, asked_ns)


def timer_of(machine: Machine) -> GridTimer:
    return GridTimer(machine, sleep=machine.sleep)


async def test_cycles_fall_on_every_tenth_of_a_second() -> None:
    machine = Machine(wall_ns=START_NS + 37 * MS)
    timer = timer_of(machine)
    cycles = [await timer.next() for _ in range(20)]
    assert [cycle.time_ns for cycle in cycles] == [START_NS + n * CYCLE_NS for n in range(1, 21)]
    assert all(cycle == Cycle(cycle.time_ns, 0) for cycle in cycles)


async def test_the_first_cycle_comes_after_the_last_of_an_earlier_process() -> None:
    machine = Machine(wall_ns=START_NS)
    sampled_ns = START_NS + 30 * CYCLE_NS  # the clock was set back by three seconds between the two
    cycle = await GridTimer(machine, sampled_ns=sampled_ns, sleep=machine.sleep).next()
    assert cycle == Cycle(sampled_ns + CYCLE_NS, 0)
    assert max(machine.sleeps) <= CYCLE_NS


@pytest.mark.parametrize("sampled_ns", [None, 0, START_NS - YEAR_NS, START_NS, START_NS + YEAR_NS])
async def test_an_earlier_process_of_long_ago_or_of_a_wrong_time_holds_nothing_up(
    sampled_ns: int | None,
) -> None:
    machine = Machine(wall_ns=START_NS)
    cycle = await GridTimer(machine, sampled_ns=sampled_ns, sleep=machine.sleep).next()
    assert cycle == Cycle(START_NS + CYCLE_NS, 0)


@pytest.mark.parametrize(
    ("stall_ns", "cycles", "lateness_ns"), [(CYCLE_NS + 99 * MS, 1, 99 * MS), (1_030 * MS, 10, 30 * MS)]
)
async def test_lateness_is_measured_and_the_cycles_during_a_stall_are_missed(
    stall_ns: int, cycles: int, lateness_ns: int
) -> None:
    machine = Machine()
    timer = timer_of(machine)
    first = await timer.next()
    machine.pass_(stall_ns)
    assert await timer.next() == Cycle(first.time_ns + cycles * CYCLE_NS, lateness_ns, missed=cycles - 1)


async def test_a_timer_that_fires_early_delivers_no_early_cycle() -> None:
    machine = Machine()

    def early(machine: Machine, asked_ns: int) -> None:
        machine.pass_(max(asked_ns * 9 // 10, 1))

    machine.during_sleep = iter([early] * 10)
    cycle = await timer_of(machine).next()
    assert machine.wall_ns >= cycle.time_ns
    assert len(machine.sleeps) > 3


async def test_a_step_forward_is_reported_and_its_cycles_are_missed() -> None:
    machine = Machine()
    timer = timer_of(machine)
    first = await timer.next()
    machine.wall_ns += 3 * NS_PER_SECOND
    cycle = await timer.next()
    assert cycle.stepped_ns == 3 * NS_PER_SECOND
    assert cycle.time_ns == first.time_ns + 30 * CYCLE_NS
    assert cycle.missed == 29
    assert (await timer.next()).stepped_ns == 0


async def test_a_small_step_backward_samples_no_cycle_twice() -> None:
    machine = Machine()
    timer = timer_of(machine)
    first = await timer.next()
    machine.wall_ns -= 2 * NS_PER_SECOND
    cycle = await timer.next()
    assert cycle == Cycle(first.time_ns + CYCLE_NS, 0, missed=0, stepped_ns=-2 * NS_PER_SECOND)
    assert max(machine.sleeps) <= CYCLE_NS


async def test_a_large_step_backward_goes_on_at_once_on_the_new_time() -> None:
    machine = Machine(wall_ns=START_NS + YEAR_NS)
    timer = timer_of(machine)
    await timer.next()
    machine.pass_(10 * MS)
    machine.wall_ns -= YEAR_NS
    before = machine.monotonic
    cycle = await timer.next()
    assert cycle == Cycle(START_NS + 2 * CYCLE_NS, 0, missed=0, stepped_ns=-YEAR_NS)
    assert machine.monotonic - before <= CYCLE_NS
    assert (await timer.next()).time_ns == cycle.time_ns + CYCLE_NS


async def test_what_was_missed_before_a_large_step_backward_is_still_counted() -> None:
    machine = Machine()
    timer = timer_of(machine)
    await timer.next()
    machine.pass_(NS_PER_SECOND)
    machine.wall_ns -= YEAR_NS
    assert (await timer.next()).missed == 10


async def test_two_large_steps_backward_in_a_row_do_not_leave_it_waiting() -> None:
    machine = Machine()
    timer = timer_of(machine)
    await timer.next()

    def step(machine: Machine, _asked_ns: int) -> None:
        machine.wall_ns -= YEAR_NS

    machine.during_sleep = iter([step, step])
    cycle = await timer.next()
    assert cycle.stepped_ns == -2 * YEAR_NS
    assert len(machine.sleeps) <= 5


@pytest.mark.parametrize("ppm", [-500, 500])
async def test_a_slewed_clock_is_followed_and_not_called_a_step(ppm: int) -> None:
    machine = Machine()

    def slewed(machine: Machine, asked_ns: int) -> None:
        passed = max(asked_ns, 100_000)  # no timer is finer
        machine.monotonic += passed
        machine.wall_ns += passed + passed * ppm // 1_000_000

    machine.during_sleep = itertools.repeat(slewed)
    timer = timer_of(machine)
    cycles = [await timer.next() for _ in range(20_000)]
    assert not any(cycle.stepped_ns for cycle in cycles)
    assert sum(cycle.missed for cycle in cycles) == 0
    assert max(cycle.lateness_ns for cycle in cycles) < MS


async def test_a_process_stopped_between_two_readings_sees_no_step() -> None:
    class StoppedOnce(Machine):
        countdown = 6  # the reading with which the third cycle is due

        def time_ns(self) -> int:
            now = self.wall_ns
            self.countdown -= 1
            if not self.countdown:
                self.pass_(3 * NS_PER_SECOND)
            return now

    machine = StoppedOnce()
    timer = timer_of(machine)
    cycles = [await timer.next() for _ in range(5)]
    assert not any(cycle.stepped_ns for cycle in cycles)
    assert cycles[-1].time_ns == cycles[0].time_ns + sum(1 + b.missed for b in cycles[1:]) * CYCLE_NS


steps = st.one_of(
    st.just(0),
    st.integers(-12 * NS_PER_SECOND, 12 * NS_PER_SECOND),
    st.integers(-YEAR_NS, YEAR_NS),
)
behaviours = st.lists(
    st.tuples(
        st.floats(0.01, 30),  # how much longer than asked it sleeps; below 1 it wakes up early
        st.integers(-500, 500),  # slew, parts per million
        st.one_of(st.just(0), steps),
        st.integers(0, 2 * NS_PER_SECOND),  # what the sampling that follows takes
    ),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(start=st.integers(0, 3 * CYCLE_NS), script=behaviours)
@example(0, [(1.0, 0, 0, 0), (0.25, 0, -10_025_000_001, 0), (1.0, 0, 1_025_000_001, 0)])
def test_whatever_the_clocks_do_every_cycle_is_delivered_or_missed(
    start: int, script: list[tuple[float, int, int, int]]
) -> None:
    machine = Machine(wall_ns=START_NS + 40 * YEAR_NS + start)
    offsets: list[int] = []

    def act(factor: float, ppm: int, step_ns: int) -> Callable[[Machine, int], None]:
        def during(machine: Machine, asked_ns: int) -> None:
            passed = max(1, int(asked_ns * factor))
            machine.monotonic += passed
            machine.wall_ns += passed + passed * ppm // 1_000_000 + step_ns
            offsets.append(machine.wall_ns - machine.monotonic)

        return during

    machine.during_sleep = iter([act(*behaviour[:3]) for behaviour in script])
    timer = timer_of(machine)

    falls: list[int] = []  # how far the wall clock fell, at most, before each cycle

    async def run() -> list[Cycle]:
        cycles = []
        for *_, work_ns in script:
            offset = machine.wall_ns - machine.monotonic
            offsets.clear()
            cycles.append(await timer.next())
            falls.append(min(offsets, default=offset) - offset)
            assert machine.wall_ns - cycles[-1].time_ns == cycles[-1].lateness_ns
            machine.pass_(work_ns)
        return cycles

    cycles = asyncio.run(run())
    for cycle in cycles:
        assert cycle.time_ns % CYCLE_NS == 0
        assert 0 <= cycle.lateness_ns < CYCLE_NS
        assert cycle.missed >= 0
    for (previous, cycle), fall in zip(pairwise(cycles), falls[1:], strict=True):
        if cycle.time_ns > previous.time_ns:
            assert cycle.time_ns == previous.time_ns + (cycle.missed + 1) * CYCLE_NS
        else:
            assert fall < -9 * NS_PER_SECOND


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_on_the_real_clocks_no_cycle_comes_early_and_none_is_left_out(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    clock = SystemClock()

    async def run() -> list[tuple[Cycle, int]]:
        timer = GridTimer(clock)
        return [(await timer.next(), clock.time_ns()) for _ in range(8)]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        cycles = runner.run(run())
    assert all(now_ns >= cycle.time_ns for cycle, now_ns in cycles)
    for (previous, _), (cycle, _) in pairwise(cycles):
        assert cycle.time_ns == previous.time_ns + (cycle.missed + 1) * CYCLE_NS
        assert cycle.stepped_ns == 0


CHILD = """
import asyncio
from collectors.host.timer import GridTimer
from decahertz.clock import SystemClock

async def main():
    timer = GridTimer(SystemClock())
    while True:
        cycle = await timer.next()
        print(cycle.time_ns, cycle.missed, cycle.stepped_ns, flush=True)

asyncio.run(main())
"""


def test_a_process_that_was_stopped_counts_the_cycles_it_slept_through() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            cycles = [next(child.stdout) for _ in range(3)]
            os.kill(child.pid, signal.SIGSTOP)
            time.sleep(1)  # what the child sleeps through
            os.kill(child.pid, signal.SIGCONT)
            while not any(int(line.split()[1]) for line in cycles[1:]):
                cycles.append(next(child.stdout))
        finally:
            child.kill()
    rows = [tuple(map(int, line.split())) for line in cycles]
    for (previous, *_), (time_ns, missed, stepped) in pairwise(rows):
        assert time_ns == previous + (missed + 1) * CYCLE_NS
        assert stepped == 0
    assert max(missed for _, missed, _ in rows[1:]) >= 8
