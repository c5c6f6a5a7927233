"""Checks of the addresses that the program listens on."""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import closing

from decahertz.settings import SettingsError


class UnsafeAddressError(SettingsError):
    """Raised when other machines could reach a listener that has no protection."""


class PortInUseError(SettingsError):
    """Another program listens on the port."""


def is_loopback(key: str, host: str) -> bool:
    """Whether only this machine can reach ``host``. ``key`` is the setting.

    Resolves names, so it may block. Raises :class:`~decahertz.settings.SettingsError` for a name that means
    nothing.
    """
    if not host:
        return False  # every address of this machine
    addresses = {str(info[4][0]).partition("%")[0] for info in _resolve(key, host)}
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def reachable_host(host: str) -> str:
    """The address at which this machine reaches a listener on ``host``."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - no listener


def reachable_address(host: str, port: int) -> str:
    """The same with the port, as in URLs: ``127.0.0.1:8000``, ``[::1]:8000``."""
    reached = reachable_host(host)
    return f"[{reached}]:{port}" if ":" in reached else f"{reached}:{port}"


def free_port() -> int:
    """A port of 127.0.0.1 that no program uses at the moment."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
        return port


def check_port(section: str, host: str, port: int, *, name: str = "port") -> None:
    """Raises :class:`~decahertz.settings.SettingsError` unless the address is free.

    ``section`` is ``api`` or ``exporter``, and ``name`` the setting of the port in it.
    """
    family, kind, protocol, _, address = _resolve(f"{section}.host", host, port)[0]
    with closing(socket.socket(family, kind, protocol)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise listen_error(section, host, port, error, name=name) from error


def listening_sockets(section: str, host: str, port: int, backlog: int) -> list[socket.socket]:
    """Sockets that listen on each address of ``host``, all on one port; 0 picks a free one.

    Resolves names, so it may block. Raises :class:`~decahertz.settings.SettingsError`.
    """
    found: list[socket.socket] = []
    refused: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(_resolve(f"{section}.host", host, port)):
        made = socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((address[0], port, *address[2:]))
            made.listen(backlog)
        except OSError as error:
            made.close()
            refused = error
            if error.errno != errno.EADDRNOTAVAIL:  # this machine may lack IPv6
                break
        else:
            port = made.getsockname()[1]
            found.append(made)
    if refused is not None and (refused.errno != errno.EADDRNOTAVAIL or not found):
        for made in found:
            made.close()
        raise listen_error(section, host, port, refused) from refused
    return found


def unix_socket(path: str, backlog: int) -> socket.socket:
    """A Unix socket that listens at a path. Raises ``OSError``."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path)
        made.listen(backlog)
    except OSError:
        made.close()
        raise
    return made


def listen_error(section: str, host: str, port: int, error: OSError, *, name: str = "port") -> SettingsError:
    """The error to raise when the operating system refuses to listen on an address."""
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"{section}.{name}", f"{port} on {host} is in use by another program; stop it or set another port"
        )
    if error.errno == errno.EACCES:
        return SettingsError(
            f"{section}.{name}", f"this user may not listen on port {port}; use 1024 or above"
        )
    return SettingsError(f"{section}.host", f"cannot listen on {host}: {error.strerror or error}")


_Address = tuple[
    socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]
]


def _resolve(key: str, host: str, port: int = 0) -> list[_Address]:
    try:
        return socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)  # type: ignore[return-value] # typeshed allows packet sockets too
    except OSError as error:
        raise SettingsError(key, f"{host!r} cannot be resolved: {error.strerror or error}") from error
