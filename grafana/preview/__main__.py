"""Draws every dashboard with real data: ``scripts/dashboards-preview``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeRemainingColumn

from decahertz.clock import SystemClock
from grafana.preview.demo import recorder, run
from grafana.preview.page import NO_DATA, draw
from grafana.preview.stack import ROLE, ROOT, StackError, environment, prometheus
from grafana.preview.visitor import visiting
from grafana.reader.dashboard import Dashboard
from grafana.reader.frame import QueryError
from grafana.reader.intervals import TimeRange
from grafana.reader.provisioning import Provisioning, ProvisioningError, read_dashboards
from grafana.reader.view import Sources, View

_PASSWORD = "preview"  # noqa: S105 - of a database that ends with the run
_SCRAPE_INTERVAL = "2s"
_PICTURES = ROOT / "build" / "dashboards"
_TRADED = "SELECT instrument FROM fills GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"


def main() -> int:
    """Parses the arguments and draws."""
    parser = argparse.ArgumentParser(prog="scripts/dashboards-preview", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="dashboards to draw; default: all")
    parser.add_argument("--out", type=Path, default=_PICTURES, help="folder of the pictures")
    parser.add_argument("--minutes", type=float, default=5.0, help="time range; length of the demo run")
    parser.add_argument(
        "--set", action="append", default=[], metavar="VARIABLE=VALUE", help="value of a variable"
    )
    parser.add_argument("--most", type=int, default=1, help="maximum of repeated rows to draw")
    running = parser.add_argument_group("a running recorder", "Without these a demo runs for the minutes.")
    running.add_argument("--prometheus", metavar="URL", help="address of Prometheus")
    running.add_argument("--database", metavar="URL", help="address of PostgreSQL; its password is not read")
    running.add_argument("--password-file", type=Path, help=f"password of the role {ROLE}")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    try:
        with ExitStack() as stack:
            settings = _settings(arguments, stack, console)
            return _draw_all(arguments, settings, console)
    except (StackError, ProvisioningError) as error:
        console.print(f"dashboards-preview: {error}")
        return 2


def _settings(arguments: argparse.Namespace, stack: ExitStack, console: Console) -> Mapping[str, str]:
    """Returns the environment of Grafana, for the given recorder or for a demo that is started here."""
    given = (arguments.prometheus, arguments.database, arguments.password_file)
    if not any(given):
        return stack.enter_context(_demo(arguments.minutes, console))
    if not all(given):
        raise StackError("--prometheus, --database and --password-file belong together")
    password = arguments.password_file.read_text(encoding="utf-8").strip()
    return environment(arguments.prometheus, arguments.database, password)


@contextmanager
def _demo(minutes: float, console: Console) -> Iterator[Mapping[str, str]]:
    """A demo that has run for some minutes."""
    with tempfile.TemporaryDirectory(prefix="decahertz-") as name, ExitStack() as stack:
        folder = Path(name)
        addresses = stack.enter_context(recorder(folder))
        url = stack.enter_context(prometheus(folder, addresses["Metrics"], _SCRAPE_INTERVAL))
        password = folder / "password"
        password.write_text(_PASSWORD, encoding="utf-8")
        run(folder, "db", "grant-read", ROLE, "--password-file", str(password))
        columns = (TextColumn("the demo runs"), *Progress.get_default_columns()[1:2], TimeRemainingColumn())
        with (
            visiting(folder, addresses["API"].partition("/api/")[0]),
            Progress(*columns, console=console) as progress,
        ):
            for _ in progress.track(range(int(minutes * 60))):
                time.sleep(1)
        yield environment(url, addresses["Database"], _PASSWORD)


def _draw_all(arguments: argparse.Namespace, settings: Mapping[str, str], console: Console) -> int:
    folder = ROOT / "grafana"
    provisioned = Provisioning(
        folder / "provisioning", {**settings, "DECAHERTZ_GRAFANA_DASHBOARDS": str(folder / "dashboards")}
    )
    sources = Sources(provisioned.data_sources())
    chosen = dict(one.split("=", 1) for one in arguments.set)
    arguments.out.mkdir(parents=True, exist_ok=True)
    now_ms = SystemClock().time_ns() // 10**6
    time_range = TimeRange(now_ms - int(arguments.minutes * 60_000), now_ms)
    failed = False
    for file, dashboard in read_dashboards(folder / "dashboards").items():
        path = arguments.out / file.replace(".json", ".png")
        if arguments.names and path.stem not in arguments.names:
            continue
        selections = {**_most_traded(dashboard, sources), **chosen}
        try:
            problems = draw(View(dashboard, sources, time_range, selections), path, arguments.most)
        except QueryError as error:
            problems = [f"{dashboard.title}: {error}"]
        failed = failed or any(not text.endswith(NO_DATA) for text in problems)
        size = path.stat().st_size // 1000 if path.exists() else 0
        console.print(f"{path}: {size} kB", *problems, sep="\n  ")
    sources.close()
    return 1 if failed else 0


def _most_traded(dashboard: Dashboard, sources: Sources) -> dict[str, str]:
    """The instrument with the most fills, where a dashboard has a row for each instrument."""
    if all(panel.repeat != "instrument" for panel in dashboard.panels):
        return {}
    found = sources.postgres(sources.provisioned["decahertz-postgres"]).rows(_TRADED)
    return {"instrument": found.fields[0].values[0]} if found.rows else {}


if __name__ == "__main__":
    sys.exit(main())
