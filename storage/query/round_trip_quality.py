"""The costs of a round trip: the sum of its orders, each by the share of it that was filled there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from storage.database import Reads

_QUALITY = "SELECT * FROM round_trip_quality WHERE trade_id = $1 AND recorder = $2"


async def round_trip_quality(database: Reads, trade_id: str, recorder: str) -> Mapping[str, Any] | None:
    """Returns the figures of a stored round trip by the names of the view's columns; ``None``: it is gone."""
    rows = await database.fetch(_QUALITY, (trade_id, recorder))
    return dict(rows[0]) if rows else None
