"""``decahertz health`` tells a container's supervisor whether a component has failed."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import msgspec
import pytest

from api.settings import ApiSettings
from decahertz.app.health import run_health
from decahertz.app.settings import Settings
from decahertz.health import ComponentStatus, Health


class _Answer(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a recorder that answers with ``_Answer.body``."""
    with HTTPServer(("127.0.0.1", 0), _Answer) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("health", "code"), [(Health.OK, 0), (Health.DEGRADED, 0), (Health.FAILED, 1)])
def test_only_a_failure_is_unhealthy(
    port: int, capsys: pytest.CaptureFixture[str], health: Health, code: int
) -> None:
    part = ComponentStatus(name="storage", health=health, detail="7 rows waiting")
    _Answer.body = msgspec.json.encode(
        {"recorder": "desk", "health": health, "components": [part], "version": "1"}
    )
    assert run_health(Settings(api=ApiSettings(port=port))) == code
    assert capsys.readouterr().out == f"{health:<9} storage: 7 rows waiting\n"


def test_an_answer_of_another_program_is_unhealthy(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    _Answer.body = b"<html>"
    assert run_health(Settings(api=ApiSettings(port=port))) == 1
    assert f"127.0.0.1:{port}" in capsys.readouterr().err
