"""``decahertz stack``: Prometheus and Alertmanager of this machine next to the recorder, as shipped."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import stat
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import psutil
import psycopg
import pytest
import yaml

from tests.pipeline.running import ROOT, RunningDecahertz, environment, read, run, running, wait_until
from tests.servers import require

pytestmark = pytest.mark.timeout(150)

OWN_RULES = """
groups:
  - name: of-the-user
    rules:
      - record: of_the_user
        expr: decahertz_build_info
"""


@pytest.fixture
def env(folder: Path) -> dict[str, str]:
    """The environment of a stack: free ports, the data in a folder of the test."""
    require("prometheus")
    require("prometheus-alertmanager", "alertmanager")
    ports = {f"DECAHERTZ_STACK_{name}_PORT": "0" for name in ("PROMETHEUS", "ALERTMANAGER", "GRAFANA")}
    return environment(folder, **ports)


class Prometheus:
    """The Prometheus of a running stack."""

    def __init__(self, decahertz: RunningDecahertz) -> None:
        self.url = decahertz.address("Prometheus")

    def get(self, path: str, **query: str) -> Any:  # noqa: ANN401 - whatever it answers
        """The data of an answer; ``None`` while it starts."""
        try:
            return msgspec.json.decode(read(f"{self.url}/api/v1/{path}?{urlencode(query)}"))["data"]
        except OSError:
            return None

    def sees_the_recorder(self) -> bool:
        """Whether a scrape of the recorder succeeded."""
        targets = (self.get("targets") or {}).get("activeTargets", [])
        return [target["health"] for target in targets] == ["up"]

    def knows(self, metric: str, time_seconds: float) -> bool:
        """Whether it has a value of the metric at that time."""
        answer = self.get("query", query=metric, time=str(time_seconds))
        return bool(answer and answer["result"])


def children_of(decahertz: RunningDecahertz) -> dict[str, psutil.Process]:
    """The programs that the recorder started, by name, without the workers of PostgreSQL."""
    return {child.name(): child for child in psutil.Process(decahertz.process.pid).children()}


def check_everything_is_connected(decahertz: RunningDecahertz) -> None:
    """The shipped rules and those of the user are loaded, and an alert gets through to the recorder."""
    prometheus = Prometheus(decahertz)
    wait_until("a scrape of the recorder", 30, prometheus.sees_the_recorder)
    alertmanager = decahertz.address("Alertmanager")
    known = prometheus.get("alertmanagers")["activeAlertmanagers"]
    assert [found["url"] for found in known] == [f"{alertmanager}/api/v2/alerts"]
    assert read(f"{alertmanager}/-/ready") == b"OK"
    shipped = [
        group["name"]
        for pattern in ("prometheus/*.rules.yml", "prometheus/alerts/*.rules.yml")
        for file in ROOT.glob(pattern)
        for group in yaml.safe_load(file.read_text())["groups"]
    ]
    wait_until(
        "an alert of Prometheus in the API",
        60,
        lambda: any(alert["name"] == "DeadMansSwitch" for alert in decahertz.get("/api/v1/alerts")["items"]),
    )
    loaded = [group["name"] for group in prometheus.get("rules")["groups"]]
    assert sorted(loaded) == sorted([*shipped, "of-the-user"])


def check_only_this_machine_is_served(children: Mapping[str, psutil.Process]) -> None:
    """Prometheus and Alertmanager listen on loopback, and nowhere else."""
    for name, child in children.items():
        if "prometheus" in name:
            addresses = [c.laddr.ip for c in child.net_connections() if c.status == psutil.CONN_LISTEN]
            assert addresses == ["127.0.0.1"], name


def test_a_stack_works_as_shipped_goes_on_after_a_crash_and_ends_with_its_parent(
    env: dict[str, str], folder: Path
) -> None:
    own = folder / "stack" / "prometheus" / "local" / "own.rules.yml"
    own.parent.mkdir(parents=True)
    own.write_text(OWN_RULES)
    (own.parent.parent / "gone.rules.yml").symlink_to(folder / "shipped-by-an-earlier-version.rules.yml")

    with running("--demo", env=env, log=folder / "log", subcommand="stack") as decahertz:
        check_everything_is_connected(decahertz)
        assert re.search(
            "^  Grafana +not installed: see https://grafana.com", decahertz.welcome, re.MULTILINE
        )
        children = children_of(decahertz)
        check_only_this_machine_is_served(children)
        [alertmanager] = [child for name, child in children.items() if "alertmanager" in name]
        alertmanager.kill()
        url = decahertz.address("Alertmanager")
        wait_until("another Alertmanager", 20, lambda: answers(f"{url}/-/ready"))
        crashed = time.time()
        started = psutil.Process(decahertz.process.pid).children(recursive=True)
        decahertz.process.send_signal(signal.SIGKILL)
        decahertz.process.communicate(timeout=10)
        _, alive = psutil.wait_procs(started, timeout=10)
        assert alive == []

    with_grafana = {**env, "DECAHERTZ_STACK_GRAFANA_PROGRAM": str(stand_in_for_grafana(folder))}
    with running("--demo", env=with_grafana, log=folder / "log", subcommand="stack") as decahertz:
        prometheus = Prometheus(decahertz)
        wait_until("samples of the first run", 20, lambda: prometheus.knows("decahertz_build_info", crashed))
        check_grafana_is_configured(decahertz, folder)
        assert own.read_text() == OWN_RULES
        wait_until(
            "the user's rule after the second start", 30, lambda: prometheus.knows("of_the_user", time.time())
        )
        started = psutil.Process(decahertz.process.pid).children(recursive=True)
        took, output = decahertz.stop()
        assert "stopped" in output
        assert took < 5
        assert not any(child.is_running() for child in started)


def stand_in_for_grafana(folder: Path) -> Path:
    """A program that writes down how it was started. There is no Grafana in Debian."""
    program = folder / "grafana" / "bin" / "grafana"
    program.parent.mkdir(parents=True)
    (folder / "grafana" / "conf").mkdir()
    started = folder / "grafana" / "started"
    script = f'{{ printf "%s\\n" "$*"; env; }} >{started}.new && mv {started}.new {started}\nexec sleep 600\n'
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    return program


def check_grafana_is_configured(decahertz: RunningDecahertz, folder: Path) -> None:
    """Its environment has the addresses, and the role that it names can read the database and no more."""
    started = folder / "grafana" / "started"
    wait_until("the start of Grafana", 10, started.exists)
    arguments, *lines = started.read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    assert arguments == f"server --homepath={folder.resolve() / 'grafana'}"
    url = f"http://{environment['GF_SERVER_HTTP_ADDR']}:{environment['GF_SERVER_HTTP_PORT']}"
    assert f"{url} (user admin, password in {folder}/stack/grafana-admin-password)" in decahertz.welcome
    assert environment["DECAHERTZ_PROMETHEUS_URL"] == decahertz.address("Prometheus")
    assert "DECAHERTZ_DATA_DIR" not in environment
    provisioning = Path(environment["GF_PATHS_PROVISIONING"])
    named = {
        name
        for file in provisioning.glob("*/*.yml")
        for name in re.findall(r"\$\{?([A-Z_]+)", re.sub("(?m)#.*", "", file.read_text()))
    }
    assert named <= environment.keys()
    assert content(environment["GF_SECURITY_ADMIN_PASSWORD"])
    with psycopg.connect(
        host=environment["DECAHERTZ_GRAFANA_DATABASE_HOST"],
        dbname=environment["DECAHERTZ_GRAFANA_DATABASE"],
        user=environment["DECAHERTZ_GRAFANA_DATABASE_USER"],
        password=content(environment["DECAHERTZ_GRAFANA_DATABASE_PASSWORD"]),
    ) as connection:
        assert connection.execute("SELECT count(*) FROM market_history").fetchone() != (0,)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM ticks_recent")


def content(value: str) -> str:
    """The content of the file that ``$__file{PATH}`` names; nobody else can read it."""
    found = re.fullmatch(r"\$__file\{(.+)\}", value)
    assert found
    assert stat.S_IMODE(Path(found[1]).stat().st_mode) == 0o600
    return Path(found[1]).read_text()


def answers(url: str) -> bool:
    """Whether a server answers."""
    try:
        return bool(read(url))
    except OSError:
        return False


def test_a_port_in_use_is_named_by_its_key(env: dict[str, str], folder: Path) -> None:
    for name in ("prometheus", "alertmanager"):
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = str(taken.getsockname()[1])
            ended = run("stack", env={**env, f"DECAHERTZ_STACK_{name.upper()}_PORT": port})
        assert ended.returncode == 2, ended.stderr
        assert ended.stderr.startswith(f"decahertz: stack.{name}_port: {port} on 127.0.0.1 is in use")
        assert len(ended.stderr.splitlines()) == 1
    assert not (folder / "postgres").exists()


def test_rules_of_the_user_that_are_invalid_stop_the_start_with_the_file(
    env: dict[str, str], folder: Path
) -> None:
    require("promtool")
    own = folder / "stack" / "prometheus" / "local" / "own.rules.yml"
    own.parent.mkdir(parents=True)
    own.write_text("groups: [{name: x, rules: [{record: y, expr: 'sum('}]}]")
    ended = run("stack", env=env)
    assert ended.returncode == 2
    assert ended.stderr.startswith("decahertz: Prometheus refuses its configuration: ")
    assert "own.rules.yml" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not (folder / "postgres").exists()


def test_a_missing_program_is_named_with_the_command_that_installs_it(env: dict[str, str]) -> None:
    ended = run("stack", env={**env, "PATH": str(Path(shutil.which("true") or "").parent / "nowhere")})
    assert ended.returncode == 2
    assert ended.stderr == (
        "decahertz: prometheus is not installed: run `apt-get install prometheus prometheus-alertmanager`,"
        " or set stack.prometheus_program to the program\n"
    )
    ended = run("stack", "--stack-prometheus-program", "/nowhere/prometheus", env=env)
    assert ended.returncode == 2
    assert ended.stderr.startswith("decahertz: stack.prometheus_program: /nowhere/prometheus is not found")
