"""Starts Prometheus next to a running recorder, and builds the environment of Grafana."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psycopg.conninfo
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = "grafana"
_START_SECONDS = 30.0


class StackError(Exception):
    """Raised if a program that Grafana reads from cannot be started."""


@contextmanager
def prometheus(folder: Path, metrics: str, scrape_interval: str) -> Iterator[str]:
    """A Prometheus with the shipped configuration, but for targets and intervals; its address.

    ``metrics`` is the address that it scrapes. Raises :class:`StackError`.
    """
    shutil.copytree(ROOT / "prometheus", folder / "prometheus", dirs_exist_ok=True)
    config = yaml.safe_load((ROOT / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] |= {
        "scrape_interval": scrape_interval,
        "evaluation_interval": scrape_interval,
        "scrape_timeout": scrape_interval,
    }
    targets = [{"targets": [urlsplit(metrics).netloc]}]
    (folder / "prometheus" / "targets" / "decahertz.yml").write_bytes(msgspec.json.encode(targets))
    (folder / "prometheus" / "targets" / "alertmanager.yml").write_text("[]", encoding="utf-8")
    with prometheus_of(folder, config, folder / "prometheus-data") as url:
        yield url


@contextmanager
def prometheus_of(folder: Path, config: Mapping[str, Any], data: Path) -> Iterator[str]:
    """A Prometheus with a configuration and a data folder; its address. Raises :class:`StackError`."""
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    log = folder / "prometheus.log"
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 - the program found by program()
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={data}",
                f"--web.listen-address={address}",
                "--log.level=warn",
            ],
            stdout=errors,
            stderr=errors,
        )
    try:
        _await(f"http://{address}/-/ready", process, log)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def program(name: str) -> str:
    """The path of a program of Debian's package ``prometheus``. Raises :class:`StackError`."""
    path = shutil.which(name)
    if path is None:
        raise StackError(f"there is no {name} on PATH (on Debian: apt-get install prometheus)")
    return path


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - a local address
                return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"prometheus did not start: {log.read_text()[-2000:]}") from error
            time.sleep(0.05)


def environment(prometheus_url: str, database_url: str, password: str) -> Mapping[str, str]:
    """The environment of Grafana for the database of a recorder, read as :data:`ROLE`."""
    parts = psycopg.conninfo.conninfo_to_dict(database_url)
    return {
        "DECAHERTZ_PROMETHEUS_URL": prometheus_url,
        "DECAHERTZ_GRAFANA_DATABASE_HOST": f"{parts.get('host', '127.0.0.1')}:{parts.get('port', 5432)}",
        "DECAHERTZ_GRAFANA_DATABASE": str(parts.get("dbname", "")),
        "DECAHERTZ_GRAFANA_DATABASE_USER": ROLE,
        "DECAHERTZ_GRAFANA_DATABASE_PASSWORD": password,
    }
