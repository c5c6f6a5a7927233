"""Keys of the programs that the recorder starts, in files that only its user can read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from api.security.keys import new_key
from storage.files import make_private_folder

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from api.http.access import Scope
    from api.security.keyring import KeyRing
    from decahertz.clock import Clock
    from storage.write.api_keys import ApiKeyStore

PRIVATE_FILE: Final = 0o600


async def own_key(
    file: Path, scopes: Collection[Scope], keys: KeyRing, store: ApiKeyStore, clock: Clock
) -> Path:
    """Returns a file with a valid key that has these scopes: that of an earlier start, or a new one.

    Raises :class:`~storage.database.DatabaseError` and ``OSError``.
    """
    text = await asyncio.to_thread(_read, file)
    owner = None if text is None else await keys.verify(text)
    if owner is None or not owner.scopes.issuperset(scopes):
        name = f"{file.stem} (made by the recorder)"
        new, stored = await asyncio.to_thread(lambda: new_key(name, scopes, now_ns=clock.time_ns()))
        await store.add(stored)
        await keys.refresh()
        await asyncio.to_thread(_write, file, new.reveal())
    return file


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii").strip()
    except (FileNotFoundError, ValueError):
        return None


def _write(file: Path, text: str) -> None:
    make_private_folder(file.parent)
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(PRIVATE_FILE)
    fresh.write_text(text + "\n", encoding="ascii")
    fresh.replace(file)
