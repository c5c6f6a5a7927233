"""Settings of the API: the section ``[api]``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from decahertz.settings import Port


class ApiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """REST and WebSocket."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port for REST and WebSocket; 0 picks a free one.")] = 8000
    max_body_bytes: Annotated[
        int,
        Meta(ge=1024, description="Largest accepted request body."),
    ] = 8 * 1024 * 1024
