"""``decahertz db grant-read``: read-only access for Grafana and other readers of the database."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from decahertz.app.database import open_database, start_errors
from decahertz.settings import SettingsError
from storage.maintenance.grants import grant_read

if TYPE_CHECKING:
    from pathlib import Path

    from decahertz.app.settings import Settings


async def run_grant_read(settings: Settings, role: str, *, password_file: Path | None = None) -> int:
    """Grants the role read access, and creates it when there is a password.

    Starts the embedded database if it does not run. Raises :class:`~decahertz.app.start_error.StartError` and
    :class:`~decahertz.settings.SettingsError`.
    """
    password = None if password_file is None else _read(password_file)
    with start_errors():
        async with open_database(settings, share=True) as (database, _):
            created = await asyncio.to_thread(grant_read, database, role, password)
    sys.stdout.write(f"{role} {'was created and ' if created else ''}can read {database.name}\n")
    return 0


def _read(file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsError("--password-file", f"{file} cannot be read: {error}") from error
    if not password:
        raise SettingsError("--password-file", f"{file} is empty")
    return password
