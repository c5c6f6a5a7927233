"""The compose file: closed to other machines, pinned, with few rights, and in step with the program."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.security.keys import parse_key
from decahertz.app.database import database_url
from decahertz.app.settings import load
from tests.pipeline.running import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
YOURS = {"smtp_password", "slack_url"}
"""Secrets that are not generated: empty until the user fills them in."""
DEFAULTS = dict(
    line.split("=", 1)
    for line in (ROOT / ".env.example").read_text().splitlines()
    if line and not line.startswith("#")
)


def expanded(text: str, environment: dict[str, str]) -> str:
    """``${NAME}`` and ``${NAME:-default}`` replaced as compose does."""
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda found: environment.get(found[1], found[2] or ""), text)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_the_fewest_rights_and_bounded_resources(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    assert {"mem_limit", "cpus"} <= service.keys()
    assert "privileged" not in service
    assert service.get("network_mode") is None
    assert "healthcheck" in service


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_and_ports_are_on_loopback(name: str) -> None:
    service = SERVICES[name]
    if service["image"] != "decahertz":  # built here
        assert re.search(r":v?\d+\.\d+\.\d+", service["image"]), service["image"]
    for port in service.get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", expanded(port, DEFAULTS)), port


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_mounts_exists(name: str, tmp_path: Path) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source, target, *_ = volume.split(":")
        if source.startswith("./"):
            assert (ROOT / source).exists(), volume
            assert volume.endswith(":ro"), volume
        else:
            assert source in COMPOSE["volumes"], volume
        assert target.startswith("/")
    for secret in SERVICES[name].get("secrets", ()):
        file = compose_env(tmp_path) / COMPOSE["secrets"][secret]["file"]
        assert len(file.read_text()) >= 32 or secret in YOURS


def compose_env(folder: Path) -> Path:
    """A copy of the project's folder, as far as ``scripts/compose-env`` needs it, after the script ran."""
    (folder / "scripts").mkdir(exist_ok=True)
    for name in ("scripts/compose-env", ".env.example"):
        shutil.copy(ROOT / name, folder / name)
    subprocess.run([folder / "scripts/compose-env"], check=True, capture_output=True, timeout=20)
    return folder


def test_secrets_are_generated_once_and_never_shared(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    folder, other = compose_env(tmp_path), compose_env(tmp_path / "other")
    secrets = {file.name: file.read_text() for file in (folder / "secrets").iterdir()}

    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700
    assert secrets.keys() == COMPOSE["secrets"].keys()
    assert {name for name, text in secrets.items() if not text} == YOURS
    others = {file.read_text() for file in (other / "secrets").iterdir()}
    assert len({*secrets.values(), *others} - {""}) == 10
    assert all(parse_key(secrets[name]) for name in ("alertmanager_key", "demo_key"))
    (folder / ".env").write_text("EDITED=1\n")
    compose_env(folder)
    assert {file.name: file.read_text() for file in (folder / "secrets").iterdir()} == secrets
    assert (folder / ".env").read_text() == "EDITED=1\n"
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".env", "secrets/"} <= set(ignored)


def test_the_recorder_starts_with_the_settings_of_the_stack(tmp_path: Path) -> None:
    password = compose_env(tmp_path) / "secrets" / "database_password"
    (tmp_path / "decahertz.toml").touch()
    environment = {**DEFAULTS, **SERVICES["decahertz"]["environment"]}
    environment["DECAHERTZ_DATABASE_PASSWORD_FILE"] = str(password)
    settings = load(file=tmp_path / "decahertz.toml", environ=environment)
    assert not settings.api.requires_keys()
    assert database_url(settings) == f"postgresql://decahertz:{password.read_text()}@database:5432/decahertz"
    assert settings.feeds.enabled == ("synthetic",)
    assert "decahertz" in settings.api.host_names
    assert settings.alerts.alertmanager_url == "http://alertmanager:9093"  # acknowledgements make silences
    assert "9093" in str(SERVICES["alertmanager"]["ports"])


def test_prometheus_finds_the_recorder_and_alertmanager_of_the_stack() -> None:
    [group] = yaml.safe_load((ROOT / "prometheus/targets.compose/decahertz.yml").read_text())
    assert group["targets"] == ["decahertz:9464"]
    [group] = yaml.safe_load((ROOT / "prometheus/targets.compose/alertmanager.yml").read_text())
    assert group["targets"] == ["alertmanager:9093"]
    assert "EXPOSE 8000 9464" in (ROOT / "Dockerfile").read_text()


def test_the_image_has_everything_that_the_wheel_is_built_from() -> None:
    copied = set(re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    sources = {word for line in copied for word in line.split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= sources
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources == kept
