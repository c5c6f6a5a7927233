"""The system collector: the machine, the process and its event loop."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import psutil
from msgspec import Meta, Struct

from collectors.system.loop import LoopMonitor, Watchdog
from collectors.system.poll import Poll, Reading
from collectors.system.readings import (
    DiskSpace,
    DiskTraffic,
    MachineMemory,
    NetworkTraffic,
    OwnProcess,
    cpu_reader,
    disk_traffic_reader,
    network_traffic_reader,
    own_cpu_reader,
    process_cpu_seconds,
    read_disk,
    read_memory,
)
from collectors.system.sample import SystemSample
from collectors.system.time_source import ClockError, clock_error_reader
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.collector import BaseCollector
from decahertz.sample import Sample
from decahertz.settings import Seconds, default_data_dir


class SystemOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``[collectors.system]``."""

    host: Annotated[
        str,
        Meta(
            max_length=128,
            pattern=r"^(?:[^\s](?:[^\x00-\x1f]*[^\s])?)?$(?!\n)",
            description="Name of this machine in keys and labels; default: its host name.",
        ),
    ] = ""
    disk_path: Annotated[
        str, Meta(description="A path on the disk to measure; default: the default data folder.")
    ] = ""
    fast_seconds: Annotated[
        Seconds, Meta(description="Interval between readings of processor and memory.")
    ] = 0.5
    slow_seconds: Annotated[
        Seconds, Meta(description="Interval between readings of disks, network, swap and processes.")
    ] = 1.0
    disk_seconds: Annotated[
        Seconds, Meta(description="Interval between readings of free disk space and of the clock's error.")
    ] = 10.0
    late_seconds: Annotated[Seconds, Meta(description="A longer event-loop lag counts in loop_late.")] = 0.05
    block_seconds: Annotated[
        Seconds, Meta(description="A longer event-loop lag counts in loop_blocks, and its stack is logged.")
    ] = 0.1


class SystemCollector(BaseCollector[SystemOptions]):
    """Reads the machine in threads and measures the event loop in which it is sampled.

    The loop is measured from the second cycle on: what blocks it before is the start of the recorder.
    ``sample`` combines the last readings; it makes two system calls and opens no file.
    """

    sample_type = SystemSample
    options_type = SystemOptions

    def __init__(self, clock: Clock, options: SystemOptions) -> None:
        super().__init__(clock, options)
        self._running: _Running | None = None
        self._sampled: tuple[int, tuple[SystemSample, ...]] = (0, ())

    async def start(self) -> None:
        """Starts the threads that read the machine."""
        running = await asyncio.to_thread(_Running, self.clock, self.options)  # psutil opens files
        self._running = running
        for poll in running.polls:
            poll.start()

    async def stop(self) -> None:
        """Stops the threads and the loop monitor. Safe without ``start`` and twice."""
        running, self._running = self._running, None
        if running is None:
            return
        await running.watchdog.stop()
        running.monitor.stop()
        for poll in running.polls:
            await poll.stop()

    def sample(self, now_ns: int) -> Iterable[Sample]:
        """Returns one sample while running; the same one for the same cycle."""
        if self._running is None:
            return ()
        if self._sampled[0] != now_ns:
            if self._sampled[0]:  # the first cycle does what has waited through the start
                self._running.watch_loop()
            self._sampled = (now_ns, (self._running.sample(),))
        return self._sampled[1]


class _Running:
    """The threads and readings between start and stop."""

    def __init__(self, clock: Clock, options: SystemOptions) -> None:
        path = Path(options.disk_path) if options.disk_path else default_data_dir(os.environ)
        process = psutil.Process()
        fast, slow, disk = options.fast_seconds, options.slow_seconds, options.disk_seconds
        self._clock = clock
        self._host = options.host or socket.gethostname()
        self._started_ns = clock.monotonic_ns()
        self.monitor = LoopMonitor(
            clock, late_seconds=options.late_seconds, block_seconds=options.block_seconds
        )
        self.watchdog = Watchdog(clock, self.monitor, block_seconds=options.block_seconds)
        self._watches_loop = False
        self._cpu = Reading("cpu", cpu_reader(clock), fast, clock)
        self._own_cpu = Reading("process cpu", own_cpu_reader(clock), fast, clock)
        self._memory = Reading("memory", read_memory, fast, clock)
        self._resident = Reading("process memory", lambda: process.memory_info().rss, fast, clock)
        self._swap = Reading("swap", lambda: psutil.swap_memory().used, slow, clock)
        self._disks = Reading("disk traffic", disk_traffic_reader(), slow, clock)
        self._network = Reading("network traffic", network_traffic_reader(), slow, clock)
        self._processes = Reading("processes", lambda: len(psutil.pids()), slow, clock)
        self._clock_error = Reading("clock error", clock_error_reader(), disk, clock)
        self._own = Reading(
            "process", lambda: OwnProcess(process.num_fds(), process.num_threads()), slow, clock
        )
        self._space = Reading("disk space", lambda: read_disk(path), disk, clock)
        self.polls = (
            Poll("fast", (self._cpu, self._own_cpu, self._memory, self._resident), fast),
            Poll(
                "slow",
                (self._swap, self._disks, self._network, self._processes, self._own),
                slow,
            ),
            Poll("disk", (self._space,), disk),
            Poll("clock", (self._clock_error,), disk),
        )

    def watch_loop(self) -> None:
        """Starts the loop monitor, once."""
        if not self._watches_loop:
            self._watches_loop = True
            self.monitor.start()
            self.watchdog.start()

    def sample(self) -> SystemSample:
        memory = self._memory.fresh or MachineMemory()
        space = self._space.fresh or DiskSpace()
        own = self._own.fresh or OwnProcess()
        clock_error = self._clock_error.fresh or ClockError()
        # A counter keeps its value while it cannot be read.
        disks = self._disks.last or DiskTraffic()
        network = self._network.last or NetworkTraffic()
        lag = self.monitor.lag()
        load = os.getloadavg()
        return SystemSample(
            host=self._host,
            cpu_ratio=self._cpu.fresh,
            load_1m=load[0],
            load_5m=load[1],
            load_15m=load[2],
            memory_used_bytes=memory.used_bytes,
            memory_available_bytes=memory.available_bytes,
            memory_used_ratio=memory.used_ratio,
            swap_used_bytes=self._swap.fresh,
            disk_free_bytes=space.free_bytes,
            disk_used_ratio=space.used_ratio,
            disk_read_bytes=disks.read_bytes,
            disk_written_bytes=disks.written_bytes,
            network_received_bytes=network.received_bytes,
            network_sent_bytes=network.sent_bytes,
            network_faults=network.faults,
            clock_offset_seconds=clock_error.offset_seconds,
            clock_bound_seconds=clock_error.bound_seconds,
            processes=self._processes.fresh,
            process_cpu_ratio=self._own_cpu.fresh,
            process_cpu_seconds=process_cpu_seconds(),
            process_resident_bytes=self._resident.fresh,
            process_open_files=own.open_files,
            process_threads=own.threads,
            process_gc_runs=sum(generation["collections"] for generation in gc.get_stats()),
            uptime_seconds=(self._clock.monotonic_ns() - self._started_ns) / NS_PER_SECOND,
            loop_lag_seconds=lag.lag_ns / NS_PER_SECOND,
            loop_lag_max_seconds=lag.max_ns / NS_PER_SECOND,
            loop_late=lag.late,
            loop_blocks=lag.blocks,
            poll_errors=sum(poll.errors for poll in self.polls),
        )
