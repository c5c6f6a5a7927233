"""The servers of ``decahertz stack``: how they are started and where they listen."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from decahertz.addresses import check_port, free_port
from decahertz.app.companions import Companion
from decahertz.app.pipeline import StartError
from decahertz.app.stack.configuration import SHIPPED, write_alertmanager, write_prometheus
from decahertz.app.stack.programs import find_programs

if TYPE_CHECKING:
    from decahertz.app.pipeline import Pipeline
    from decahertz.app.settings import Settings

_HOST = "127.0.0.1"


class Stack:
    """Prometheus and Alertmanager."""

    def __init__(self, settings: Settings) -> None:
        """Find the programs and choose their ports; ``settings`` of the recorder follow from that.

        Raises :class:`~decahertz.app.pipeline.StartError` and :class:`~decahertz.settings.SettingsError`.
        """
        if not (SHIPPED / "prometheus.yml").exists():
            raise StartError("the files of the stack are not installed: run decahertz stack in a checkout")
        self._programs = find_programs(settings.stack)
        self._folder = settings.data_dir.absolute() / "stack"
        self._retention_days = settings.stack.prometheus_retention_days
        self._prometheus = f"{_HOST}:{_port('prometheus', settings.stack.prometheus_port)}"
        self._alertmanager = f"{_HOST}:{_port('alertmanager', settings.stack.alertmanager_port)}"
        alerts = msgspec.structs.replace(settings.alerts, alertmanager_url=f"http://{self._alertmanager}")
        self.settings = msgspec.structs.replace(settings, alerts=alerts)
        """Settings of the recorder in the stack."""

    async def companions(self, pipeline: Pipeline) -> list[Companion]:
        """Write the configuration for a started recorder, and return the servers to run."""
        await asyncio.to_thread(self._write, pipeline)
        # Without settings of the recorder, which may hold a password.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DECAHERTZ_")}
        return [
            Companion(
                argv=[str(program), *options],
                environment=environment,
                is_server=True,
                log=self._folder / f"{name}.log",
            )
            for name, program, options in (
                ("alertmanager", self._programs.alertmanager, self._alertmanager_options()),
                ("prometheus", self._programs.prometheus, self._prometheus_options()),
            )
        ]

    def addresses(self) -> list[tuple[str, str]]:
        """Names and addresses of the servers."""
        return [
            ("Prometheus", f"http://{self._prometheus}"),
            ("Alertmanager", f"http://{self._alertmanager}"),
        ]

    def _write(self, pipeline: Pipeline) -> None:
        exporter = pipeline.exporter_url.removeprefix("http://")
        write_prometheus(self._folder, {"decahertz": exporter, "alertmanager": self._alertmanager})
        write_alertmanager(self._folder / "alertmanager.yml", pipeline.api_url)

    def _prometheus_options(self) -> list[str]:
        return [
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._data('prometheus')}",
            f"--storage.tsdb.retention.time={self._retention_days}d",
            f"--web.listen-address={self._prometheus}",
            f"--web.cors.origin=http://{self._prometheus}",  # by default any web page may send queries
            "--log.level=warn",
        ]

    def _alertmanager_options(self) -> list[str]:
        return [
            f"--config.file={self._folder / 'alertmanager.yml'}",
            f"--storage.path={self._data('alertmanager')}",
            f"--web.listen-address={self._alertmanager}",
            "--cluster.listen-address=",  # a single one
            "--data.maintenance-interval=1m",  # how often silences are written to disk
            "--log.level=warn",
        ]

    def _data(self, name: str) -> Path:
        return self._folder / "data" / name


def _port(name: str, port: int) -> int:
    if port == 0:
        return free_port()
    check_port("stack", _HOST, port, name=f"{name}_port")
    return port
