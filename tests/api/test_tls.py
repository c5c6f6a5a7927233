"""TLS of the API: what is served, and what happens when the files change."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
import websockets
from aiohttp import ClientConnectorCertificateError, ClientError, ClientSession, TCPConnector
from prometheus_client import CollectorRegistry

from api.security.certificate import CertificateFiles, checked_expiry
from api.security.tls import WARN_NS, ServerTls
from api.settings import ApiSettings
from decahertz.clock import NS_PER_SECOND, SystemClock, format_time
from decahertz.health import Health
from decahertz.settings import SettingsError
from tests.api.helpers import Stack, wait_for
from tests.certificates import make_certificate

_DAY_NS = 24 * 3600 * NS_PER_SECOND


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return make_certificate(tmp_path, "127.0.0.1", "localhost")


@pytest_asyncio.fixture
async def secure(files: CertificateFiles) -> AsyncIterator[Stack]:
    """An API with TLS, without a database."""
    settings = ApiSettings(port=0, tls_certificate=files.certificate, tls_key=files.key)
    async with Stack(settings=settings).running() as stack:
        yield stack


def trusting(file: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(file))


async def certificate_of(stack: Stack) -> bytes:
    """The certificate that a new connection gets."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", stack.api.port, ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert isinstance(found, bytes)
    return found


async def pong(socket: websockets.ClientConnection) -> bool:
    await socket.send('{"type":"ping"}')
    return '"pong"' in str(await socket.recv())


async def test_rest_and_websocket_are_served_with_tls_1_2_or_newer_and_nothing_else(
    secure: Stack, files: CertificateFiles
) -> None:
    assert secure.api.url == f"https://127.0.0.1:{secure.api.port}"
    trusted = trusting(files.certificate)
    async with ClientSession(secure.api.url, connector=TCPConnector(ssl=trusted)) as session:
        async with session.get("/api/v1/ping") as response:
            assert response.status == 200
        async with session.get("/page/app.js") as response:
            assert (await response.text()).startswith("// The page")
    async with websockets.connect(secure.live_url, ssl=trusted, proxy=None) as socket:
        assert '"connected"' in str(await socket.recv())
        assert await pong(socket)
    async with ClientSession(secure.api.url) as session:
        with pytest.raises(ClientConnectorCertificateError):
            await session.get("/api/v1/ping")
        with pytest.raises(ClientError):
            await session.get(f"http://127.0.0.1:{secure.api.port}/api/v1/ping")
    old = trusting(files.certificate)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", secure.api.port, ssl=old)


async def test_a_changed_certificate_is_loaded_and_a_broken_one_leaves_the_old_one(
    secure: Stack, files: CertificateFiles, tmp_path: Path
) -> None:
    assert secure.tls is not None
    first = await certificate_of(secure)
    other = make_certificate(tmp_path, name="other")
    async with websockets.connect(secure.live_url, ssl=trusting(files.certificate), proxy=None) as socket:
        assert '"connected"' in str(await socket.recv())
        with structlog.testing.capture_logs() as logs:
            await asyncio.to_thread(shutil.copy, other.certificate, files.certificate)  # without its key
            await wait_for(lambda: secure.tls and secure.tls.status().detail, "the pair is refused")
            await asyncio.to_thread(files.certificate.write_text, "-----BEGIN CERTIFICATE-----\nAA")
            await wait_for(
                lambda: secure.tls and "no certificate" in secure.tls.status().detail, "it is refused too"
            )
            assert await certificate_of(secure) == first
            assert secure.tls.status().health is Health.DEGRADED
            await asyncio.to_thread(shutil.copy, other.certificate, files.certificate)
            await asyncio.to_thread(shutil.copy, other.key, files.key)
            await wait_for(lambda: secure.tls and not secure.tls.status().detail, "the new pair is loaded")
        assert [line["event"] for line in logs] == [
            "certificate_reload_failed",
            "certificate_reload_recovered",
            "certificate_loaded",
        ]
        second = await certificate_of(secure)
        assert second != first
        assert ssl.DER_cert_to_PEM_cert(second).strip() == other.certificate.read_text().strip()
        assert await pong(socket)


@pytest.mark.parametrize("days", [1, 13, 15, 4000, 20_000])
def test_the_expiry_is_that_of_the_certificate(tmp_path: Path, days: int) -> None:
    before_ns = SystemClock().time_ns() - NS_PER_SECOND
    expires_ns = checked_expiry(make_certificate(tmp_path, days=days), before_ns)
    assert before_ns <= expires_ns - days * _DAY_NS <= SystemClock().time_ns()


class Later(SystemClock):
    """A clock that is some days ahead."""

    def __init__(self, days: int) -> None:
        self._ahead_ns = days * _DAY_NS

    def time_ns(self) -> int:
        return super().time_ns() + self._ahead_ns


@pytest.mark.parametrize(
    ("days", "event", "health"),
    [(0, None, Health.OK), (20, "certificate_expiry_neared", Health.OK),
     (40, "certificate_expired", Health.DEGRADED)],
)  # fmt: skip
async def test_an_expiry_is_exported_and_logged_in_time(
    files: CertificateFiles, days: int, event: str | None, health: Health
) -> None:
    registry = CollectorRegistry()
    tls = ServerTls(files, Later(days), registry)
    with structlog.testing.capture_logs() as logs:
        await tls.start()
        await tls.stop()
    assert [line["event"] for line in logs] == ([event] if event else [])
    assert tls.status().health is health
    exported = registry.get_sample_value("decahertz_api_certificate_expiry_timestamp_seconds")
    expires_ns = await asyncio.to_thread(checked_expiry, files, 0)
    assert exported == expires_ns / NS_PER_SECOND
    assert WARN_NS == 14 * _DAY_NS


def test_files_that_no_server_can_use_are_refused_by_name(files: CertificateFiles, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, name="other")
    locked, text, missing = tmp_path / "locked.key", tmp_path / "text", tmp_path / "missing"
    command = ["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", str(files.key), "-out"]
    subprocess.run([*command, str(locked)], check=True, capture_output=True, timeout=30)
    text.write_text("ä")
    certificate = files.certificate
    for broken, setting, reason in (
        (CertificateFiles(missing, files.key), "api.tls_certificate", "cannot be read: No such file"),
        (CertificateFiles(text, files.key), "api.tls_certificate", "is not a PEM file"),
        (CertificateFiles(files.key, files.key), "api.tls_certificate", "has no certificate in PEM"),
        (CertificateFiles(certificate, missing), "api.tls_key", "cannot be read: No such file"),
        (CertificateFiles(certificate, certificate), "api.tls_key", "not a private key in PEM"),
        (CertificateFiles(certificate, other.key), "api.tls_key", "is not the key of"),
        (CertificateFiles(certificate, locked), "api.tls_key", "password"),
    ):
        with pytest.raises(SettingsError) as refusal:
            checked_expiry(broken, 0)
        assert refusal.value.key == setting
        assert reason in str(refusal.value)
    with pytest.raises(SettingsError, match=f"expired at {format_time(checked_expiry(files, 0))}"):
        checked_expiry(files, SystemClock().time_ns() + 31 * _DAY_NS)


def test_a_certificate_without_a_key_is_refused_and_the_reverse() -> None:
    with pytest.raises(SettingsError, match=r"api\.tls_key: is empty"):
        ApiSettings(tls_certificate=Path("a")).certificate()
    with pytest.raises(SettingsError, match=r"api\.tls_certificate: is empty"):
        ApiSettings(tls_key=Path("a")).certificate()
