"""How the embedded server is set up: small, durable, and ready for a load that never ends."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from storage.postgres.cluster import MARK, ROLE, Layout
from storage.postgres.installation import EmbeddedPostgresError, Installation

NO_SETTINGS: Mapping[str, str] = MappingProxyType({})

_DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        # Small: what is read often is in the system's cache as well.
        "shared_buffers": "48MB",
        "work_mem": "8MB",
        "maintenance_work_mem": "64MB",
        "max_connections": "40",
        "max_parallel_workers_per_gather": "1",
        "autovacuum_max_workers": "2",
        # Checkpoints by time and spread out, not by volume and in bursts.
        "max_wal_size": "1GB",
        "checkpoint_timeout": "15min",
        "wal_buffers": "4MB",
        # One machine, no replica: what only replication needs is not written.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_logical_replication_workers": "0",
        "random_page_cost": "1.1",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] %d ",
        "cluster_name": "decahertz",
    }
)
_DEFAULTS_SINCE: Mapping[int, Mapping[str, str]] = MappingProxyType(
    {18: {"io_method": "sync"}}  # else three more processes, to read what the system has in its cache
)


def _fixed(layout: Layout) -> dict[str, str]:
    """What keeps the server private and lets us find it."""
    return {
        "listen_addresses": "",
        "port": "5432",  # a part of the socket's name, nothing else
        # The data directory itself, which the server has as its working directory: relative, so the
        # length of the path does not matter.
        "unix_socket_directories": ".",
        "unix_socket_permissions": "0700",
        "logging_collector": "off",
        MARK: str(layout.cluster),
    }


def check_settings(layout: Layout, settings: Mapping[str, str]) -> None:
    """Raise :class:`EmbeddedPostgresError` when a caller's setting is one of the fixed ones."""
    fixed = ", ".join(sorted(_fixed(layout).keys() & settings.keys()))
    if fixed:
        raise EmbeddedPostgresError(f"settings of the embedded PostgreSQL that cannot be changed: {fixed}")


def server_options(layout: Layout, installation: Installation, settings: Mapping[str, str]) -> list[str]:
    """The server's command line options: our defaults, over them the caller's, over them the fixed ones."""
    merged = dict(_DEFAULTS)
    for major, defaults in _DEFAULTS_SINCE.items():
        if installation.major >= major:
            merged |= defaults
    merged |= settings
    merged |= _fixed(layout)
    return [part for name, value in merged.items() for part in ("-c", f"{name}={value}")]


def access_files(user: str) -> dict[str, str]:
    """The files that say who may connect: over the socket, the operating system's user ``user``, nobody else.

    Whoever else runs as the server's own user (``nobody`` is popular) is not let in.
    """
    return {
        "pg_hba.conf": f"local all {ROLE} peer map=owner\n",
        "pg_ident.conf": f'owner "{user}" {ROLE}\n',
    }
