"""What stands between us and a program of PostgreSQL: a script that becomes that program.

:mod:`storage.postgres.process` runs this file in a fresh interpreter (``python -I -S launcher.py …``). It
does, in this order, what has to happen in the child and cannot happen in a process with threads:

1. open the data directory while it still may,
2. give up root for the server's user,
3. write the access rules, clear what a killed server left behind,
4. ask the kernel to be signalled when the parent dies,
5. become the program.

The data directory reaches the program as an open descriptor (:data:`DATA_DIRECTORY`) and not as a path.
The server's user therefore needs no permission on the folders above it: a data directory below somebody's
private folder works without a change to that folder, and without any capability kept. Resolving
``/proc/self/fd/N`` is a jump to the open directory, and every process of the server inherits it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

DATA_DIRECTORY_DESCRIPTOR = 10
DATA_DIRECTORY = f"/proc/self/fd/{DATA_DIRECTORY_DESCRIPTOR}"
"""The data directory, as the program sees it under Linux when it runs as another user."""

NOT_RUN = 126
"""Exit code when the program could not be run at all, as in a shell."""
NOT_THE_USER = 125
"""Exit code when it could not become the user."""

_PR_SET_PDEATHSIG = 1
_PID_FILE = "postmaster.pid"
_SOCKET_LOCK_SUFFIX = ".lock"


class Launch(NamedTuple):
    """A program to become. Made by the parent, read by the child."""

    argv: tuple[str, ...]
    """The program's absolute path and its arguments."""
    environment: dict[str, str]
    parent: int
    """Process id of the parent; the child gives up if it is already another."""
    death_signal: int
    """The signal that the program gets when the thread that started it ends (Linux only)."""
    directory: str | None = None
    """The data directory; ``None`` for a program that needs none."""
    user: int | None = None
    """User id to become; ``None`` stays as it is."""
    group: int | None = None
    files: dict[str, str] = {}  # noqa: RUF012 - never changed: it comes out of JSON
    """Name → content of files to write into the data directory, as the server's user."""
    stale_socket: str | None = None
    """Set when a dead server left its locks: the name of its socket in the data directory."""

    def command(self) -> list[str]:
        """The command line that runs this launch in a fresh interpreter."""
        return [sys.executable, "-I", "-S", __file__, json.dumps(self._asdict())]


def main(specification: str) -> NoReturn:
    """Become the program, or exit with :data:`NOT_RUN` or :data:`NOT_THE_USER`."""
    launch = Launch(**json.loads(specification))
    # A stop that comes this early needs no traceback. Python ignores the other two, and what is
    # ignored stays ignored in the program.
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        if launch.directory is not None:
            _enter(launch.directory)
        if launch.user is not None and launch.group is not None:
            _give_up_root(launch.user, launch.group)
        os.umask(0o077)
        for name, content in launch.files.items():
            _write(name, content)
        if launch.stale_socket is not None:
            _take_over_locks(launch.stale_socket)
        # The programs of PostgreSQL up to 15 return to where they were started, by path: that has to
        # be a folder which every user can reach.
        os.chdir("/")
        _die_with_parent(launch.parent, launch.death_signal)
        os.execve(launch.argv[0], launch.argv, launch.environment)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"launcher: error: cannot run {launch.argv[0]}: {error}\n")
        sys.exit(NOT_RUN)


def _enter(directory: str) -> None:
    flags = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
    descriptor = os.open(directory, flags)
    os.fchdir(descriptor)
    os.dup2(descriptor, DATA_DIRECTORY_DESCRIPTOR)
    os.set_inheritable(DATA_DIRECTORY_DESCRIPTOR, True)


def _give_up_root(user: int, group: int) -> None:
    try:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    except OSError as error:
        sys.stderr.write(f"launcher: error: cannot become user id {user}: {error}\n")
        sys.exit(NOT_THE_USER)


def _write(name: str, content: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(name, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(content)


def _take_over_locks(socket: str) -> None:
    """Clear the locks of a server that is known to be dead.

    PostgreSQL takes its lock for valid when *some* process of its user has the old number, which after
    a restart of a container is likely. The number in the lock becomes our own, which PostgreSQL knows to
    be stale; the rest of the file stays, because by it PostgreSQL finds out whether processes of the dead
    server still use the data.
    """
    Path(socket + _SOCKET_LOCK_SUFFIX).unlink(missing_ok=True)
    try:
        content = Path(_PID_FILE).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return
    _, newline, rest = content.partition("\n")
    with Path(_PID_FILE).open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f"{os.getpid()}{newline}{rest}")


def _die_with_parent(parent: int, number: int) -> None:
    if sys.platform != "linux":
        return
    # After the change of user, because that clears the setting; it survives becoming the program.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if os.getppid() != parent:  # it died before the kernel knew that we care
        sys.exit(NOT_RUN)


if __name__ == "__main__":
    main(sys.argv[1])
