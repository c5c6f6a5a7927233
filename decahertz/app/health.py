"""``decahertz health``: asks a running recorder for its health, for people and container health checks."""

from __future__ import annotations

import re
import ssl
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection

import msgspec
from msgspec import Struct

from decahertz.addresses import reachable_address, reachable_host
from decahertz.app.settings import Settings, load
from decahertz.health import ComponentStatus, Health
from decahertz.settings import SettingsError

_TIMEOUT_SECONDS = 5.0
_RECORDER = re.compile(rb'\ndecahertz_\w+\{recorder="([^"\\]+)"')


class _Report(Struct):
    """The part of the answer of ``/api/v1/health`` that is shown; importing the API would take a second."""

    recorder: str
    health: Health
    components: list[ComponentStatus]


def main() -> None:
    """Runs the command without options; ends the process. Container health checks run it all the time."""
    try:
        sys.exit(run_health(load()))
    except SettingsError as error:
        sys.stderr.write(f"decahertz: {error}\n")
        sys.exit(2)


def run_health(settings: Settings) -> int:
    """Prints one line per component; returns 0 if none has failed, else 1.

    A lost database is a limitation, not a failure: the recorder goes on and fills its spool.
    """
    try:
        report = _report(settings)
    except (OSError, HTTPException, msgspec.MsgspecError) as error:
        address = reachable_address(settings.api.host, settings.api.port)
        sys.stderr.write(f"decahertz: no recorder answers on {address}: {error}\n")
        return 1
    for component in report.components:
        detail = f": {component.detail}" if component.detail else ""
        sys.stdout.write(f"{component.health:<9} {component.name}{detail}\n")
    return 1 if report.health is Health.FAILED else 0


def recorder_of_api(settings: Settings) -> str | None:
    """Name of the recorder that serves the API on the port of the settings; ``None``: none does."""
    try:
        return _report(settings).recorder
    except (OSError, HTTPException, msgspec.MsgspecError):
        return None


def recorder_of_exporter(settings: Settings) -> str | None:
    """Name of the recorder that exports metrics on the port of the settings; ``None``: none does."""
    host, port = reachable_host(settings.exporter.host), settings.exporter.port
    with closing(HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)) as connection:
        try:
            connection.request("GET", "/metrics")
            found = _RECORDER.search(connection.getresponse().read())
        except (OSError, HTTPException):
            return None
    return None if found is None else found[1].decode()


def _connection(settings: Settings) -> HTTPConnection:
    host, port = reachable_host(settings.api.host), settings.api.port
    if settings.api.certificate() is None:
        return HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    # Question and answer hold no secret, and the certificate need not name the address of this machine.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)


def _report(settings: Settings) -> _Report:
    with closing(_connection(settings)) as connection:
        connection.request("GET", "/api/v1/health", headers={"Accept": "application/json"})
        return msgspec.json.decode(connection.getresponse().read(), type=_Report)
