"""The shipped fragment for nginx, in a real nginx in front of a real API."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import (
    ClientConnectionError,
    ClientSession,
    TCPConnector,
    WSServerHandshakeError,
    encode_basic_auth,
)
from aiohttp.abc import AbstractResolver, ResolveResult

from api.settings import ApiSettings
from decahertz.addresses import free_port
from tests.api.helpers import Stack
from tests.pipeline.running import ROOT
from tests.servers import require

NAME = "decahertz.example.com"
PASSWORD = "lovelace"  # noqa: S105 - of a server that lives as long as the test
AUTH = {"Authorization": encode_basic_auth("ada", PASSWORD)}
MAIN = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/decahertz.conf;
}}
"""


def configured(folder: Path, port: int, api: str) -> Path:
    """A configuration around the fragment, with a certificate and a password made for the test."""
    certificate, key, users = folder / "decahertz.crt", folder / "decahertz.key", folder / "htpasswd"
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    make = [require("openssl"), *["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"], *names]
    make += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True, timeout=30)
    users.write_text(f"ada:{{PLAIN}}{PASSWORD}\n")
    text = (ROOT / "deploy" / "nginx" / "decahertz.conf").read_text()
    for shipped, used in (
        ("127.0.0.1:8000", api.removeprefix("http://")),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/decahertz.crt", str(certificate)),
        ("/etc/ssl/decahertz.key", str(key)),
        ("/etc/nginx/decahertz.htpasswd", str(users)),
    ):
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, used)
    (folder / "decahertz.conf").write_text(text)
    main = folder / "nginx.conf"
    main.write_text(MAIN.format(folder=folder))
    return main


@pytest_asyncio.fixture
async def nginx(folder: Path) -> AsyncIterator[str]:
    """The host and port of an nginx in front of an API that knows its name."""
    program, port = require("nginx"), free_port()
    async with Stack(settings=ApiSettings(port=0, host_names=(NAME,))).running() as stack:
        main = configured(folder, port, stack.api.url)
        command = [program, "-p", str(folder), "-c", str(main), "-e", str(folder / "error.log")]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False, timeout=20)  # noqa: ASYNC221
        assert tested.returncode == 0, tested.stderr
        assert "warn" not in tested.stderr
        process = subprocess.Popen(command)  # noqa: ASYNC220
        try:
            yield f"{NAME}:{port}"
        finally:
            process.terminate()
            process.wait(10)


class ThisMachine(AbstractResolver):
    """Every name is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        flags = socket.AI_NUMERICHOST
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=flags)
        ]

    async def close(self) -> None:
        pass


@pytest_asyncio.fixture
async def browser(folder: Path, nginx: str) -> AsyncIterator[ClientSession]:
    """A client that trusts the certificate and finds the name on this machine."""
    trusted = ssl.create_default_context(cafile=str(folder / "decahertz.crt"))
    connector = TCPConnector(ssl=trusted, resolver=ThisMachine())
    async with ClientSession(f"https://{nginx}", connector=connector) as session:
        async with asyncio.timeout(20):
            while not await accepts(session):  # noqa: ASYNC110 - from afar
                await asyncio.sleep(0.05)
        yield session


async def accepts(session: ClientSession) -> bool:
    """Whether nginx listens already."""
    try:
        async with session.get("/"):
            return True
    except ClientConnectionError:
        return False


async def test_nginx_lets_in_who_knows_the_password_and_passes_rest_and_websocket_on(
    browser: ClientSession, nginx: str
) -> None:
    async with browser.get("/api/v1/ping") as response:
        assert response.status == 401
    async with browser.get("/api/v1/ping", headers=AUTH) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("application/json")
    async with browser.ws_connect("/ws", headers={**AUTH, "Origin": f"https://{nginx}"}) as websocket:
        assert (await websocket.receive_json())["type"] == "connected"


async def test_pages_of_other_origins_and_other_names_stay_out(browser: ClientSession) -> None:
    with pytest.raises(WSServerHandshakeError) as refusal:
        await browser.ws_connect("/ws", headers={**AUTH, "Origin": "https://elsewhere.example"})
    assert refusal.value.status == 403
    async with browser.get("/api/v1/ping", headers={**AUTH, "Host": "rebound.example"}) as response:
        assert response.status == 421
