"""The key that the API may require: from the caller, the environment, or a file."""

from __future__ import annotations

import os
import re
from pathlib import Path

_KEY = re.compile(r"[\x21-\x7e]{1,256}")


class Key:
    """A key that no ``repr``, log or traceback shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def header(self) -> str:
        """The value of the header ``Authorization``."""
        return f"Bearer {self._text}"

    def __repr__(self) -> str:
        return "Key(…)"


def find_key(key: str | None) -> Key | None:
    """Returns ``key``, or that of ``DECAHERTZ_KEY``, or that in the file ``DECAHERTZ_KEY_FILE``, or ``None``.

    Raises ``ValueError``, without the key, for a key that is none and for a file that cannot be read.
    """
    text, origin = key, "key"
    if text is None:
        text, origin = os.environ.get("DECAHERTZ_KEY") or None, "DECAHERTZ_KEY"
    file = os.environ.get("DECAHERTZ_KEY_FILE")
    if text is None and file:
        origin = "DECAHERTZ_KEY_FILE"
        try:
            text = Path(file).read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise ValueError(f"{origin}: {file} cannot be read: {reason}") from None
    if text is None:
        return None
    if not _KEY.fullmatch(text.strip()):
        raise ValueError(f"{origin} is not a key: 1 to 256 ASCII characters without blanks")
    return Key(text.strip())
