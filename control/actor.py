"""Who changes something."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Actor(Struct, frozen=True, kw_only=True):
    """Who changes something: the holder of a key, or the recorder."""

    name: str
    key_id: str | None = None
    address: str = ""


RECORDER: Final = Actor(name="recorder")
