"""Where the process may listen, looked at before anything is started."""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import closing

from decahertz.app.settings import Settings
from decahertz.settings import SettingsError


class UnsafeAddressError(SettingsError):
    """Other machines could reach what has no protection of its own yet."""


class PortInUseError(SettingsError):
    """Something else listens on the port already."""


def check_addresses(settings: Settings) -> None:
    """See that both listeners can have their addresses.

    Raises :class:`UnsafeAddressError`, :class:`PortInUseError` or
    :class:`~decahertz.settings.SettingsError`. The exposition may be reached from elsewhere where its
    address says so: it is read only, and Prometheus often runs on another machine.
    """
    check_loopback("api.host", settings.api.host)
    check_port("api", settings.api.host, settings.api.port)
    check_port("exporter", settings.exporter.host, settings.exporter.port)


def check_loopback(key: str, host: str) -> None:
    """Raise :class:`UnsafeAddressError` unless ``host`` means this machine only."""
    if host:  # an empty one means every address of this machine
        addresses = {str(info[4][0]).partition("%")[0] for info in _resolve(key, host)}
        if all(ipaddress.ip_address(address).is_loopback for address in addresses):
            return
    raise UnsafeAddressError(
        key,
        f"{host!r} can be reached from other machines and there are no API keys yet; use 127.0.0.1",
    )


def check_port(table: str, host: str, port: int) -> None:
    """Raise unless ``host`` and ``port`` can be listened on; ``table`` is ``api`` or ``exporter``."""
    family, kind, protocol, _, address = _resolve(f"{table}.host", host, port)[0]
    with closing(socket.socket(family, kind, protocol)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(f"{table}.port", f"{port} is in use on {host}") from error
            raise SettingsError(
                f"{table}.host", f"cannot listen on {host}:{port}: {error.strerror}"
            ) from error


_Address = tuple[
    socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]
]


def _resolve(key: str, host: str, port: int = 0) -> list[_Address]:
    try:
        return socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)  # type: ignore[return-value] # typeshed allows packet sockets too
    except OSError as error:
        raise SettingsError(key, f"{host!r} cannot be resolved: {error.strerror or error}") from error
