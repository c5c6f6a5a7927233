"""docs/providers.md, followed to the letter: the provider it makes is installed and answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.pipeline.running import ROOT, command, read, running

pytestmark = pytest.mark.timeout(180)
TOKEN = "swordfish"  # noqa: S105 - of a server that ends with the test


def code_of(name: str, language: str) -> str:
    """The file of this name, as the guide shows it."""
    guide = (ROOT / "docs" / "providers.md").read_text()
    block = re.search(rf"^`{re.escape(name)}`:\n\n```{language}\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    assert block, name
    return block[1]


class Acme(BaseHTTPRequestHandler):
    """Acme's price API, on this machine."""

    def do_GET(self) -> None:
        is_known = self.headers["Authorization"] == f"Bearer {TOKEN}" and self.path == "/v1/price?symbol=IBM"
        body = b'{"last": 250.10, "currency": "USD", "time_ms": 1767225600123}' if is_known else b"{}"
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@contextmanager
def acme() -> Iterator[str]:
    """The URL of Acme's API."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Acme) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_guides_provider_has_at_most_forty_lines() -> None:
    assert sum(1 for line in code_of("acme.py", "python").splitlines() if line.strip()) <= 40


def test_it_is_installed_and_answers_and_its_token_is_shown_nowhere(
    env: dict[str, str], data_dir: Path, tmp_path: Path
) -> None:
    source, target, secret = tmp_path / "acme", tmp_path / "installed", tmp_path / "token"
    source.mkdir()
    for name, language in (("acme.py", "python"), ("pyproject.toml", "toml")):
        (source / name).write_text(code_of(name, language))
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([sys.executable, *install, str(target), str(source)], check=True, timeout=110)
    secret.write_text(f"{TOKEN}\n")
    with acme() as url:
        env = {
            **env,
            "PYTHONPATH": os.pathsep.join([str(target), env.get("PYTHONPATH", "")]),
            "DECAHERTZ_PROVIDERS_ENABLED": "recorder,acme",
            "DECAHERTZ_PROVIDERS_ACME_URL": url,
            "DECAHERTZ_PROVIDERS_ACME_TOKEN_FILE": str(secret),
        }
        checked = subprocess.run(command("check"), env=env, capture_output=True, text=True, check=False)
        assert "ok     provider acme" in checked.stdout, checked.stdout
        with running("--feeds-enabled", "synthetic", env=env, log=data_dir / "log", is_forked=False) as one:
            data = one.get("/api/v1/data/acme/IBM")
            assert (data["price"], data["currency"], data["quality"]) == ("250.10", "USD", "good")
            assert data["time_ns"] == 1767225600123000000
            status = one.get("/api/v1/providers/acme")
            assert (status["calls"], status["rate"]["requests_per_second"]) == ({"ok": 1}, 5.0)
            exposition = read(one.metrics).decode()
            recorder = one.get("/api/v1/health")["recorder"]
            labels = f'{{recorder="{recorder}",found="miss",provider="acme"}}'
            assert f"decahertz_provider_answers_total{labels} 1" in exposition, exposition[-2000:]
        log = (data_dir / "log").read_text()
    for shown in (checked.stdout, checked.stderr, str(status), exposition, log):
        assert TOKEN not in shown
