"""Configuration files of the stack, written at each start from those that are shipped.

::

    DATA_DIR/stack/
        prometheus.yml              copy
        prometheus/                 links to the shipped rules
            targets/                addresses of the recorder and of Alertmanager
            local/                  link too, unless the user makes a folder here for rules of their own
        alertmanager.yml            receivers by the section [alertmanager]
        prometheus.log, …
        grafana-…-password          generated
        data/                       what the programs store
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
from pathlib import Path

import msgspec

from decahertz.app.alertmanager import AlertmanagerSettings, alertmanager_config
from decahertz.app.start_error import StartError

SHIPPED = Path(__file__).resolve().parents[3]
"""Folder of the shipped files: the checkout."""

_CHECK_SECONDS = 30.0


def write_prometheus(folder: Path) -> Path:
    """Writes ``prometheus.yml`` with links to the rules; returns its path."""
    linked = folder / "prometheus"
    linked.mkdir(parents=True, exist_ok=True)
    for link in linked.iterdir():
        if link.is_symlink():
            link.unlink()
    for entry in (SHIPPED / "prometheus").iterdir():
        link = linked / entry.name
        if entry.name != "targets" and not link.exists():
            link.symlink_to(entry)
    file = folder / "prometheus.yml"
    _replace(file, (SHIPPED / "prometheus.yml").read_bytes())
    return file


def check_prometheus(file: Path, program: Path) -> None:
    """Checks the configuration and all rules with the ``promtool`` of ``program``, if there is one.

    Raises :class:`~decahertz.app.start_error.StartError` with its first finding.
    """
    promtool = shutil.which(program.parent / "promtool") or shutil.which("promtool")
    if promtool is None:
        return
    command = [promtool, "check", "config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_CHECK_SECONDS)  # noqa: S603 - no shell
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines()]
        found = [line for line in lines if line and not line.startswith("FAILED")]
        raise StartError(f"Prometheus refuses its configuration: {(found or lines or ['no message'])[0]}")


def write_targets(folder: Path, targets: dict[str, str]) -> None:
    """Writes the addresses that Prometheus uses, by name."""
    (folder / "prometheus" / "targets").mkdir(exist_ok=True)
    for name, address in targets.items():
        content = msgspec.json.encode([{"targets": [address]}])  # which is YAML too
        _replace(folder / "prometheus" / "targets" / f"{name}.yml", content)


def write_alertmanager(folder: Path, settings: AlertmanagerSettings, api_url: str) -> Path:
    """Writes Alertmanager's configuration, which reports to the recorder's API; returns its path."""
    file = folder / "alertmanager.yml"
    _replace(file, alertmanager_config(settings, api_url).encode())
    return file


def generated_password(file: Path) -> str:
    """Returns the password in ``file``, which only this user can read; generated if there is none."""
    if not file.exists():
        fresh = file.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(24), encoding="ascii")
        fresh.replace(file)
    return file.read_text(encoding="ascii").strip()


def _replace(file: Path, content: bytes) -> None:
    """Replaces a file in one step: Prometheus may read it at any time."""
    fresh = file.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(file)
