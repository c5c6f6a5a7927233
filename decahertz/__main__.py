"""Entry point of the command. It imports little, so that Ctrl-C during the other imports ends quietly."""

import os
import select
import signal
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from decahertz.app import API_PROCESS


class _OwnPackages:
    """Finds the other packages of this distribution next to this one, before the import path is searched.

    Their names are common: the folder that a user works in may have an ``api`` of its own, and
    ``PYTHONPATH=.`` puts that folder before the installed packages.
    """

    names = frozenset({"api", "collectors", "control", "exporter", "providers", "storage"})
    folder = str(Path(__file__).resolve().parents[1])

    @classmethod
    def find_spec(cls, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [cls.folder]) if name in cls.names else None


def main() -> None:
    """Runs the command ``decahertz``; ends the process."""
    # Nothing needs cleaning up yet. An exception would print a traceback, or crash an extension module during
    # its initialisation.
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.meta_path.insert(0, _OwnPackages)
    _import_structlog()
    match sys.argv[1:]:
        case ["health"]:
            from decahertz.app.health import main as run  # noqa: PLC0415 - a probe has no second to spare
        case [option, _] if option == API_PROCESS:
            from decahertz.app.api_process import main as run  # noqa: PLC0415 - takes no command line
        case _:
            from decahertz.app.cli import main as run  # noqa: PLC0415 - takes a second, see above

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        try:
            run()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _end_without_reader()


def _end_without_reader() -> None:
    """Ends the process as SIGPIPE would, if nobody reads its output any more: ``decahertz settings | head``.

    Raises the error that is being handled if it is another one.
    """
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in output.poll(0)):
        raise  # noqa: PLE0704 - called by the handler of an error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the exit
    sys.exit(128 + signal.SIGPIPE)


def _import_structlog() -> None:
    """Imports structlog without rich, which it would load for tracebacks that this program never prints.

    Rich takes 5 MB and a tenth of a second. Commands that show progress import it later.
    """
    if "structlog" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment] # as if it were not installed
    import structlog  # noqa: F401, PLC0415 - see above

    del sys.modules["rich"]


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # ``python -m`` puts the working folder there, the installed command does not
    main()
