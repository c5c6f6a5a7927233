"""The entry point: small, so that Ctrl-C while the rest is still being imported ends quietly too."""

import signal
import sys


def main() -> None:
    """Run the command ``decahertz``; ends the process."""
    # There is nothing to put in order yet. An exception would end in a traceback, or, where it strikes an
    # extension module that is being made, in a crash.
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from decahertz.app.cli import main as run  # noqa: PLC0415 - it takes half a second, see above

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
