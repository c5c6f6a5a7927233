"""A PostgreSQL for each process of the run, and the order in which tests run."""

from __future__ import annotations

import gc
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from hypothesis import settings

from storage.postgres.embedded import EmbeddedPostgres, Installation
from storage.schema.migrate import migrate
from tests.embedded_server import chosen_installation, create_data, shared_clusters
from tests.postgres_server import PostgresServer, create_tables

_LONGEST = ("quality", "chaos", "pipeline", "prometheus", "docs", "deploy", "page")
_FAST = {"fsync": "off", "full_page_writes": "off"}  # the machine is not going to lose power in a test


def pytest_configure(config: pytest.Config) -> None:
    """Share data folders with the processes of pytest-xdist, and take Ctrl-C.

    A shell that runs us in the background has us ignore it, and all that the tests start with us.
    """
    if not hasattr(config, "workerinput"):
        stack = ExitStack()
        stack.enter_context(shared_clusters())
        config.add_cleanup(stack.close)
    settings.register_profile("busy", deadline=None)  # others on the machine decide
    settings.load_profile("busy")
    # Where rich is installed, structlog draws a traceback with the variables of all frames: seconds for each.
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Rotated(pytest.Dir):  # type: ignore[misc]  # final, until pytest lets folders be sorted
    """The folder of all tests; each process begins with another of its folders.

    pytest compiles the tests when it first imports them: so the processes share that work.
    """

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        found = list(super().collect())
        worker = self.config.workerinput  # type: ignore[attr-defined]  # pytest-xdist sets it
        begin = len(found) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
        return found[begin:] + found[:begin]


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Rotates the folder of all tests in the processes of pytest-xdist."""
    if path == Path(__file__).parent and hasattr(parent.config, "workerinput"):
        collector: pytest.Collector = _Rotated.from_parent(parent, path=path)
        return collector
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the folders with the longest tests first and short files last: the processes then end together."""
    items.sort(key=lambda item: item.path, reverse=True)  # the last are those of the API, which are short
    items.sort(key=lambda item: item.path.parent.name not in _LONGEST)


def pytest_collection_finish() -> None:
    """Leaves the thousands of tests and their modules out of every garbage collection from now on."""
    gc.collect()
    gc.freeze()


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
    data_dir = create_data(tmp_path_factory.mktemp("postgres") / "data", installation)
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
