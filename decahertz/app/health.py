"""``decahertz health``: asks a running recorder for its health, for people and container health checks."""

from __future__ import annotations

import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection

import msgspec
from msgspec import Struct

from decahertz.addresses import reachable_address, reachable_host
from decahertz.app.settings import Settings, load
from decahertz.health import ComponentStatus, Health
from decahertz.settings import SettingsError

_TIMEOUT_SECONDS = 5.0


class _Report(Struct):
    """The part of the answer of ``/api/v1/health`` that is shown; importing the API would take a second."""

    health: Health
    components: list[ComponentStatus]


def main() -> None:
    """Run the command without options; ends the process. Container health checks run it every few seconds."""
    try:
        sys.exit(run_health(load()))
    except SettingsError as error:
        sys.stderr.write(f"decahertz: {error}\n")
        sys.exit(2)


def run_health(settings: Settings) -> int:
    """Print one line per component; return 0 if none has failed, else 1.

    A lost database is a limitation, not a failure: the recorder goes on and fills its spool.
    """
    host, port = reachable_host(settings.api.host), settings.api.port
    try:
        report = _report(_connection(host, port, secure=settings.api.certificate() is not None))
    except (OSError, HTTPException, msgspec.MsgspecError) as error:
        sys.stderr.write(f"decahertz: no recorder answers on {reachable_address(host, port)}: {error}\n")
        return 1
    for component in report.components:
        detail = f": {component.detail}" if component.detail else ""
        sys.stdout.write(f"{component.health:<9} {component.name}{detail}\n")
    return 1 if report.health is Health.FAILED else 0


def _connection(host: str, port: int, *, secure: bool) -> HTTPConnection:
    if not secure:
        return HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    # Question and answer hold no secret, and the certificate need not name the address of this machine.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)


def _report(connection: HTTPConnection) -> _Report:
    try:
        connection.request("GET", "/api/v1/health", headers={"Accept": "application/json"})
        return msgspec.json.decode(connection.getresponse().read(), type=_Report)
    finally:
        connection.close()
