"""A process that brings a database up to date as a start does, and says what memory that took."""

from __future__ import annotations

import asyncio
import resource
import sys

from decahertz.settings import StorageSettings
from storage.database import Database
from storage.migrate import migrate
from tests.tiered_database import TieredDatabase


async def main(url: str, engine: str) -> None:
    database = Database(url, StorageSettings())
    await database.open()
    await migrate(database)
    tiered = TieredDatabase(database, engine)
    await tiered.prepare()
    await tiered.close()
    await database.close()
    unit = 1 if sys.platform == "darwin" else 1024
    sys.stdout.write(f"peak_bytes {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
