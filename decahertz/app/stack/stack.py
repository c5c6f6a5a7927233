"""The servers of ``decahertz stack``: how they are started and where they listen."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from api.http.access import Scope
from decahertz.addresses import check_port, free_port
from decahertz.app.companions import Companion
from decahertz.app.stack.configuration import (
    SHIPPED,
    check_prometheus,
    write_alertmanager,
    write_prometheus,
    write_targets,
)
from decahertz.app.stack.grafana import Grafana
from decahertz.app.stack.programs import find_programs
from decahertz.app.start_error import StartError
from storage.files import make_private_folder

if TYPE_CHECKING:
    from decahertz.app.alertmanager import AlertmanagerSettings
    from decahertz.app.pipeline import Pipeline
    from decahertz.app.settings import Settings

_HOST = "127.0.0.1"
_NO_FILE = Path()


class Stack:
    """Prometheus and Alertmanager, and Grafana if there is one."""

    def __init__(self, settings: Settings) -> None:
        """Finds the programs, chooses their ports, and checks Prometheus's rules; blocking.

        Raises :class:`~decahertz.app.start_error.StartError` and :class:`~decahertz.settings.SettingsError`.
        """
        if not (SHIPPED / "prometheus.yml").exists():
            raise StartError("the files of the stack are not installed: run decahertz stack in a checkout")
        ports = settings.stack
        self._programs = find_programs(ports)
        self._prometheus = _address("prometheus_port", ports.prometheus_port)
        self._alertmanager = _address("alertmanager_port", ports.alertmanager_port)
        alerts = msgspec.structs.replace(settings.alerts, alertmanager_url=f"http://{self._alertmanager}")
        self.settings = msgspec.structs.replace(settings, alerts=alerts)
        """Settings of the recorder in the stack."""
        self._folder = settings.data_dir.absolute() / "stack"
        self._grafana = self._grafana_address = None
        if self._programs.grafana is not None:
            self._grafana_address = _address("grafana_port", ports.grafana_port)
            self._grafana = Grafana(
                self._programs.grafana, self._folder, self._grafana_address, self.settings
            )
        make_private_folder(self._folder)
        self._configuration = write_prometheus(self._folder)
        check_prometheus(self._configuration, self._programs.prometheus)

    async def companions(self, pipeline: Pipeline) -> list[Companion]:
        """Writes the configuration for a started recorder, and returns the servers to run."""
        # Without settings of the recorder, which may hold a password.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DECAHERTZ_")}
        exporter = pipeline.exporter_url.removeprefix("http://")
        targets = {"decahertz": exporter, "alertmanager": self._alertmanager}
        await asyncio.to_thread(write_targets, self._folder, targets)
        receivers = await self._receivers(pipeline)
        alertmanager = await asyncio.to_thread(write_alertmanager, self._folder, receivers, pipeline.api_url)
        companions = [
            Companion(
                argv=[str(program), *options],
                environment=environment,
                is_server=True,
                log=self._folder / f"{name}.log",
            )
            for name, program, options in (
                ("alertmanager", self._programs.alertmanager, self._alertmanager_options(alertmanager)),
                ("prometheus", self._programs.prometheus, self._prometheus_options()),
            )
        ]
        if self._grafana is not None:
            companions.append(await self._grafana.companion(f"http://{self._prometheus}", environment))
        return companions

    async def _receivers(self, pipeline: Pipeline) -> AlertmanagerSettings:
        """The receivers, with the key and the certificate that the recorder requires."""
        receivers = self.settings.alertmanager
        if receivers.recorder_key_file == _NO_FILE:
            file = await pipeline.key_file("alertmanager", Scope.INGEST)
            receivers = msgspec.structs.replace(receivers, recorder_key_file=file or _NO_FILE)
        if receivers.recorder_ca_file == _NO_FILE:
            file = pipeline.api_certificate
            receivers = msgspec.structs.replace(receivers, recorder_ca_file=file or _NO_FILE)
        return receivers

    def addresses(self) -> list[tuple[str, str]]:
        """Names and addresses of the servers."""
        grafana = "not installed: see https://grafana.com/grafana/download"
        if self._grafana is not None:
            password = self._grafana.admin_password_file
            grafana = f"http://{self._grafana_address} (user admin, password in {password})"
        return [
            ("Prometheus", f"http://{self._prometheus}"),
            ("Alertmanager", f"http://{self._alertmanager}"),
            ("Grafana", grafana),
        ]

    def _prometheus_options(self) -> list[str]:
        return [
            f"--config.file={self._configuration}",
            f"--storage.tsdb.path={self._data('prometheus')}",
            f"--storage.tsdb.retention.time={self.settings.stack.prometheus_retention_days}d",
            f"--web.listen-address={self._prometheus}",
            f"--web.cors.origin=http://{self._prometheus}",  # by default any web page may send queries
            "--rules.alert.resend-delay=30s",  # default: a minute until a lost alert is sent again
            "--log.level=warn",
        ]

    def _alertmanager_options(self, configuration: Path) -> list[str]:
        return [
            f"--config.file={configuration}",
            f"--storage.path={self._data('alertmanager')}",
            f"--web.listen-address={self._alertmanager}",
            "--cluster.listen-address=",  # a single one
            "--data.maintenance-interval=1m",  # how often silences are written to disk
            "--log.level=warn",
        ]

    def _data(self, name: str) -> Path:
        return self._folder / "data" / name


def _address(key: str, port: int) -> str:
    if port == 0:
        return f"{_HOST}:{free_port()}"
    check_port("stack", _HOST, port, name=key)
    return f"{_HOST}:{port}"
