"""Settings of the API: the section ``[api]``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from decahertz.addresses import check_loopback
from decahertz.settings import Port


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
            description="Allow a host that other machines can reach, although there are no API keys yet: for"
            " a container on a private network whose ports are published on loopback only."
        ),
    ] = False
    max_body_bytes: Annotated[
        int,
        Meta(ge=1024, description="Largest accepted request body."),
    ] = 8 * 1024 * 1024

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

    def check_host(self) -> None:
        """Raises :class:`~decahertz.addresses.UnsafeAddressError` if other machines could reach ``host``.

        Resolves names, so it may block.
        """
        if not self.private_network:
            check_loopback("api.host", self.host)
