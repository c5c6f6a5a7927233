"""The client over TLS, against a real API: whom it trusts, and what it says about those it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.security.certificate import CertificateFiles
from api.settings import ApiSettings
from decahertz_client import Client, NoAnswerError, Reader, State
from tests.api.helpers import Stack
from tests.certificates import make_certificate


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return make_certificate(tmp_path)


@pytest_asyncio.fixture
async def secure(files: CertificateFiles) -> AsyncIterator[Stack]:
    settings = ApiSettings(port=0, tls_certificate=files.certificate, tls_key=files.key)
    async with Stack(settings=settings).running() as stack:
        yield stack


def emit_and_read(url: str, ca_file: Path | None) -> list[str]:
    """Emits an event and reads in both ways, synchronously; the types of the live messages."""
    with (
        Reader(url, ca_file=ca_file) as reader,
        reader.live("metrics:**") as live,
        Client(url, "test", ca_file=ca_file) as client,
    ):
        assert reader.ping()["time_ns"] > 0
        client.quote(venue="SIM", instrument="A", bid=1.0, ask=2.0)
        assert client.flush(10)
        return [type(next(iter(live))).__name__]


async def test_events_lists_and_live_data_go_over_tls(secure: Stack, files: CertificateFiles) -> None:
    url, certificate = secure.api.url, files.certificate
    secure.publish_cycle(1)
    assert await asyncio.to_thread(emit_and_read, url, certificate) == ["State"]
    websocket = url.replace("https", "wss")
    assert await asyncio.to_thread(emit_and_read, websocket, certificate) == ["State"]
    with Reader(url, ca_file=certificate) as reader:
        async for message in reader.live_async("metrics:**"):
            assert isinstance(message, State)
            assert message.topic == "metrics:probe:SIM:A"
            break


async def test_the_file_with_trusted_certificates_may_come_from_the_environment(
    secure: Stack, files: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DECAHERTZ_CA_FILE", str(files.certificate))
    with Reader(secure.api.url) as reader:
        assert (await asyncio.to_thread(reader.ping))["time_ns"] > 0


async def test_a_certificate_that_is_not_trusted_is_refused_with_what_to_do(
    secure: Stack, tmp_path: Path
) -> None:
    def refused(url: str, ca_file: Path | None, expected: str) -> None:
        with Reader(url, ca_file=ca_file) as reader:
            with pytest.raises(NoAnswerError, match=expected):
                reader.ping()
            with pytest.raises(NoAnswerError, match=expected), reader.live("fills") as live:
                next(live)
        with Client(url, "test", ca_file=ca_file) as client:
            client.log(component="a", level="info", message="b")
            client.flush(1)
            stats = client.stats()
            client.close(0)
        assert not stats.acknowledged
        assert expected in (stats.last_error or "")

    other = make_certificate(tmp_path, name="other")
    url = secure.api.url
    advice = "is not trusted: self-signed certificate; name a file with the server's certificate"
    await asyncio.to_thread(refused, url, None, advice)
    await asyncio.to_thread(refused, url, other.certificate, advice)
    wrong_name = url.replace("127.0.0.1", "localhost")
    mismatch = "Hostname mismatch, certificate is not valid for 'localhost'"
    await asyncio.to_thread(refused, wrong_name, secure.settings.tls_certificate, mismatch)
    async with Stack().running() as plain:
        no_tls = plain.api.url.replace("http", "https")
        await asyncio.to_thread(refused, no_tls, None, "does not speak TLS: use http://")


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nnonsense"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    expected = "no certificate in PEM" if content is not None else "No such file or directory"
    with pytest.raises(ValueError, match=rf"ca_file: .*ca\.pem cannot be used: {expected}"):
        Reader("https://127.0.0.1:1", ca_file=file)
    with pytest.raises(ValueError, match=rf"ca_file: .*ca\.pem cannot be used: {expected}"):
        Client("https://127.0.0.1:1", ca_file=file)
