"""Readings of the machine: pure functions and small accumulators over psutil.

These functions may access ``/proc`` or a file system and must run in a thread. psutil's own "percent"
functions keep module state, so differences are computed here.
"""

from __future__ import annotations

import math
import resource
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from decahertz.clock import NS_PER_SECOND, Clock

LOOPBACK = ("lo", "lo0")


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """The machine's memory."""

    used_bytes: int | None = None
    available_bytes: int | None = None
    used_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Space of a file system, computed as by ``df``: the reserve of root is neither free nor used."""

    free_bytes: int | None = None
    used_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class DiskTraffic:
    """Bytes read and written since the first reading, on all disks."""

    read_bytes: int = 0
    written_bytes: int = 0


@dataclass(frozen=True, slots=True)
class NetworkTraffic:
    """Bytes and faulty packets since the first reading, on all interfaces except loopback."""

    received_bytes: int = 0
    sent_bytes: int = 0
    faults: int = 0


@dataclass(frozen=True, slots=True)
class OwnProcess:
    """The calling process."""

    open_files: int | None = None
    threads: int | None = None


class Share:
    """The ratio of the growth of two counters over a trailing window.

    The kernel counts processor time in hundredths of a second, far too coarse for one cycle; over a second
    the resolution is a percent of one core.
    """

    def __init__(self, limit: float, window_ns: int = NS_PER_SECOND) -> None:
        """``limit`` caps the ratio: the kernel's idle times can decrease slightly."""
        self._limit = limit
        self._window_ns = window_ns
        self._seen: deque[tuple[int, float, float]] = deque()

    def add(self, now_ns: int, part: float, whole: float) -> float | None:
        """Returns the ratio since the newest pair that is a window old, or else since the oldest pair.

        ``None`` before the counters have grown. ``now_ns`` is monotonic.
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
    """A total that starts at zero and never decreases, over counters that appear, vanish and restart."""

    def __init__(self) -> None:
        self.value = 0
        self._last: dict[str, int] | None = None

    def add(self, counters: Mapping[str, int]) -> int:
        """Adds the growth of each counter; a new or decreased counter has restarted at zero."""
        if self._last is not None:
            for name, count in counters.items():
                last = self._last.get(name, 0)
                self.value += count - last if count >= last else count
        self._last = dict(counters)
        return self.value


def cpu_reader(clock: Clock) -> Callable[[], float | None]:
    """Makes a reader of the busy share of all cores over the last second; its first reading is ``None``."""
    share = Share(limit=1.0)
    return lambda: share.add(clock.monotonic_ns(), *busy_and_total(psutil.cpu_times()._asdict()))


def own_cpu_reader(clock: Clock) -> Callable[[], float | None]:
    """Makes a reader of the share of one core used by this process; above 1 if it uses several."""
    share = Share(limit=math.inf)

    def read() -> float | None:
        now_ns = clock.monotonic_ns()
        return share.add(now_ns, process_cpu_seconds(), now_ns / NS_PER_SECOND)

    return read


def disk_traffic_reader() -> Callable[[], DiskTraffic]:
    """Makes a reader of the totals of all disks; zero on a machine without disks.

    :class:`Total` handles wrapped counters; psutil's correction is module state.
    """
    read, written = Total(), Total()

    def read_traffic() -> DiskTraffic:
        disks = psutil.disk_io_counters(perdisk=False, nowrap=False)
        return DiskTraffic(
            read_bytes=read.add({"all": disks.read_bytes} if disks else {}),
            written_bytes=written.add({"all": disks.write_bytes} if disks else {}),
        )

    return read_traffic


def network_traffic_reader() -> Callable[[], NetworkTraffic]:
    """Makes a reader of the totals of all interfaces except loopback, which may appear and vanish."""
    received, sent, faults = Total(), Total(), Total()

    def read_traffic() -> NetworkTraffic:
        counters = psutil.net_io_counters(pernic=True, nowrap=False)
        nics = {name: counts for name, counts in counters.items() if name not in LOOPBACK}
        return NetworkTraffic(
            received_bytes=received.add({n: c.bytes_recv for n, c in nics.items()}),
            sent_bytes=sent.add({n: c.bytes_sent for n, c in nics.items()}),
            faults=faults.add({n: c.errin + c.errout + c.dropin + c.dropout for n, c in nics.items()}),
        )

    return read_traffic


def read_memory() -> MachineMemory:
    """Reads the machine's memory; used is total minus available."""
    memory = psutil.virtual_memory()
    used = memory.total - memory.available
    return MachineMemory(used, memory.available, used / memory.total)


def busy_and_total(times: Mapping[str, float]) -> tuple[float, float]:
    """Returns busy and total seconds of all cores.

    ``times`` is ``psutil.cpu_times()`` by name. Waiting for input and output is idle time; guest time is
    already included in ``user`` and ``nice`` (proc(5)).
    """
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return total - times["idle"] - times.get("iowait", 0.0), total


def process_cpu_seconds() -> float:
    """Returns the processor time of this process, user and system, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def read_disk(path: Path) -> DiskSpace:
    """Reads the file system of ``path``, or of its nearest existing parent."""
    while not path.exists() and path != path.parent:
        path = path.parent
    space = psutil.disk_usage(str(path))
    return DiskSpace(space.free, space.used / max(1, space.used + space.free))
