"""Settings of the API: the section ``[api]``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from decahertz.addresses import is_loopback
from decahertz.settings import Port

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
    max_body_bytes: Annotated[
        int,
        Meta(ge=1024, description="Largest accepted request body."),
    ] = 8 * 1024 * 1024

    key_requests_per_second: Annotated[
        float,
        Meta(ge=0, le=1e6, description="Rate limit of each key; WebSocket messages count too; 0: none."),
    ] = 1000.0
    address_requests_per_second: Annotated[
        float,
        Meta(ge=0, le=1e6, description="The same for each address of other machines."),
    ] = 1000.0
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

    def requires_keys(self) -> bool:
        """Whether a request needs a key. Resolves the name of the host, so it may block.

        Raises :class:`~decahertz.settings.SettingsError` for a name that means nothing.
        """
        return self.require_keys or self.is_exposed()

    def is_exposed(self) -> bool:
        """Whether other machines can reach the API, and not only on a private network. May block."""
        return not self.private_network and not is_loopback("api.host", self.host)
