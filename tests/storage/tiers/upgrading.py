"""A process that brings a database up to date as a start does, and says what memory that took."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from storage.database import Database
from storage.schema.migrate import migrate
from storage.settings import StorageSettings
from tests.tiered_database import TieredDatabase


async def main(url: str, engine: str) -> None:
    database = Database(url, StorageSettings())
    await database.open()
    await migrate(database)
    tiered = TieredDatabase(database, engine)
    await tiered.prepare()
    await tiered.close()
    await database.close()
    sys.stdout.write(f"peak_bytes {peak_bytes()}\n")


def peak_bytes() -> int:
    """Of this program alone: what ``getrusage`` says begins with the process that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell the peak of its memory")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
