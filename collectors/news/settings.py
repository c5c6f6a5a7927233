"""Settings of headlines: the section ``[news]``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class NewsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How headlines are scored."""

    scorer: Annotated[
        str,
        Meta(
            description="Scorer of headlines without a sentiment, by entry-point name: `vader` (needs the"
            " extra `news`); empty: none."
        ),
    ] = ""
