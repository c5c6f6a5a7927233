"""The database of the settings: its URL, its embedded server, and how a command opens it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from decahertz.app.start_error import StartError
from decahertz.clock import SystemClock
from decahertz.settings import SettingsError
from storage.database import Database, DatabaseError
from storage.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError, Options, running_pid
from storage.postgres.embedded import database_url as embedded_url
from storage.postgres.supervisor import PostgresSupervisor
from storage.schema.migrate import migrate
from storage.tiers.engine import prepare_tiers

if TYPE_CHECKING:
    from decahertz.app.settings import Settings

READ_URL = "storage.read_url"
_POSTGRES = Options(stop_limit_s=1.5)  # then it is killed; its next start replays the write-ahead log


def embedded_dir(settings: Settings) -> Path:
    """Folder of the embedded PostgreSQL."""
    return settings.data_dir / "postgres"


def database_url(settings: Settings) -> str:
    """URL of the database in use, running or not.

    Raises :class:`~decahertz.settings.SettingsError` if ``database_password_file`` cannot be used.
    """
    if settings.database_password_file != Path():
        return _url_with_password(settings, settings.database_url)
    return settings.database_url or embedded_url(embedded_dir(settings))


def read_url(settings: Settings) -> str:
    """URL of the database that queries of the API and of Grafana go to: a replica, or the database itself.

    A replica has the roles of the database, so one password file serves both. Raises as
    :func:`database_url`.
    """
    url = settings.storage.read_url
    if not url:
        return database_url(settings)
    has_file = settings.database_password_file != Path()
    return _url_with_password(settings, url) if has_file and urlsplit(url).password is None else url


def reads_of(settings: Settings, database: Database) -> Database:
    """The database that queries go to, not opened: ``database`` itself without ``storage.read_url``."""
    if not settings.storage.read_url:
        return database
    return Database(read_url(settings), settings.storage, key=READ_URL)


def _url_with_password(settings: Settings, url: str) -> str:
    """A URL with the password of ``database_password_file``."""
    key = "database_password_file"
    try:
        password = settings.database_password_file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(key, f"cannot be read: {error}") from error
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at or ":" in user:
        raise SettingsError(
            key, "database_url has to name a user, and no password: postgresql://user@host/db"
        )
    if not password:
        raise SettingsError(key, f"{settings.database_password_file} is empty")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


@contextmanager
def start_errors() -> Iterator[None]:
    """Converts the errors of a failed start to :class:`StartError`."""
    try:
        yield
    except (EmbeddedPostgresError, DatabaseError) as error:
        raise StartError(str(error)) from error
    except OSError as error:
        text = f"cannot use {error.filename}: {error.strerror}" if error.filename else str(error)
        raise StartError(f"{text}; `decahertz check` tells what else is in the way") from error


def refuse_without_database(settings: Settings) -> None:
    """Raises :class:`StartError` if the embedded database has not been created yet."""
    folder = embedded_dir(settings)
    if not settings.database_url and not (folder / "cluster").exists():
        raise StartError(f"there is no database in {folder} yet: `decahertz up` creates it")


def embedded_supervisor(settings: Settings) -> PostgresSupervisor | None:
    """The supervisor of the embedded PostgreSQL, not started; ``None`` if the settings name a database."""
    if settings.database_url:
        return None
    return PostgresSupervisor(lambda: EmbeddedPostgres(embedded_dir(settings), options=_POSTGRES))


@asynccontextmanager
async def open_database(
    settings: Settings,
    *,
    share: bool = False,
) -> AsyncIterator[tuple[Database, PostgresSupervisor | None]]:
    """Opens the database and migrates it; starts the embedded server, and yields its supervisor too.

    With ``share``, uses an embedded server that another process runs; without, refuses to. Raises
    :class:`StartError`.
    """
    async with AsyncExitStack() as stack:
        with start_errors():
            runs_already = share and running_pid(embedded_dir(settings)) is not None
            supervisor = None if runs_already else embedded_supervisor(settings)
            if supervisor is not None:
                stack.push_async_callback(supervisor.stop)
                await supervisor.start()
            database = Database(database_url(settings), settings.storage)
            stack.push_async_callback(database.close)
            await database.open()
            await migrate(database)
            if share:
                await prepare_tiers(database, (), settings.tiers, settings.retention, SystemClock())
        yield database, supervisor
