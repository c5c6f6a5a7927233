"""Data directory of an embedded PostgreSQL: its files, its owner, and the server that runs on it.

::

    data_dir/
        owner.lock      held by the process that runs the server, and contains its id
        server.log      log of the server; server.log.1 is the older part
        cluster/        data directory of PostgreSQL itself, with its socket
"""

from __future__ import annotations

import hashlib
import os
import pwd
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil

from storage.files import open_locked
from storage.postgres.installation import (
    EmbeddedPostgresError,
    EmbeddedPostgresUnusableError,
    Installation,
)

DATABASE = "decahertz"
ROLE = "decahertz"
SOCKET_NAME = ".s.PGSQL.5432"
MARK = "decahertz.data_directory"
"""Setting that names the data directory on the server's command line and so identifies the process."""

_SOCKET_PATH_LIMIT = 103  # bytes of sockaddr_un without the final zero: 107 under Linux, 103 under macOS
_SHORT_PATHS = Path("/tmp")  # noqa: S108 - a private folder in it, the same for every process


@dataclass(frozen=True, slots=True)
class ClusterPaths:
    """Paths of one embedded PostgreSQL."""

    root: Path
    """Absolute."""

    @classmethod
    def of(cls, data_dir: Path) -> ClusterPaths:
        """Returns the paths of a data directory, which need not exist."""
        return cls(data_dir.absolute())

    @property
    def cluster(self) -> Path:
        """The data directory of PostgreSQL itself."""
        return self.root / "cluster"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.root / "server.log"

    @property
    def alias(self) -> Path | None:
        """Short path to the socket's folder, if its own path cannot be part of a socket address."""
        path = os.fsencode(self.cluster)
        if len(path) + 1 + len(SOCKET_NAME) <= _SOCKET_PATH_LIMIT and b"," not in path and _is_utf8(path):
            return None
        return _SHORT_PATHS / f"decahertz-{os.geteuid()}" / hashlib.sha256(path).hexdigest()[:16]

    @property
    def host(self) -> str:
        """The socket's folder, as clients name it."""
        return str(self.alias or self.cluster)

    def url(self, database: str = DATABASE) -> str:
        """Returns the URL of a database, for asyncpg and psycopg."""
        return f"postgresql://{ROLE}@/{quote(database, safe='')}?host={quote(self.host, safe='')}&port=5432"

    def publish_alias(self) -> None:
        """Creates the short path if it is missing, in a folder that no other user can write to."""
        if self.alias is None:
            return
        folder = self.alias.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise EmbeddedPostgresUnusableError(
                f"{folder} can be written by other users: choose a data directory with a shorter path"
            )
        if not self.alias.is_symlink() or self.alias.readlink() != self.cluster:
            fresh = self.alias.with_suffix(f".{os.getpid()}")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self.cluster)
            fresh.replace(self.alias)

    def withdraw_alias(self) -> None:
        """Removes the short path."""
        if self.alias is not None:
            self.alias.unlink(missing_ok=True)

    def holds_data(self, installation: Installation) -> bool:
        """Whether there is data. Raises :class:`EmbeddedPostgresError` if another major version made it."""
        if not self.cluster.exists():
            return False
        try:
            found = (self.cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise EmbeddedPostgresUnusableError(
                f"{self.cluster} is not a data directory of PostgreSQL"
            ) from None
        if found != str(installation.major):
            raise EmbeddedPostgresUnusableError(
                f"{self.cluster} was made by PostgreSQL {found}, and {installation.prefix} is "
                f"{installation.version}: use a PostgreSQL {found}, or dump the data with it and restore "
                "the dump into a new data directory"
            )
        return True


def database_url(data_dir: Path, database: str = DATABASE) -> str:
    """Returns the URL of the embedded database of ``data_dir``, whether it runs or not."""
    return ClusterPaths.of(data_dir).url(database)


def running_pid(data_dir: Path) -> int | None:
    """Returns the process id of the server that runs on ``data_dir``; ``None`` if there is none. Blocks."""
    server = find_server(ClusterPaths.of(data_dir))
    return None if server is None else server.process.pid


@dataclass(frozen=True, slots=True)
class Server:
    """A running server on a data directory."""

    process: psutil.Process
    ours: bool
    """Started by Decahertz and not by hand."""


def find_server(paths: ClusterPaths) -> Server | None:
    """Returns the server that the data directory's pid file names, if that process is a server."""
    try:
        first, *_ = (paths.cluster / "postmaster.pid").read_text(errors="replace").split("\n")
        process = psutil.Process(int(first))
        arguments = process.cmdline()
    except (OSError, ValueError, psutil.Error):
        return None
    marks = [text.partition("=")[2] for text in arguments if text.startswith(f"{MARK}=")]
    if marks:
        return Server(process, ours=True) if any(_same(mark, paths.cluster) for mark in marks) else None
    # Without the mark it is a server that was started by hand, unless the process id now belongs to another
    # program, or to a child of another server ("postgres: checkpointer").
    by_hand = bool(arguments) and Path(arguments[0]).name in {"postgres", "postmaster"}
    return Server(process, ours=False) if by_hand else None


class OwnerLock:
    """Lock of the process that may run a server on a data directory. The kernel releases it at its end."""

    def __init__(self, paths: ClusterPaths) -> None:
        self._root = paths.root
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Acquires the lock. Raises :class:`EmbeddedPostgresError`, which names the process that holds it."""
        path = self._root / "owner.lock"
        try:
            self._descriptor = descriptor = open_locked(path)
        except BlockingIOError:
            owner = path.read_text(errors="replace").strip() or "unknown"
            raise EmbeddedPostgresError(f"{self._root} is already in use by process {owner}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Releases the lock. Safe without :meth:`acquire`, and twice."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


@dataclass(frozen=True, slots=True)
class ServerUser:
    """User that the server runs as if this process is root: PostgreSQL refuses to run as root."""

    uid: int
    gid: int


def server_user(paths: ClusterPaths) -> ServerUser | None:
    """Chooses the user that the server runs as; ``None`` is this process's own.

    As root it is the owner of the data, and for new data ``postgres`` if the machine has that user, else
    ``nobody``. Raises :class:`EmbeddedPostgresError` if there is none.
    """
    owner = paths.cluster.stat() if paths.cluster.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            raise EmbeddedPostgresUnusableError(
                f"{paths.cluster} belongs to {_name_of(owner.st_uid)}, not to this user"
            )
        return None
    if owner is not None:
        if owner.st_uid == 0:
            raise EmbeddedPostgresUnusableError(
                f"{paths.cluster} belongs to root, and PostgreSQL refuses to run as root"
            )
        return ServerUser(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return ServerUser(entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresUnusableError(
        "PostgreSQL refuses to run as root, and the user nobody does not exist"
    )


def own_name() -> str:
    """Returns the name of this process's user. Raises :class:`EmbeddedPostgresError` if it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EmbeddedPostgresUnusableError(
            f"PostgreSQL needs a user with a name, and user id {os.geteuid()} has none on this machine"
        ) from None


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user id {user}"


def _same(one: str, other: Path) -> bool:
    try:
        return other.samefile(one)
    except OSError:
        return False


def _is_utf8(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True
