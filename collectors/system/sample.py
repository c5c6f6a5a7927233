"""What the system collector measures: this machine, this process, and its event loop."""

from __future__ import annotations

from typing import Annotated, ClassVar

from decahertz.metric import Kind, Metric, Unit
from decahertz.sample import Sample

_BYTES = Unit.BYTES
_RATIO = Unit.RATIO
_SECONDS = Unit.SECONDS


class SystemSample(Sample, frozen=True, kw_only=True):
    """The machine and the process at one instant.

    Counters begin at zero when the collector starts, but for those of the process. ``None``: the machine
    does not say, or has not said for the last ten readings.
    """

    collector: ClassVar[str] = "system"
    key: ClassVar[tuple[str, ...]] = ("host",)

    host: str

    cpu_ratio: Annotated[
        float | None, Metric("Share of all cores that was busy over the last second.", unit=_RATIO)
    ]
    load_1m: Annotated[float | None, Metric("Load average over one minute.")]
    load_5m: Annotated[float | None, Metric("Load average over five minutes.")]
    load_15m: Annotated[float | None, Metric("Load average over fifteen minutes.")]
    memory_used_bytes: Annotated[
        int | None, Metric("Memory in use that cannot be reclaimed: total minus available.", unit=_BYTES)
    ]
    memory_available_bytes: Annotated[
        int | None, Metric("Memory that programs can still get without swapping.", unit=_BYTES)
    ]
    memory_used_ratio: Annotated[float | None, Metric("Used memory in all memory.", unit=_RATIO)]
    swap_used_bytes: Annotated[int | None, Metric("Swap space in use.", unit=_BYTES)]
    disk_free_bytes: Annotated[
        int | None, Metric("Free space for unprivileged users where the data lives.", unit=_BYTES)
    ]
    disk_used_ratio: Annotated[
        float | None,
        Metric("Used space in what users can have, where the data lives.", unit=_RATIO),
    ]
    disk_read_bytes: Annotated[int, Metric("Bytes read from all disks.", kind=Kind.COUNTER, unit=_BYTES)]
    disk_written_bytes: Annotated[int, Metric("Bytes written to all disks.", kind=Kind.COUNTER, unit=_BYTES)]
    network_received_bytes: Annotated[
        int, Metric("Bytes received by all interfaces but loopback.", kind=Kind.COUNTER, unit=_BYTES)
    ]
    network_sent_bytes: Annotated[
        int, Metric("Bytes sent by all interfaces but loopback.", kind=Kind.COUNTER, unit=_BYTES)
    ]
    network_faults: Annotated[
        int, Metric("Packets dropped or damaged on all interfaces but loopback.", kind=Kind.COUNTER)
    ]
    processes: Annotated[int | None, Metric("Processes on this machine.")]

    process_cpu_ratio: Annotated[
        float | None, Metric("Share of one core that this process used over the last second.", unit=_RATIO)
    ]
    process_cpu_seconds: Annotated[
        float, Metric("Processor time that this process used.", kind=Kind.COUNTER, unit=_SECONDS)
    ]
    process_resident_bytes: Annotated[int | None, Metric("Memory of this process in RAM.", unit=_BYTES)]
    process_open_files: Annotated[int | None, Metric("Files and sockets that this process has open.")]
    process_threads: Annotated[int | None, Metric("Threads of this process.")]
    process_gc_runs: Annotated[
        int, Metric("Runs of the garbage collector over all generations.", kind=Kind.COUNTER)
    ]
    uptime_seconds: Annotated[float, Metric("Time since this collector started.", unit=_SECONDS)]

    loop_lag_seconds: Annotated[float, Metric("How late the event loop ran its latest timer.", unit=_SECONDS)]
    loop_lag_max_seconds: Annotated[
        float, Metric("Longest event-loop lag over the last second.", unit=_SECONDS)
    ]
    loop_late: Annotated[
        int, Metric("Timers that the event loop ran more than late_seconds late.", kind=Kind.COUNTER)
    ]
    loop_blocks: Annotated[
        int, Metric("Times the event loop stood still for more than block_seconds.", kind=Kind.COUNTER)
    ]
    poll_errors: Annotated[int, Metric("Readings of the machine that failed.", kind=Kind.COUNTER)]
