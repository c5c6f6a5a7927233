"""docs/security.md: the steps that let other machines in are carried out, with a whole stack behind them."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.docs.commands import ROOT
from tests.embedded_server import create_data
from tests.pipeline.running import (
    ANSWER_LIMIT_SECONDS,
    RunningDecahertz,
    environment,
    read,
    run,
    running,
    wait_until,
)
from tests.servers import free_port, require

pytestmark = pytest.mark.timeout(180)
NAME = "recorder.example.com"
DONE_BY_SHELL = ("openssl ", "printf ", "curl ")


def steps(port: int) -> Iterator[tuple[str, str]]:
    """Language and text of each block of the section, for this machine's name and a free port."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    section = page.partition("## Beyond loopback\n")[2]
    found = re.findall(r"^   ```(\w+)\n(.*?)^   ```$", section, re.DOTALL | re.MULTILINE)
    assert [language for language, _ in found] == ["sh", "toml", "sh", "sh", "python"]
    for language, text in found:
        lines = re.sub(r"^   ", "", text, flags=re.MULTILINE)
        yield language, lines.replace(NAME, "localhost").replace(":8000", f":{port}")


def commands(text: str) -> list[str]:
    return [line for line in text.replace("\\\n", " ").splitlines() if line]


class Desk:
    """Reads the API from another machine, with a key."""

    def __init__(self, folder: Path, port: int) -> None:
        self._url = f"https://localhost:{port}/api/v1/"
        self._header = f"Bearer {(folder / 'ada.key').read_text().strip()}"
        self._trusted = ssl.create_default_context(cafile=str(folder / "recorder.crt"))

    def items(self, name: str) -> list[dict[str, Any]]:
        request = urllib.request.Request(  # noqa: S310 - https
            self._url + name, headers={"Authorization": self._header}
        )
        with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_SECONDS, context=self._trusted) as answer:  # noqa: S310
            found: list[dict[str, Any]] = json.load(answer)["items"]
            return found


def check_stack(decahertz: RunningDecahertz, desk: Desk, env: dict[str, str], port: int) -> None:
    """The programs of this machine work with TLS and keys: demo, Alertmanager, Prometheus, health."""
    assert decahertz.page == f"https://localhost:{port}/"
    assert decahertz.websocket == f"wss://localhost:{port}/ws"
    health = run("health", "--config", "exposed.toml", env=env)
    assert health.returncode == 0, health.stdout + health.stderr
    assert re.search("^ok +tls$", health.stdout, re.MULTILINE)
    wait_until("fills of the demo", 40, lambda: bool(desk.items("fills?limit=1")))
    alerts = "alerts?name=DeadMansSwitch"
    wait_until("an alert by Alertmanager's webhook", 60, lambda: bool(desk.items(alerts)))

    def health_of_targets() -> list[str]:
        found = json.loads(read(f"{decahertz.address('Prometheus')}/api/v1/targets"))["data"]["activeTargets"]
        return [target["health"] for target in found]

    wait_until("a scrape by Prometheus", 30, lambda: health_of_targets() == ["up"])


def test_the_steps_that_let_other_machines_in_work_as_written(folder: Path) -> None:
    for program in ("openssl", "curl", "prometheus"):
        require(program)
    require("prometheus-alertmanager", "alertmanager")
    port = free_port()
    ports = {f"DECAHERTZ_STACK_{name}_PORT": "0" for name in ("PROMETHEUS", "ALERTMANAGER", "GRAFANA")}
    env = environment(folder, **ports, DECAHERTZ_API_PORT=str(port))
    create_data(folder / "postgres")
    with ExitStack() as stack:
        for language, text in steps(port):
            if language == "toml":
                (folder / "exposed.toml").write_text(text)
                continue
            if language == "python":
                with_key = {**env, "DECAHERTZ_KEY_FILE": "ada.key"}
                command = [sys.executable, "-c", text]
                printed = subprocess.check_output(command, env=with_key, cwd=folder, timeout=30, text=True)
                assert printed == "ada\n"
                continue
            for line in commands(text):
                if line.startswith(DONE_BY_SHELL):
                    printed = subprocess.check_output(["sh", "-c", line], cwd=folder, timeout=30, text=True)
                    assert not line.startswith("curl") or json.loads(printed)["name"] == "ada"
                elif line.startswith("decahertz up "):
                    arguments = [*line.split()[2:], "--demo"]
                    log = folder / "log"
                    started = running(*arguments, env=env, log=log, subcommand="stack")
                    check_stack(stack.enter_context(started), Desk(folder, port), env, port)
                else:
                    done = run(*line.split()[1:], env=env)
                    assert done.returncode == 0, done.stdout + done.stderr
