"""Prometheus and Alertmanager with the shipped files, on a clock that runs fifteen times as fast.

All durations in the files are divided by 15: the scrape interval of 15 s becomes 1 s, ``for: 15s`` one
second, ``[5m]`` 20 seconds. Nothing else is changed but the addresses.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from decahertz.app.alertmanager import AlertmanagerSettings, alertmanager_config
from tests.pipeline.running import ROOT, RunningDecahertz, read, wait_until
from tests.servers import free_port, require

FACTOR = 15
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(?<![\w.])(\d+)([smhd])\b")
_START_SECONDS = 30.0


def faster(text: str) -> str:
    """The text of a file with its durations divided; texts for people, in annotations, stay as they are."""

    def divided(found: re.Match[str]) -> str:
        seconds = int(found[1]) * _SECONDS[found[2]]
        return f"{max(1000 * seconds // FACTOR, min(seconds, 1) * 1000)}ms"

    return "\n".join(
        line if re.match(r"\s+(summary|description): ", line) else _DURATION.sub(divided, line)
        for line in text.split("\n")
    )


@dataclass(frozen=True)
class FastStack:
    """The addresses of both servers."""

    prometheus: str
    alertmanager: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        answer = msgspec.json.decode(
            read(f"{self.prometheus}/api/v1/query?{urlencode({'query': expression})}")
        )
        return list(answer["data"]["result"])

    def seen(self, state: str) -> set[str]:
        """Names of the alerts that were in a state (``pending``, ``firing``) at some time."""
        series = self.query(f'count by (alertname) (count_over_time(ALERTS{{alertstate="{state}"}}[1h]))')
        return {one["metric"]["alertname"] for one in series}


@contextmanager
def fast_stack(folder: Path, decahertz: RunningDecahertz) -> Iterator[FastStack]:
    """Runs both servers next to a recorder, until the block ends."""
    stack = FastStack(*(f"http://127.0.0.1:{free_port()}" for _ in range(2)))
    _write(folder, decahertz, stack)
    with ExitStack() as running:
        for name, url, options in (
            (
                require("prometheus-alertmanager", "alertmanager"),
                stack.alertmanager,
                (
                    "--config.file=alertmanager.yml",
                    "--storage.path=alertmanager",
                    "--cluster.listen-address=",
                ),
            ),
            (
                require("prometheus"),
                stack.prometheus,
                ("--config.file=prometheus.yml", "--storage.tsdb.path=data"),
            ),
        ):
            log = running.enter_context((folder / f"{Path(name).name}.log").open("w"))
            command = [name, *options, f"--web.listen-address={url.removeprefix('http://')}"]
            env = {**os.environ, "GOGC": "400"}  # they collect garbage less often
            process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
            running.callback(process.wait)
            running.callback(process.kill)
            wait_until(f"{name} to be ready", _START_SECONDS, lambda url=url: _is_ready(url))  # type: ignore[misc]
        yield stack


def _write(folder: Path, decahertz: RunningDecahertz, stack: FastStack) -> None:
    for file in (ROOT / "prometheus.yml", *(ROOT / "prometheus").rglob("*.rules.yml")):
        made = folder / file.relative_to(ROOT)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(faster(file.read_text()))
    targets = folder / "prometheus" / "targets"
    targets.mkdir()
    exporter = decahertz.metrics.removeprefix("http://").removesuffix("/metrics")
    for name, address in (
        ("decahertz", exporter),
        ("alertmanager", stack.alertmanager.removeprefix("http://")),
    ):
        (targets / f"{name}.yml").write_bytes(msgspec.json.encode([{"targets": [address]}]))
    config = alertmanager_config(AlertmanagerSettings(), decahertz.api)
    (folder / "alertmanager.yml").write_text(faster(config))


def _is_ready(url: str) -> bool:
    try:
        return bool(read(f"{url}/-/ready"))
    except OSError:
        time.sleep(0.1)
        return False
