"""Which tiers of a sample table are there to be asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from decahertz.sample import SampleSchema
from storage.tiers.names import ROLLED, Tier, columns_of, relation_of

if TYPE_CHECKING:
    from storage.database import AnyConnection

_COLUMNS = """
SELECT c.relname AS relation, array_agg(a.attname::text) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY($1::text[])
  AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY c.relname
"""


class TierCatalogue:
    """Remembers the tiers that were found complete; looks again for those that were not."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._found: dict[str, tuple[Tier, ...]] = {}

    async def of(self, connection: AnyConnection, schema: SampleSchema) -> Sequence[Tier]:
        """The tiers, besides the raw one, that have a column for all that the schema declares."""
        known = self._found.get(schema.collector)
        if known is not None and len(known) == len(ROLLED):
            return known
        names = {relation_of(schema, tier): tier for tier in ROLLED}
        found = []
        for row in await connection.fetch(_COLUMNS, list(names)):
            tier = names[row["relation"]]
            if {column.name for column in columns_of(schema, tier)} <= set(row["columns"]):
                found.append(tier)
        self._found[schema.collector] = tuple(found)
        return found

    def forget(self, schema: SampleSchema) -> None:
        """Look again next time: a relation has changed."""
        self._found.pop(schema.collector, None)
