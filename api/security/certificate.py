"""Reads the certificate and the private key of a TLS server from their files."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from msgspec import Struct

from decahertz.clock import TimeFormatError, format_time, parse_time
from decahertz.settings import SettingsError

_CERTIFICATE_KEY: Final = "api.tls_certificate"
_PRIVATE_KEY: Final = "api.tls_key"
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18
_VALIDITY: Final = 3
"""Place of the validity among the fields of a certificate, after the version: RFC 5280, section 4.1."""


class CertificateFiles(Struct, frozen=True):
    """A certificate with the chain that clients need, and its private key, both in PEM."""

    certificate: Path
    key: Path

    def load(self, context: ssl.SSLContext) -> int:
        """Loads both into ``context``; returns when the certificate expires, in nanoseconds UTC. Blocks.

        Raises :class:`~decahertz.settings.SettingsError`; the context is then not usable if it was empty.
        """
        expires_ns = _expires_ns(self.certificate)
        _read(_PRIVATE_KEY, self.key)
        try:
            context.load_cert_chain(self.certificate, self.key, password=_refuse_password)
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", str(error)) or "it is not a private key in PEM"
            raise SettingsError(
                _PRIVATE_KEY, f"{self.key} is not the key of {self.certificate}: {reason}"
            ) from error
        return expires_ns

    def signature(self) -> tuple[object, ...]:
        """Changes when a file is written or replaced. Blocks."""
        found: list[object] = []
        for file in (self.certificate, self.key):
            try:
                status = file.stat()
                found += [status.st_ino, status.st_size, status.st_mtime_ns]
            except OSError as error:
                found.append(error.errno)
        return tuple(found)


def server_context() -> ssl.SSLContext:
    """Makes the context of a server that speaks TLS 1.2 or newer, without a certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def checked_expiry(files: CertificateFiles, now_ns: int) -> int:
    """Returns when the certificate expires. Blocks.

    Raises :class:`~decahertz.settings.SettingsError` for files that no server can use, and for a certificate
    that has expired.
    """
    expires_ns = files.load(server_context())
    if expires_ns <= now_ns:
        raise SettingsError(
            _CERTIFICATE_KEY, f"{files.certificate} expired at {format_time(expires_ns)}: renew it"
        )
    return expires_ns


def _refuse_password() -> str:
    raise ValueError("a key with a password cannot be used")


def _read(setting: str, file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError as error:
        raise SettingsError(setting, f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(setting, f"{file} is not a PEM file") from error


def _expires_ns(file: Path) -> int:
    """The end of the validity of the first certificate in a file."""
    text = _read(_CERTIFICATE_KEY, file)
    try:
        start = text.index(ssl.PEM_HEADER)
        end = text.index(ssl.PEM_FOOTER, start) + len(ssl.PEM_FOOTER)
        [(_, certificate)] = _fields(ssl.PEM_cert_to_DER_cert(text[start:end]))
        fields = _fields(_fields(certificate)[0][1])
        _, validity = fields[_VALIDITY + (fields[0][0] == _VERSION)]
        return _time_ns(*_fields(validity)[1])
    except (ValueError, IndexError, TimeFormatError) as error:
        raise SettingsError(_CERTIFICATE_KEY, f"{file} has no certificate in PEM") from error


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """Tags and contents of the DER values that follow each other in ``data``."""
    found = []
    while data:
        length, start = data[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        if len(data) < start + length:
            raise ValueError("a value is cut off")
        found.append((data[0], data[start : start + length]))
        data = data[start + length :]
    return found


def _time_ns(tag: int, content: bytes) -> int:
    """A time of DER: ``YYMMDDHHMMSSZ``, or the same with a year of four digits."""
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("20" if text[:2] < "50" else "19") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    year, month, day, hour, minute, second = text[:4], *(text[i : i + 2] for i in range(4, 14, 2))
    return parse_time(f"{year}-{month}-{day}T{hour}:{minute}:{second}Z")
