"""The metrics of the machine, the process and its event loop."""

from __future__ import annotations

from typing import Annotated, ClassVar

from decahertz.metric import HIGHEST, LOWEST, NEWEST, Kind, Metric, Unit
from decahertz.sample import Sample

_BYTES = Unit.BYTES
_RATIO = Unit.RATIO
_SECONDS = Unit.SECONDS


class SystemSample(Sample, frozen=True, kw_only=True):
    """The machine and the process at one cycle.

    Counters start at zero with the collector, except those of the process. ``None``: the machine does not
    provide the value, or the last ten readings failed.
    """

    collector: ClassVar[str] = "system"
    key: ClassVar[tuple[str, ...]] = ("host",)

    host: str

    cpu_ratio: Annotated[
        float | None, Metric("Busy share of all cores over the last second.", unit=_RATIO, extremes=True)
    ]
    load_1m: Annotated[float | None, Metric("Load average over one minute.", aggregates=HIGHEST)]
    load_5m: Annotated[float | None, Metric("Load average over five minutes.", aggregates=HIGHEST)]
    load_15m: Annotated[float | None, Metric("Load average over fifteen minutes.", aggregates=HIGHEST)]
    memory_used_bytes: Annotated[
        int | None, Metric("Memory in use: total minus available.", unit=_BYTES, aggregates=HIGHEST)
    ]
    memory_available_bytes: Annotated[
        int | None, Metric("Memory available to programs without swapping.", unit=_BYTES, aggregates=LOWEST)
    ]
    memory_used_ratio: Annotated[
        float | None,
        Metric(
            "Used memory relative to total memory.",
            unit=_RATIO,
            formula="memory_used_bytes / total memory",
        ),
    ]
    swap_used_bytes: Annotated[int | None, Metric("Swap space in use.", unit=_BYTES, aggregates=HIGHEST)]
    disk_free_bytes: Annotated[
        int | None,
        Metric("Free space on the data disk for unprivileged users.", unit=_BYTES, aggregates=LOWEST),
    ]
    disk_used_ratio: Annotated[
        float | None,
        Metric(
            "Used space on the data disk, relative to the space available to users.",
            unit=_RATIO,
            formula="used / (used + disk_free_bytes)",
            aggregates=HIGHEST,
        ),
    ]
    disk_read_bytes: Annotated[int, Metric("Bytes read from all disks.", kind=Kind.COUNTER, unit=_BYTES)]
    disk_written_bytes: Annotated[int, Metric("Bytes written to all disks.", kind=Kind.COUNTER, unit=_BYTES)]
    network_received_bytes: Annotated[
        int, Metric("Bytes received on all interfaces except loopback.", kind=Kind.COUNTER, unit=_BYTES)
    ]
    network_sent_bytes: Annotated[
        int, Metric("Bytes sent on all interfaces except loopback.", kind=Kind.COUNTER, unit=_BYTES)
    ]
    network_faults: Annotated[
        int, Metric("Packets dropped or damaged on all interfaces except loopback.", kind=Kind.COUNTER)
    ]
    clock_offset_seconds: Annotated[
        float | None,
        Metric(
            "Offset of the wall clock from its time source; null while none synchronises it.",
            unit=_SECONDS,
        ),
    ]
    clock_bound_seconds: Annotated[
        float | None,
        Metric(
            "Bound of the wall clock's error, by its time source; null while none synchronises it.",
            unit=_SECONDS,
            formula="abs(offset) + root delay / 2 + root dispersion",
            source="RFC 5905",
            aggregates=HIGHEST,
        ),
    ]
    processes: Annotated[int | None, Metric("Processes on this machine.", aggregates=HIGHEST)]

    process_cpu_ratio: Annotated[
        float | None,
        Metric("Share of one core used by this process over the last second.", unit=_RATIO, extremes=True),
    ]
    process_cpu_seconds: Annotated[
        float, Metric("Processor time used by this process.", kind=Kind.COUNTER, unit=_SECONDS)
    ]
    process_resident_bytes: Annotated[
        int | None, Metric("Resident memory of this process.", unit=_BYTES, aggregates=HIGHEST)
    ]
    process_open_files: Annotated[
        int | None, Metric("Open files and sockets of this process.", aggregates=HIGHEST)
    ]
    process_threads: Annotated[int | None, Metric("Threads of this process.", aggregates=HIGHEST)]
    process_gc_runs: Annotated[
        int, Metric("Runs of the garbage collector over all generations.", kind=Kind.COUNTER)
    ]
    uptime_seconds: Annotated[
        float, Metric("Time since the collector started.", unit=_SECONDS, aggregates=NEWEST)
    ]

    loop_lag_seconds: Annotated[
        float, Metric("Delay of the latest event-loop timer.", unit=_SECONDS, extremes=True)
    ]
    loop_lag_max_seconds: Annotated[
        float,
        Metric(
            "Longest event-loop lag over the last second.", unit=_SECONDS, extremes=True, aggregates=HIGHEST
        ),
    ]
    loop_late: Annotated[int, Metric("Event-loop timers more than late_seconds late.", kind=Kind.COUNTER)]
    loop_blocks: Annotated[int, Metric("Event-loop blocks of more than block_seconds.", kind=Kind.COUNTER)]
    poll_errors: Annotated[int, Metric("Readings of the machine that failed.", kind=Kind.COUNTER)]
