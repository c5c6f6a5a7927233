"""The tiers of a sample table that queries can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from decahertz.sample import SampleSchema
from storage.tiers.names import ROLLED, Tier, relation_of
from storage.tiers.plain.packed import is_packed
from storage.tiers.schema import tier_schema_of

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
    """Caches which tiers are complete; looks again for those that were missing."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Tier, ...]] = {}
        self._packed: dict[str, bool] = {}

    async def of(self, connection: AnyConnection, schema: SampleSchema) -> Sequence[Tier]:
        """The tiers, apart from the raw one, that have every column that the schema declares."""
        known = self._found.get(schema.collector)
        if known is not None and len(known) == len(ROLLED):
            return known
        tiers = {relation_of(schema, tier): tier for tier in ROLLED}
        declared = tier_schema_of(schema).columns().keys()
        rows = await connection.fetch(_COLUMNS, list(tiers))
        found = tuple(tiers[row["relation"]] for row in rows if declared <= set(row["columns"]))
        self._found[schema.collector] = found
        return found

    async def is_packed(self, connection: AnyConnection, schema: SampleSchema) -> bool:
        """Whether the raw samples are packed, as far as they are old enough."""
        found = self._packed.get(schema.collector)
        if found is None:
            found = await is_packed(connection, schema)
            # Before the tables are prepared nothing is packed yet.
            if found or len(self._found.get(schema.collector, ())) == len(ROLLED):
                self._packed[schema.collector] = found
        return found

    def forget(self, schema: SampleSchema) -> None:
        """Looks again next time, because a relation has changed."""
        self._found.pop(schema.collector, None)
        self._packed.pop(schema.collector, None)
