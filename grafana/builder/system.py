"""System: the machines and processes of the recorders."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.builder import style, variables
from grafana.builder.declared import Declared, metric, threshold
from grafana.builder.frame import Line, dashboard
from grafana.builder.overrides import dashed, limit_line
from grafana.builder.panels import About, PanelBuilder, figure, lines
from grafana.builder.queries import chosen, history, matching, prom
from grafana.builder.style import Display, rising

NAME = "system"
_LABELS = matching("recorder", "host")
_CHOSEN = (chosen("recorder"), chosen("host"))
_BY_RECORDER = "${__field.labels.recorder}"


def system() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        NAME,
        "System",
        "Do the machines have what the recorders need?",
        [variables.recorder(), variables.host()],
        [variables.alerts()],
        [
            Line(4, [(4, panel) for panel in _figures()]),
            Line(11, [(8, _cpu()), (8, _process_cpu()), (8, _loop_lag())]),
            Line(11, [(8, _memory()), (8, _resident()), (8, _disk())]),
            Line(8, [(6, _clock()), (6, _disk_rates()), (6, _network()), (6, _files())]),
        ],
    )


def _figures() -> list[PanelBuilder]:
    cpu, memory, disk = (
        metric("system", "cpu_ratio"),
        metric("system", "memory_used_ratio"),
        metric("system", "disk_used_ratio"),
    )
    free, lag = metric("system", "disk_free_bytes"), metric("system", "loop_lag_max_seconds")
    uptime = metric("system", "uptime_seconds")
    high, full, slow = threshold("CpuHigh"), threshold("MemoryHigh"), threshold("EventLoopLag")
    return [
        _worst("CPU", cpu, f"max({cpu.family}{_LABELS})", rising(0.8 * high, high)),
        _worst("Memory", memory, f"max({memory.family}{_LABELS})", rising(0.9 * full, full)),
        _worst("Disk", disk, f"max({disk.family}{_LABELS})", rising(0.8, 0.9)),
        _worst("Disk free", free, f"min({free.family}{_LABELS})", None),
        _worst("Event-loop lag", lag, f"max({lag.family}_max{_LABELS})", rising(slow / 2, slow)),
        _worst("Uptime", uptime, f"min({uptime.family}{_LABELS})", None),
    ]


def _worst(title: str, what: Declared, expression: str, colours: style.Thresholds | None) -> PanelBuilder:
    about = About(title, f"Of the host with the least reserve. {what.help}")
    return figure(about, what.display, prom(expression), colours=colours)


def _over_time(
    title: str, name: str, aggregate: str, text: str = "", *, minimum: float | None = 0
) -> PanelBuilder:
    what = metric("system", name)
    query = history("system", {name: aggregate}, keys=("recorder",), where=_CHOSEN)
    return lines(About(title, f"{text}{what.help}"), what.display, query, name=_BY_RECORDER, minimum=minimum)


def _cpu() -> PanelBuilder:
    cpu = metric("system", "cpu_ratio")
    columns = {"mean": "avg(cpu_ratio_avg)", "highest": "max(cpu_ratio_max)"}
    query = history("system", columns, keys=("recorder",), where=_CHOSEN)
    name = f"{_BY_RECORDER} ${{__field.name}}"
    panel = lines(About("CPU", cpu.help), cpu.display, query, name=name, minimum=0, maximum=1)
    return limit_line(panel, threshold("CpuHigh"))


def _process_cpu() -> PanelBuilder:
    return _over_time("CPU of the recorder", "process_cpu_ratio", "avg(process_cpu_ratio_avg)")


def _loop_lag() -> PanelBuilder:
    lag = metric("system", "loop_lag_max_seconds")
    query = history("system", {"lag": "max(loop_lag_max_seconds_max)"}, keys=("recorder",), where=_CHOSEN)
    panel = lines(
        About("Event-loop lag", f"Highest of each step. {lag.help}"),
        lag.display,
        query,
        name=_BY_RECORDER,
        minimum=0,
    )
    return limit_line(panel, threshold("EventLoopLag"))


def _memory() -> PanelBuilder:
    memory = metric("system", "memory_used_ratio")
    query = history("system", {"used": "avg(memory_used_ratio_avg)"}, keys=("recorder",), where=_CHOSEN)
    panel = lines(
        About("Memory", memory.help), memory.display, query, name=_BY_RECORDER, minimum=0, maximum=1
    )
    return limit_line(panel, threshold("MemoryHigh"))


def _resident() -> PanelBuilder:
    return _over_time("Memory of the recorder", "process_resident_bytes", "max(process_resident_bytes_max)")


def _disk() -> PanelBuilder:
    return _over_time("Disk space left", "disk_free_bytes", "min(disk_free_bytes_min)")


def _clock() -> PanelBuilder:
    offset, bound = metric("system", "clock_offset_seconds"), metric("system", "clock_bound_seconds")
    columns = {
        "offset": "avg(clock_offset_seconds_avg)",
        "true time, at most": "max(clock_bound_seconds_max)",
        "true time, at least": "-max(clock_bound_seconds_max)",
    }
    query = history("system", columns, keys=("recorder",), where=_CHOSEN)
    about = About(
        "Clock",
        f"{offset.help} The true time is between the dashed lines. {bound.help} Latencies from and to other"
        " machines are as wrong.",
    )
    panel = lines(about, offset.display, query, name=f"{_BY_RECORDER} ${{__field.name}}")
    return dashed(panel, "/true time/")


def _disk_rates() -> PanelBuilder:
    read, written = metric("system", "disk_read_bytes"), metric("system", "disk_written_bytes")
    return lines(
        About("Disk traffic", f"Per second. {read.help} {written.help}"),
        Display("Bps"),
        prom(f"rate({read.family}{_LABELS}[$__rate_interval])", "{{recorder}} read"),
        prom(f"rate({written.family}{_LABELS}[$__rate_interval])", "{{recorder}} written", ref="B"),
        minimum=0,
    )


def _network() -> PanelBuilder:
    received, sent = metric("system", "network_received_bytes"), metric("system", "network_sent_bytes")
    return lines(
        About("Network traffic", f"Per second. {received.help} {sent.help}"),
        Display("Bps"),
        prom(f"rate({received.family}{_LABELS}[$__rate_interval])", "{{recorder}} received"),
        prom(f"rate({sent.family}{_LABELS}[$__rate_interval])", "{{recorder}} sent", ref="B"),
        minimum=0,
    )


def _files() -> PanelBuilder:
    files, threads = metric("system", "process_open_files"), metric("system", "process_threads")
    columns = {"files": "max(process_open_files_max)", "threads": "max(process_threads_max)"}
    query = history("system", columns, keys=("recorder",), where=_CHOSEN)
    about = About("Files and threads of the recorder", f"{files.help} {threads.help}")
    return lines(about, files.display, query, name=f"{_BY_RECORDER} ${{__field.name}}", minimum=0)
