"""Reading the machine: pure functions and small accumulators over psutil.

Everything here may touch ``/proc`` or a file system and belongs into a thread. psutil's own "percent"
functions keep state per module, so differences are taken here.
"""

from __future__ import annotations

import math
import resource
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from decahertz.clock import NS_PER_SECOND, Clock

LOOPBACK = ("lo", "lo0")


@dataclass(frozen=True, slots=True)
class Memory:
    """The machine's memory."""

    used_bytes: int | None = None
    available_bytes: int | None = None
    used_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The file system under a path, as ``df`` counts: the reserve of root is not anybody's space."""

    free_bytes: int | None = None
    used_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class DiskTraffic:
    """Bytes since the first reading, all disks together."""

    read_bytes: int = 0
    written_bytes: int = 0


@dataclass(frozen=True, slots=True)
class NetworkTraffic:
    """Bytes and faulty packets since the first reading, all interfaces but loopback together."""

    received_bytes: int = 0
    sent_bytes: int = 0
    faults: int = 0


@dataclass(frozen=True, slots=True)
class OwnProcess:
    """The calling process, as the kernel lists it."""

    open_files: int | None = None
    threads: int | None = None


class Share:
    """How much of one growing number falls to another over a trailing window.

    The kernel counts the machine's processor time in hundredths of a second, far too coarse for one
    cycle; over a second that is a percent of one core.
    """

    def __init__(self, limit: float, window_ns: int = NS_PER_SECOND) -> None:
        """``limit`` caps the share: the kernel's idle times can run backwards a little."""
        self._limit = limit
        self._window_ns = window_ns
        self._seen: deque[tuple[int, float, float]] = deque()

    def add(self, now_ns: int, part: float, whole: float) -> float | None:
        """The share since the youngest pair that is a window old (or the oldest there is).

        ``None`` while nothing has passed. ``now_ns`` is monotonic.
        """
        seen = self._seen
        while len(seen) > 1 and seen[1][0] <= now_ns - self._window_ns:
            seen.popleft()
        share = None
        if seen and whole > seen[0][2]:
            share = min(self._limit, max(0.0, (part - seen[0][1]) / (whole - seen[0][2])))
        seen.append((now_ns, part, whole))
        return share


class Total:
    """A total that begins at zero and never falls, over counters that come, go and start anew."""

    def __init__(self) -> None:
        """The first reading is the base."""
        self.value = 0
        self._last: dict[str, int] | None = None

    def add(self, counters: Mapping[str, int]) -> int:
        """Add what each counter grew by; one that is new, or fell, began at zero since the last reading."""
        if self._last is not None:
            for name, count in counters.items():
                last = self._last.get(name, 0)
                self.value += count - last if count >= last else count
        self._last = dict(counters)
        return self.value


class CpuReader:
    """The share of all cores that was busy."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is read yet."""
        self._clock = clock
        self._share = Share(limit=1.0)

    def __call__(self) -> float | None:
        """Over the last second; ``None`` the first time."""
        return self._share.add(self._clock.monotonic_ns(), *busy_and_total(psutil.cpu_times()._asdict()))


class OwnCpuReader:
    """The share of one core that this process used; more than 1 where it uses several."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is read yet."""
        self._clock = clock
        self._share = Share(limit=math.inf)

    def __call__(self) -> float | None:
        """Over the last second; ``None`` the first time."""
        now_ns = self._clock.monotonic_ns()
        return self._share.add(now_ns, process_cpu_seconds(), now_ns / NS_PER_SECOND)


class DiskTrafficReader:
    """Totals of all disks. psutil's correction of wrapped counters is module state; Total does the same."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._read, self._written = Total(), Total()

    def __call__(self) -> DiskTraffic:
        """A machine without disks has no traffic."""
        disks = psutil.disk_io_counters(perdisk=False, nowrap=False)
        return DiskTraffic(
            read_bytes=self._read.add({"all": disks.read_bytes} if disks else {}),
            written_bytes=self._written.add({"all": disks.write_bytes} if disks else {}),
        )


class NetworkTrafficReader:
    """Totals of all interfaces but loopback."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._received, self._sent, self._faults = Total(), Total(), Total()

    def __call__(self) -> NetworkTraffic:
        """Interfaces come and go; the totals only grow."""
        counters = psutil.net_io_counters(pernic=True, nowrap=False)
        nics = {name: counts for name, counts in counters.items() if name not in LOOPBACK}
        return NetworkTraffic(
            received_bytes=self._received.add({n: c.bytes_recv for n, c in nics.items()}),
            sent_bytes=self._sent.add({n: c.bytes_sent for n, c in nics.items()}),
            faults=self._faults.add({n: c.errin + c.errout + c.dropin + c.dropout for n, c in nics.items()}),
        )


def read_memory() -> Memory:
    """Used is what programs could not get: total minus available."""
    memory = psutil.virtual_memory()
    used = memory.total - memory.available
    return Memory(used, memory.available, used / memory.total)


def read_swap() -> int:
    """Bytes of swap space in use."""
    return psutil.swap_memory().used


def count_processes() -> int:
    """Processes on this machine, as far as this process may see them."""
    return len(psutil.pids())


def read_own_process(process: psutil.Process) -> OwnProcess:
    """What the kernel knows of this process."""
    return OwnProcess(open_files=process.num_fds(), threads=process.num_threads())


def busy_and_total(times: Mapping[str, float]) -> tuple[float, float]:
    """Seconds that all cores together worked, and seconds that passed on them.

    ``times`` is ``psutil.cpu_times()`` by name. Waiting for input and output is idle; guests are part
    of ``user`` and ``nice`` already (proc(5)).
    """
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return total - times["idle"] - times.get("iowait", 0.0), total


def process_cpu_seconds() -> float:
    """Processor time of this process, user and system, to the microsecond."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def read_disk(path: Path) -> DiskSpace:
    """The file system that ``path``, or the nearest folder above it that exists, is on."""
    while not path.exists() and path != path.parent:
        path = path.parent
    space = psutil.disk_usage(str(path))
    return DiskSpace(space.free, space.used / max(1, space.used + space.free))
