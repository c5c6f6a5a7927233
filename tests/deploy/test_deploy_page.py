"""docs/deploy.md: commands that change a machine work on a folder in its place; its files are right."""

from __future__ import annotations

import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.routes.table import ROUTES
from collectors.host.plugins import load_feeds
from decahertz.app.settings import load
from decahertz.clock import SystemClock
from tests.docs.commands import ELSEWHERE, ROOT, Block, blocks
from tests.pipeline.running import run

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PAGE = "docs/deploy.md"
with_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd's programs, not a running systemd"
)
UNIT = Path("etc/systemd/system/decahertz.service")


def commands(start: str) -> list[str]:
    """The commands of all pages that begin with ``start``, or end with it after a ``&&``."""
    parts = [part.strip() for b in blocks("sh") for command in b.commands() for part in command.split("&&")]
    return [part for part in parts if part.startswith(start)]


def block_of(language: str, word: str) -> Block:
    """The block of the page that holds a word."""
    [found] = [block for block in blocks(language) if block.page == PAGE and word in block.text]
    return found


def installed(root: Path) -> None:
    """Carries out the page's ``sudo install`` below ``root``, and makes what the other commands make."""
    (root / "etc/decahertz").mkdir(parents=True)  # ConfigurationDirectory=
    (root / "etc/nginx/conf.d").mkdir(parents=True)  # of the package nginx
    for command in commands("sudo install"):
        *options, source, target = shlex.split(command)[1:]
        file = ROOT / source if "/" in source else root / source
        if "/" not in source:
            file.write_text("a secret")  # the reader's own
        subprocess.run([*options, str(file), f"{root}{target}"], check=True, timeout=10)
    program = root / "opt/decahertz/.venv/bin/decahertz"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    targets = root / "usr/lib/systemd/system"
    targets.mkdir(parents=True)
    for unit in Path("/lib/systemd/system").glob("*.target"):
        shutil.copy(unit, targets)


@with_systemd
def test_the_units_that_the_page_installs_are_valid(tmp_path: Path) -> None:
    installed(tmp_path)
    command = ["systemd-analyze", "verify", f"--root={tmp_path}", "decahertz.service"]
    dropins = tmp_path / f"{UNIT}.d"
    assert sorted(file.name for file in dropins.iterdir()) == ["own-database.conf", "stack.conf"]
    for remaining in (2, 1, 0):
        checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
        if remaining:
            next(dropins.iterdir()).unlink()
    assert stat.S_IMODE((tmp_path / "etc/decahertz/database_password").stat().st_mode) == 0o600


@with_systemd
def test_the_exposure_of_the_service_is_what_the_page_says() -> None:
    rated = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=yes",
            "--no-pager",
            str(ROOT / "deploy/systemd/decahertz.service"),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    found = re.search(r"exposure level for decahertz.service: ([\d.]+)", rated.stdout)
    assert found
    assert float(found[1]) < 2
    assert "exposure below 2 of 10" in " ".join((ROOT / PAGE).read_text().split())


@with_systemd
def test_the_user_of_the_service_is_created(tmp_path: Path) -> None:
    installed(tmp_path)
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}"], check=True, capture_output=True, timeout=20)
    user = re.search("^User=(.+)$", (tmp_path / UNIT).read_text(), re.MULTILINE)
    assert user
    assert f"\n{user[1]}:" in f"\n{(tmp_path / 'etc/passwd').read_text()}"


@pytest.mark.parametrize("command", commands("docker compose"))
def test_a_command_for_containers_names_services_that_exist(command: str, tmp_path: Path) -> None:
    _, _, verb, *rest = shlex.split(command.partition(" > ")[0])
    assert verb in {"up", "ps", "logs", "exec", "build", "restart", "down"}
    words = [word for word in rest if not word.startswith("-")]
    if verb in {"logs", "exec", "restart"}:
        assert words[0] in COMPOSE["services"]
    if words[1:2] == ["decahertz"]:
        environment = {"PATH": "/bin", "DECAHERTZ_DATA_DIR": str(tmp_path)}
        assert run(*words[2:], "--help", env=environment).returncode == 0


@pytest.mark.parametrize("block", [b for b in blocks("ini") if b.page == PAGE], ids=str)
def test_the_settings_of_the_page_exist(block: Block, tmp_path: Path) -> None:
    (tmp_path / "decahertz.toml").touch()
    variables = dict(line.split("=", 1) for line in block.commands())
    known = (ROOT / ".env.example").read_text()
    for name in variables:
        assert name.startswith("DECAHERTZ_") or f"\n{name}=" in known, name
    settings = load(file=tmp_path / "decahertz.toml", environ=variables)
    loaded = load_feeds(settings.feeds.enabled, settings.sources, SystemClock())
    assert (len(loaded.plugins), loaded.failures) == (len(settings.feeds.enabled), ())


def test_the_manifest_for_kubernetes_is_valid_and_probes_what_the_api_has(tmp_path: Path) -> None:
    workload, service = yaml.safe_load_all(block_of("yaml", "StatefulSet").text)
    [container] = workload["spec"]["template"]["spec"]["containers"]
    paths = {route.path for route in ROUTES}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in paths
        assert asked["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {port["name"]: port["port"] for port in service["spec"]["ports"]}
    variables = {item["name"]: item["value"] for item in container["env"]}
    (tmp_path / "password").write_text("secret")
    variables["DECAHERTZ_DATABASE_PASSWORD_FILE"] = str(tmp_path / "password")
    (tmp_path / "decahertz.toml").touch()
    settings = load(file=tmp_path / "decahertz.toml", environ=variables)
    assert not settings.api.requires_keys()
    assert (settings.api.port, settings.exporter.port) == (ports["api"], ports["metrics"])
    assert settings.api.host_names == (service["metadata"]["name"],)
    volumes = {volume["name"] for volume in workload["spec"]["template"]["spec"]["volumes"]}
    claims = {claim["metadata"]["name"] for claim in workload["spec"]["volumeClaimTemplates"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes | claims


def test_every_other_command_for_another_machine_is_known() -> None:
    others = [
        c for start in ELSEWHERE for c in commands(start) if not c.startswith(("docker", "sudo install"))
    ]
    units = {"decahertz", "nginx", "prometheus", "prometheus-alertmanager", "daemon-reload"}
    for command in others:
        words = shlex.split(command.removeprefix("sudo "))
        if words[0] == "systemctl":
            assert words[-1] in units, command
        elif words[0].startswith("/opt/decahertz/"):
            assert (ROOT / words[0].removeprefix("/opt/decahertz/")).exists(), command
        else:
            assert words[0] in {"apt-get", "git", "journalctl", "nginx", "systemd-sysusers"}, command
