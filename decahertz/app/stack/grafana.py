"""Grafana in the stack: provisioned with the shipped data sources and dashboards."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import psycopg.conninfo
import structlog

from decahertz.app.companions import Companion
from decahertz.app.database import database_url, read_url
from decahertz.app.settings import Settings
from decahertz.app.stack.configuration import SHIPPED, generated_password
from storage.database import Database, DatabaseError
from storage.maintenance.grants import grant_read

_MAX_ROLE_BYTES = 63
_PACKAGE_HOME = Path("/usr/share/grafana")


class Grafana:
    """Grafana on ``host:port``; its files are in ``folder``."""

    def __init__(self, program: Path, folder: Path, address: str, settings: Settings) -> None:
        self._program = program
        self._folder = folder
        self._host, _, self._port = address.rpartition(":")
        self._settings = settings
        # One for each recorder: several may share a database, each with a password of its own.
        role = f"grafana_{settings.recorder}".encode()[:_MAX_ROLE_BYTES]
        self._role = role.decode(errors="ignore")

    @property
    def admin_password_file(self) -> Path:
        """File with the password of Grafana's user ``admin``."""
        return self._folder / "grafana-admin-password"

    @property
    def _database_password_file(self) -> Path:
        return self._folder / "grafana-database-password"

    async def companion(self, prometheus_url: str, environment: Mapping[str, str]) -> Companion:
        """Lets Grafana read the database, and returns the server to run."""
        await asyncio.to_thread(self._prepare)
        home = next(
            (p for p in (self._program.resolve().parents[1], _PACKAGE_HOME) if (p / "conf").is_dir()), None
        )
        command = [] if self._program.name == "grafana-server" else ["server"]
        return Companion(
            argv=[str(self._program), *command, *([f"--homepath={home}"] if home else [])],
            environment={**environment, **self._environment(prometheus_url)},
            is_server=True,
            log=self._folder / "grafana.log",
        )

    def _prepare(self) -> None:
        generated_password(self.admin_password_file)
        password = generated_password(self._database_password_file)
        database = Database(database_url(self._settings), self._settings.storage)
        try:
            grant_read(database, self._role, password)
        except DatabaseError as error:  # dashboards of Prometheus work without
            structlog.get_logger(part="stack").warning("grafana_role_refused", reason=str(error))

    def _environment(self, prometheus_url: str) -> dict[str, str]:
        database = psycopg.conninfo.conninfo_to_dict(read_url(self._settings))
        host = str(database.get("host") or "localhost")
        is_socket = host.startswith("/")  # a folder
        data = self._folder / "data" / "grafana"
        return {
            "GF_PATHS_DATA": str(data),
            "GF_PATHS_LOGS": str(data / "log"),
            "GF_PATHS_PLUGINS": str(data / "plugins"),
            "GF_PATHS_PROVISIONING": str(SHIPPED / "grafana" / "provisioning"),
            "GF_SERVER_HTTP_ADDR": self._host,
            "GF_SERVER_HTTP_PORT": self._port,
            "GF_SECURITY_ADMIN_USER": "admin",
            "GF_SECURITY_ADMIN_PASSWORD": f"$__file{{{self.admin_password_file}}}",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_USERS_ALLOW_SIGN_UP": "false",
            "GF_PLUGINS_PREINSTALL_DISABLED": "true",  # it would download plugins that no dashboard uses
            "GF_LOG_MODE": "console",
            "GF_LOG_LEVEL": "warn",
            "DECAHERTZ_PROMETHEUS_URL": prometheus_url,
            "DECAHERTZ_GRAFANA_DATABASE_HOST": host
            if is_socket
            else f"{host}:{database.get('port') or 5432}",
            "DECAHERTZ_GRAFANA_DATABASE": str(database.get("dbname") or ""),
            "DECAHERTZ_GRAFANA_DATABASE_USER": self._role,
            "DECAHERTZ_GRAFANA_DATABASE_PASSWORD": f"$__file{{{self._database_password_file}}}",
            "DECAHERTZ_GRAFANA_DASHBOARDS": str(SHIPPED / "grafana" / "dashboards"),
        }
