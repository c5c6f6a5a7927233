"""Settings of the Prometheus exporter: the section ``[exporter]``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from decahertz.addresses import UnsafeAddressError, is_loopback
from decahertz.settings import Port, Seconds


class ExporterSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The Prometheus endpoint."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    host_names: Annotated[
        tuple[str, ...],
        Meta(description="Further names of this host that clients may use, such as a container's name."),
    ] = ()
    private_network: Annotated[
        bool,
        Meta(
            description="Listen on a host that other machines can reach, although /metrics has no keys: on a"
            " private network."
        ),
    ] = False
    port: Annotated[Port, Meta(description="Port for /metrics; 0 picks a free one.")] = 9464
    window_seconds: Annotated[
        Seconds,
        Meta(
            description="Trailing window of the families `…_min` and `…_max`; at least two scrape intervals."
        ),
    ] = 30.0
    max_keys: Annotated[
        int,
        Meta(
            ge=1,
            description="Label budget: keys of a collector (instruments, strategies) with series of their"
            " own. Counters and histograms of the others are added up as `__other__`.",
        ),
    ] = 2_000
    key_ttl_seconds: Annotated[
        float,
        Meta(ge=0, le=2_678_400, description="How long a retired key keeps its place in the label budget."),
    ] = 3600.0

    def check_exposure(self) -> bool:
        """Whether other machines can reach the exporter. Resolves the name of the host, so it may block.

        Raises :class:`~decahertz.settings.SettingsError` if they can and ``private_network`` is not set.
        """
        if is_loopback("exporter.host", self.host):
            return False
        if not self.private_network:
            raise UnsafeAddressError(
                "exporter.host",
                f"Other machines can reach {self.host!r}, and /metrics has no keys: use 127.0.0.1, or set"
                " exporter.private_network on a private network",
            )
        return True
