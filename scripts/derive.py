"""Write the files that are derived from declarations, or check that they are not stale.

python scripts/derive.py            write them
python scripts/derive.py --check    exit with 1 and name those that are stale
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import msgspec
from event_fields import events_page, fields_file
from metrics_page import metric_tables
from reader_code import reader_files
from reference_page import reference_page

from api.routes.table import api_document
from collectors.host.plugins import builtin_classes
from decahertz import __version__
from decahertz.app.alertmanager import AlertmanagerSettings, alertmanager_config
from decahertz.app.cli import all_keys
from decahertz.clock import SystemClock
from decahertz.collector import BaseCollector
from decahertz.conditions import CONDITIONS
from decahertz.metric import Kind, Unit, family_name
from decahertz.sample import schema_of
from decahertz.settings import Key
from grafana.builder.files import dashboard_files

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- metrics -->", "<!-- /metrics -->"
CONDITIONS_BEGIN, CONDITIONS_END = "<!-- conditions -->", "<!-- /conditions -->"


def metric_table(collector: BaseCollector[Any]) -> str:
    """The metrics of a collector as a Markdown table."""
    schema = schema_of(collector.sample_type)
    rows = [
        "| field | kind | unit | Prometheus family | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for field in schema.metrics:
        unit = field.metric.unit.value if field.metric.unit is not Unit.NONE else ""
        kind = field.metric.kind.value
        if field.states:
            kind += ": " + ", ".join(field.states)
        family = family_name(schema.collector, field.name, field.metric.unit)
        if field.metric.kind is Kind.COUNTER:
            family += "_total"
        null = " Can be null." if field.optional else ""
        families = f"`{family}`" + (", `…_min`, `…_max`" if field.metric.extremes else "")
        if not field.metric.exported:
            families = ""
        rows.append(f"| `{field.name}` | {kind} | {unit} | {families} | {field.metric.meaning}{null} |")
    key = ", ".join(f"`{name}`" for name in schema.key) or "none: a single series"
    lines = [f"Key: {key}. Table: `{schema.collector}_samples`.", "", *rows]
    if collector.histograms:
        lines += [
            "",
            "Histograms, for Prometheus only:",
            "",
            "| family | key | meaning |",
            "| --- | --- | --- |",
        ]
    for histogram in collector.histograms:
        family = family_name(schema.collector, histogram.name, histogram.unit)
        labels = ", ".join(f"`{name}`" for name in histogram.key)
        lines.append(f"| `{family}` | {labels} | {histogram.help} |")
    return "\n".join(lines)


def condition_table() -> str:
    """All conditions as a Markdown table."""
    rows = [
        "| alert | severity | value | fires | for | clear | by |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for c in CONDITIONS:
        side = "above" if c.is_above else "below"
        threshold = f"{side} `{c.key}` ({c.default:g})" if c.key else ""
        clear = f"{c.clear_ratio:g}, {c.clear_seconds:g} s" if c.is_watched else ""
        by = "watchdog, Prometheus" if c.is_watched else "Prometheus"
        cells = (f"`{c.alert}`", c.severity.value, c.help, threshold, f"{c.for_seconds:g} s", clear, by)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def filled(text: str, begin: str, end: str, content: str) -> str:
    """The text with this content between two marks."""
    head, rest = text.split(begin)
    return f"{head}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def settings_page() -> str:
    """All settings, those of the built-in plugins included, as a Markdown page."""
    lines = [
        "# Settings",
        "",
        "One name everywhere: `api.port` in `decahertz.toml` is `DECAHERTZ_API_PORT` in the environment and",
        "`--api-port` on the command line. Later wins: defaults, file, environment, command line. Lists are",
        "separated by commas in the environment and on the command line. Written by `scripts/derive.py`.",
        "",
        "| key | environment | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    lines += [_settings_row(key) for key in all_keys()]
    return "\n".join(lines) + "\n"


def _settings_row(key: Key) -> str:
    default: Any = key.default
    if key.key == "data_dir":
        default = "`~/.local/share/decahertz`; for root `/var/lib/decahertz`"
    elif key.key == "recorder":
        default = "the host name"
    elif default is msgspec.NODEFAULT:
        default = "none: must be set"
    elif isinstance(default, tuple):
        default = f"`{','.join(map(str, default))}`" if default else "none"
    else:
        default = f"`{default}`" if default not in ("", None, Path()) else "none"
    return f"| `{key.key}` | `{key.environment}` | {default} | {key.help} |"


def derived() -> Iterator[tuple[Path, str]]:
    """Each derived file with what it has to hold."""
    for name, plugin in builtin_classes("collectors").items():
        path = ROOT / "collectors" / name / "README.md"
        table = metric_table(plugin(SystemClock(), plugin.options_type()))
        yield path, filled(path.read_text(encoding="utf-8"), BEGIN, END, table)
    path = ROOT / "docs" / "alerts.md"
    text = path.read_text(encoding="utf-8")
    yield path, filled(text, CONDITIONS_BEGIN, CONDITIONS_END, condition_table())
    path = ROOT / "docs" / "metrics.md"
    yield path, filled(path.read_text(encoding="utf-8"), BEGIN, END, metric_tables())
    yield ROOT / "docs" / "settings.md", settings_page()
    config = alertmanager_config(AlertmanagerSettings(), "http://127.0.0.1:8000")
    yield ROOT / "prometheus" / "alertmanager.yml", config
    document = api_document(__version__)
    text = msgspec.json.format(msgspec.json.encode(document, order="deterministic")).decode()
    yield ROOT / "docs" / "openapi.json", text + "\n"
    examples = msgspec.json.decode((ROOT / "docs" / "examples.json").read_bytes())
    yield ROOT / "docs" / "reference.md", reference_page(document, examples)
    yield from reader_files(document, ROOT / "client" / "decahertz_client")
    yield fields_file(ROOT / "client" / "decahertz_client")
    yield ROOT / "docs" / "events.md", events_page()
    for path, text in dashboard_files():
        yield ROOT / path, text


def missing_entry_points() -> list[str]:
    """Entry points of pyproject.toml that the installed distribution lacks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = {(point.group, point.name, point.value) for point in distribution("decahertz").entry_points}
    return [
        f"{group}: {name}"
        for group, points in project["entry-points"].items()
        for name, value in points.items()
        if (group, name, value) not in installed
    ]


def main() -> int:
    """Writes or checks."""
    parser = argparse.ArgumentParser(prog="scripts/derive.py")
    parser.add_argument("--check", action="store_true", help="change nothing; name what is stale")
    check = parser.parse_args().check
    missing = missing_entry_points()
    if missing:  # their settings would be missing in the files
        print(f"not installed: {', '.join(missing)}: run `python -m pip install --no-deps -e .`")
        return 2
    stale = [
        (path, text)
        for path, text in derived()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
