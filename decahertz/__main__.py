"""Entry point of the command. It imports little, so that Ctrl-C during the other imports ends quietly."""

import signal
import sys


def main() -> None:
    """Run the command ``decahertz``; ends the process."""
    # Nothing needs cleaning up yet. An exception would print a traceback, or crash an extension module during
    # its initialisation.
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _import_structlog()
    if sys.argv[1:] == ["health"]:
        from decahertz.app.health import main as run  # noqa: PLC0415 - a probe has no second to spare
    else:
        from decahertz.app.cli import main as run  # noqa: PLC0415 - takes a second, see above

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(130)


def _import_structlog() -> None:
    """Import structlog without rich, which it would load for tracebacks that this program never prints.

    Rich takes 5 MB and a tenth of a second. Commands that show progress import it later.
    """
    if "structlog" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment] # as if it were not installed
    import structlog  # noqa: F401, PLC0415 - see above

    del sys.modules["rich"]


if __name__ == "__main__":
    main()
