"""A PostgreSQL for each process of the run, and the order in which tests run."""

from __future__ import annotations

import fcntl
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from storage.postgres.embedded import EmbeddedPostgres, Installation
from storage.schema.migrate import migrate
from tests.embedded_server import chosen_installation, remove_clusters
from tests.postgres_server import PostgresServer, create_tables

_MACHINE, _TURN = Path(__file__), Path(__file__).with_name("servers.py")  # any two files, to lock
_LONGEST = ("quality", "chaos", "pipeline", "prometheus", "docs", "deploy", "page")
_FAST = {"fsync": "off", "full_page_writes": "off"}  # the machine is not going to lose power in a test


def pytest_configure() -> None:
    """A shell that runs us in the background has us ignore Ctrl-C, and all that the tests start with us."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish() -> None:
    """Remove shared folders here: a process of pytest-xdist ends without its exit handlers."""
    remove_clusters()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests that need the machine alone first, then the longest: the processes then end together."""
    alone = {item.path for item in items if item.get_closest_marker("alone")}
    items.sort(key=lambda item: (item.path not in alone, item.path.parent.name not in _LONGEST))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """While a test marked ``alone`` runs, the other processes wait between two of their tests."""
    if not hasattr(item.config, "workerinput"):  # there are no other processes
        return (yield)
    with _machine(fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH):
        return (yield)


@contextmanager
def _machine(kind: int) -> Iterator[None]:
    """Hold the machine, shared or exclusively; who waits for it goes before later ones."""
    with _MACHINE.open() as machine:
        with _TURN.open() as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(machine, kind)
        yield


@pytest.fixture(scope="session")
def installation() -> Installation:
    """The bundled PostgreSQL, or the one below the folder that DECAHERTZ_TEST_POSTGRES names."""
    return chosen_installation()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder that is removed after the test, with a path short enough for a socket."""
    made = Path(tempfile.mkdtemp(prefix="decahertz-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(
    tmp_path_factory: pytest.TempPathFactory, installation: Installation
) -> AsyncIterator[PostgresServer]:
    """A running server, shared by the tests of one process."""
    data_dir = tmp_path_factory.mktemp("postgres") / "data"
    async with EmbeddedPostgres(data_dir, installation=installation, settings=_FAST) as server:
        yield PostgresServer(server.url)


@pytest_asyncio.fixture
async def database_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """An empty database for one test."""
    async with postgres_server.database() as url:
        yield url


@pytest_asyncio.fixture
async def migrated_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A database for one test, with all migrations applied."""
    async with postgres_server.database(migrate) as url:
        yield url


@pytest_asyncio.fixture
async def tables_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A database for one test, with all migrations and the tables of events, books and machine."""
    async with postgres_server.database(create_tables) as url:
        yield url
