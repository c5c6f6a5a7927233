"""Runs benchmarks and prints the table: ``python -m benchmarks [NAME…] [--json FILE]``."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks.harness import Measure


def modules() -> dict[str, str]:
    """Returns the modules by name of the benchmark: ``bench_client_emit`` is ``client-emit``."""
    return {
        info.name.removeprefix("bench_").replace("_", "-"): f"benchmarks.{info.name}"
        for info in pkgutil.iter_modules(benchmarks.__path__)
        if info.name.startswith("bench_")
    }


_WIDTH = 120
"""Width of the table if the output is not a terminal."""


def _table(measures: list[Measure]) -> Table:
    table = Table(title="Decahertz benchmarks")
    for column in ("name", "ours", "reference", "unit", "ratio", "goal"):
        is_text = column in ("name", "unit", "goal")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=column == "name")
    for m in measures:
        table.add_row(
            m.name,
            f"{m.ours:,.4g}",
            "-" if m.reference is None else f"{m.reference:,.4g}",
            m.unit,
            "-" if m.ratio is None else f"{m.ratio:,.3g}",
            m.goal,
        )
    return table


def main() -> int:
    """Parses the arguments, runs the benchmarks and prints the table."""
    known = modules()
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Runs benchmarks; prints ratios.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(sorted(known))}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON as well")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(known))
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    measures: list[Measure] = []
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    for name in arguments.names or sorted(known):
        with console.status(f"measuring {name} …"):
            measures += importlib.import_module(known[name]).run()
    console.print(_table(measures))
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(measures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
