"""The entry point: small, so that Ctrl-C while the rest is still being imported ends quietly too."""

import sys


def main() -> None:
    """Run the command ``decahertz``; ends the process."""
    try:
        from decahertz.cli import main as run  # noqa: PLC0415 - it takes half a second, see above

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
