"""Settings of the API: the section ``[api]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from api.security.certificate import CertificateFiles
from decahertz.addresses import is_loopback, reachable_address
from decahertz.settings import Port, SettingsError

_NO_FILE = Path()

Origin = Annotated[str, Meta(pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://[A-Za-z0-9.:\[\]_-]+$")]


class ApiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """REST and WebSocket."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port for REST and WebSocket; 0 picks a free one.")] = 8000
    host_names: Annotated[
        tuple[str, ...],
        Meta(description="Further names of this host that clients may use, such as a container's name."),
    ] = ()
    private_network: Annotated[
        bool,
        Meta(
            description="Do without keys although other machines can reach the host: for a container on a"
            " private network whose ports are published on loopback only."
        ),
    ] = False
    require_keys: Annotated[
        bool,
        Meta(
            description="Require keys on loopback too. If other machines can reach the host, they are always"
            " required."
        ),
    ] = False
    tls_certificate: Annotated[
        Path,
        Meta(
            description="PEM file with the certificate and its chain, for https and wss; empty: plain HTTP."
            " A changed file is loaded."
        ),
    ] = _NO_FILE
    tls_key: Annotated[Path, Meta(description="PEM file with the private key of the certificate.")] = _NO_FILE
    session_hours: Annotated[
        float,
        Meta(gt=0, le=720, description="How long a browser that signed in with a key stays signed in."),
    ] = 12.0
    max_body_bytes: Annotated[
        int,
        Meta(ge=1024, description="Largest accepted request body."),
    ] = 8 * 1024 * 1024
    max_inflight_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            description="Memory for the request bodies above 64 KiB that are read or handled at a time; one"
            " that finds no room is refused with 503.",
        ),
    ] = 64 * 1024 * 1024

    key_requests_per_second: Annotated[
        float,
        Meta(ge=0, le=1e6, description="Rate limit of each key; WebSocket messages count too; 0: none."),
    ] = 1000.0
    address_requests_per_second: Annotated[
        float,
        Meta(ge=0, le=1e6, description="The same for each address of other machines."),
    ] = 1000.0
    address_connections: Annotated[
        int,
        Meta(ge=0, description="Open connections of each address of other machines, WebSockets too; 0: any."),
    ] = 200
    limit_loopback: Annotated[
        bool,
        Meta(description="Apply the limits per address to programs of this machine too."),
    ] = False
    cors_origins: Annotated[
        tuple[Origin, ...],
        Meta(
            description="Origins whose browser pages may use the API, such as https://desk.example; none by"
            " default."
        ),
    ] = ()

    cache_bytes: Annotated[
        int,
        Meta(ge=0, description="Memory for responses of lists, which are kept for a second; 0 keeps none."),
    ] = 16 * 1024 * 1024

    redis_url: Annotated[
        str,
        Meta(
            description="Redis as the second level of that cache, for several recorders of one database, such"
            " as redis://127.0.0.1:6379/0; empty: none. Needs decahertz[redis]."
        ),
    ] = ""

    processes: Annotated[
        int,
        Meta(
            ge=0,
            le=64,
            description="API processes of their own, so that load on the API does not move the grid; 0: the"
            " recorder's process serves the API.",
        ),
    ] = 0

    def certificate(self) -> CertificateFiles | None:
        """The files for TLS; ``None``: plain HTTP.

        Raises :class:`~decahertz.settings.SettingsError` if one of the two is missing.
        """
        for key, file, other in (
            ("api.tls_certificate", self.tls_certificate, self.tls_key),
            ("api.tls_key", self.tls_key, self.tls_certificate),
        ):
            if file == _NO_FILE and other != _NO_FILE:
                raise SettingsError(key, "is empty, and TLS needs a certificate and its key")
        if self.tls_certificate == _NO_FILE:
            return None
        return CertificateFiles(self.tls_certificate, self.tls_key)

    def url(self, port: int) -> str:
        """Base URL for clients on this machine: ``http://127.0.0.1:8000``.

        With TLS the first of ``host_names`` stands in it, which the certificate has to name.
        """
        if self.tls_certificate == _NO_FILE:
            return f"http://{reachable_address(self.host, port)}"
        host = self.host_names[0] if self.host_names else self.host
        return f"https://{reachable_address(host, port)}"

    def requires_keys(self) -> bool:
        """Whether a request needs a key. Resolves the name of the host, so it may block.

        Raises :class:`~decahertz.settings.SettingsError` for a name that means nothing.
        """
        return self.require_keys or self.is_exposed()

    def is_exposed(self) -> bool:
        """Whether other machines can reach the API, and not only on a private network. May block."""
        return not self.private_network and not is_loopback("api.host", self.host)
