"""Settings of the feed host: the section ``[feeds]``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class FeedsSettings(Struct, frozen=True):
    """Which feeds run. Each has its own section, ``[feeds.NAME]``."""

    enabled: Annotated[tuple[str, ...], Meta(description="Feeds to run, by entry-point name.")] = ()
