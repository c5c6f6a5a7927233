"""Script that prepares a child process and then turns into another program, such as one of PostgreSQL.

:mod:`storage.postgres.process`, :mod:`decahertz.app.companions` and :mod:`decahertz.app.api_processes` run
this file in a new interpreter (``python -I -S launcher.py …``). It does what has to happen in the child and
is not safe in a process with threads; for programs of PostgreSQL all of it, for others the last three steps:

1. opens the data directory while it is still allowed to,
2. changes from root to the server's user,
3. writes the access rules, and clears the locks of a killed server,
4. lowers its priority,
5. asks the kernel for a signal when the parent dies,
6. executes the program.

The program gets the data directory as an open descriptor (:data:`DATA_DIRECTORY`), not as a path. So the
server's user needs no permission on the folders above it: a data directory below a private folder works
without a change to that folder, and without capabilities. Resolving ``/proc/self/fd/N`` jumps to the open
directory, and every process of the server inherits it.
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
"""The data directory as a program that runs as another user sees it on Linux."""

NOT_RUN = 126
"""Exit code if the program could not be executed, as in a shell."""
NOT_THE_USER = 125
"""Exit code if the user could not be changed."""

_PR_SET_PDEATHSIG = 1
_PID_FILE = "postmaster.pid"
_SOCKET_LOCK_SUFFIX = ".lock"


class Launch(NamedTuple):
    """A program to execute. Written by the parent, read by the child. Other users can read it too.

    The program gets the environment that the launcher was started with.
    """

    argv: tuple[str, ...]
    """The program's absolute path and its arguments."""
    parent: int
    """Process id of the parent; the child exits if it has another one by then."""
    death_signal: int
    """Signal for the program when the thread that started it ends (Linux only)."""
    directory: str | None = None
    """Data directory of PostgreSQL; ``None`` for a program that needs none."""
    folder: str = "/"
    """Working folder of the program. Programs of PostgreSQL up to 15 change back to the folder that they were
    started in, by path: it has to be one that every user can reach."""
    user: int | None = None
    """User id to change to; ``None`` changes nothing."""
    group: int | None = None
    umask: int | None = 0o077
    """``None`` keeps this process's own."""
    niceness: int = 0
    """How much lower the priority of the program is."""
    files: dict[str, str] = {}  # noqa: RUF012 - never changed: it comes out of JSON
    """Content of files to write into the data directory as the server's user, by name."""
    stale_socket: str | None = None
    """Name of the socket in the data directory whose locks a dead server may have left behind."""

    @staticmethod
    def bare_environment() -> dict[str, str]:
        """Returns an environment without this process's secrets."""
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        if "LD_LIBRARY_PATH" in os.environ:  # some interpreters do not start without it
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        return environment

    def command(self) -> list[str]:
        """Returns the command line that runs this launch in a new interpreter."""
        return [sys.executable, "-I", "-S", __file__, json.dumps(self._asdict())]


def main(specification: str) -> NoReturn:
    """Executes the program, or exit with :data:`NOT_RUN` or :data:`NOT_THE_USER`."""
    launch = Launch(**json.loads(specification))
    # No traceback for a stop this early. Python ignores the other two signals, and the program would
    # inherit that.
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        if launch.directory is not None:
            _enter(launch.directory)
        if launch.user is not None and launch.group is not None:
            _change_user(launch.user, launch.group)
        if launch.umask is not None:
            os.umask(launch.umask)
        for name, content in launch.files.items():
            _write(name, content)
        if launch.stale_socket is not None:
            _take_over_locks(launch.stale_socket)
        os.chdir(launch.folder)
        os.nice(launch.niceness)
        _die_with_parent(launch.parent, launch.death_signal)
        os.execv(launch.argv[0], launch.argv)  # noqa: S606 - without a shell
    except OSError as error:
        sys.stderr.write(f"launcher: error: cannot run {launch.argv[0]}: {error}\n")
        sys.exit(NOT_RUN)


def _enter(directory: str) -> None:
    flags = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
    descriptor = os.open(directory, flags)
    os.fchdir(descriptor)
    os.dup2(descriptor, DATA_DIRECTORY_DESCRIPTOR)
    os.set_inheritable(DATA_DIRECTORY_DESCRIPTOR, True)


def _change_user(user: int, group: int) -> None:
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
    """Clears the locks of a dead server.

    PostgreSQL considers its lock valid if *any* process of its user has the process id in it, which is likely
    after a restart of a container. This writes our own process id into the lock, which PostgreSQL knows to be
    stale. The rest of the file stays: PostgreSQL reads from it whether processes of the dead server still use
    the data.
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
    # After the change of user, which clears the setting; it survives the exec.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if os.getppid() != parent:  # it died before the setting
        sys.exit(NOT_RUN)


if __name__ == "__main__":
    main(sys.argv[1])
