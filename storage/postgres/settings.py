"""Configuration of the embedded server: little memory, full durability, tuned for constant writes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from storage.postgres.cluster import MARK, ROLE, ClusterPaths
from storage.postgres.installation import EmbeddedPostgresUnusableError, Installation

NO_SETTINGS: Mapping[str, str] = MappingProxyType({})

_DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        # Small: the page cache of the system holds the rest.
        "shared_buffers": "48MB",
        "work_mem": "8MB",
        "maintenance_work_mem": "64MB",
        "max_connections": "40",
        "max_parallel_workers_per_gather": "1",
        "autovacuum_max_workers": "2",
        # Checkpoints by time and spread out, instead of bursts by volume.
        "max_wal_size": "1GB",
        "checkpoint_timeout": "15min",
        "wal_buffers": "4MB",
        # No replica: nothing is written for replication.
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
_IO_METHOD_SINCE = 18
_LEAST_LOCKS = 256
_LOCKS_FOR_EACH = 2
"""Locks for each table and index: a backup locks all tables, and readers lock what they read meanwhile."""


def _fixed(paths: ClusterPaths) -> dict[str, str]:
    """Returns the settings that keep the server private and recognisable."""
    return {
        "listen_addresses": "",
        "port": "5432",  # only part of the socket's name
        # The data directory, which is the server's working directory: relative, as a long path would not fit.
        "unix_socket_directories": ".",
        "unix_socket_permissions": "0700",
        "logging_collector": "off",
        MARK: str(paths.cluster),
    }


def check_settings(paths: ClusterPaths, settings: Mapping[str, str]) -> None:
    """Raises :class:`EmbeddedPostgresUnusableError` if a caller changes a fixed setting."""
    fixed = ", ".join(sorted(_fixed(paths).keys() & settings.keys()))
    if fixed:
        raise EmbeddedPostgresUnusableError(
            f"settings of the embedded PostgreSQL that cannot be changed: {fixed}"
        )


def server_options(paths: ClusterPaths, installation: Installation, settings: Mapping[str, str]) -> list[str]:
    """Returns the server's command line options: defaults, overridden by the caller's, then the fixed ones.

    Blocks.
    """
    merged = dict(_DEFAULTS)
    if installation.major >= _IO_METHOD_SINCE:
        merged["io_method"] = "sync"  # saves three worker processes
    merged |= settings
    merged.setdefault("max_locks_per_transaction", _locks(paths, int(merged["max_connections"])))
    merged |= _fixed(paths)
    return [part for name, value in merged.items() for part in ("-c", f"{name}={value}")]


def _locks(paths: ClusterPaths, connections: int) -> str:
    """The locks that the server has room for, by connection: they follow the number of partitions."""
    relations = sum(1 for file in paths.cluster.glob("base/*/*") if file.name.isdecimal())
    return str(max(_LEAST_LOCKS, -(-relations * _LOCKS_FOR_EACH // connections)))


def access_files(user: str) -> dict[str, str]:
    """Returns the access rules, for the socket: the system's user ``user``, and roles with a password.

    Other processes of the server's user are rejected: many programs run as ``nobody``. Roles with a password
    are created for readers such as Grafana.
    """
    return {
        "pg_hba.conf": f"local all {ROLE} peer map=owner\nlocal all all scram-sha-256\n",
        "pg_ident.conf": f'owner "{user}" {ROLE}\n',
    }
