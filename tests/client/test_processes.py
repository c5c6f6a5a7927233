"""Forks, exits, and interpreters older than the recorder's."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import decahertz_client
from decahertz.event import Fill
from decahertz_client import Client
from tests.client_server import Recorder

ROOT = Path(__file__).parent.parent.parent
PACKAGE = Path(decahertz_client.__file__).parent
MODULES = sorted(PACKAGE.glob("*.py"))
FILL: dict[str, Any] = {"strategy": "s", "venue": "v", "instrument": "i", "fill_id": "1", "side": "buy"}
PROGRAM = """
    import os, sys, threading, warnings
    from decahertz_client import Client

    client = Client(sys.argv[1], source="test")

    def emit(*order_ids):
        for order_id in order_ids:
            client.fill(strategy="s", venue="v", instrument="i", order_id=order_id, fill_id="1",
                        side="buy", price=1.5, quantity=2)

    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # at os.fork()
"""


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def run(server: Recorder, body: str) -> subprocess.CompletedProcess[str]:
    return python("-W", "error", "-c", textwrap.dedent(PROGRAM) + textwrap.dedent(body), server.url)


def run_well(server: Recorder, body: str) -> None:
    done = run(server, body)
    assert (done.returncode, done.stderr) == (0, "")


def orders(server: Recorder, epoch: int | None = None) -> list[str]:
    return [event.order_id for event in server.events(epoch) if isinstance(event, Fill)]


@pytest.mark.parametrize(("end", "code", "message"), [("", 0, ""), ('; raise ValueError("mine")', 1, "mine")])
def test_a_program_that_ends_or_fails_sends_what_it_emitted(
    server: Recorder, end: str, code: int, message: str
) -> None:
    done = run(server, f"emit(*map(str, range(1000))){end}")
    assert (done.returncode, bool(done.stderr)) == (code, bool(message))
    assert message in done.stderr
    assert orders(server) == [str(n) for n in range(1000)]


def test_a_program_ends_soon_although_no_server_is_there(server: Recorder) -> None:
    server.kill()
    started = time.monotonic()
    done = run(server, 'emit("1")')
    assert done.returncode == 0
    assert time.monotonic() - started < 15
    assert "Connection refused" in done.stderr, "Python shows warnings that nobody takes"


def test_parent_and_child_of_a_fork_go_on_under_epochs_of_their_own(server: Recorder) -> None:
    run_well(
        server,
        """
        emit("parent-1")
        client.flush(20)
        emit("parent-2")
        child = os.fork()
        if child == 0:
            emit("child-1", "child-2")
            assert client.close(10), client.stats()
            stats = client.stats()
            assert (stats.emitted, stats.acknowledged) == (2, 2), stats
            os._exit(0)
        _, status = os.waitpid(child, 0)
        emit("parent-3")
        assert client.close(10), client.stats()
        assert status == 0
        """,
    )
    epochs = sorted(epoch for _, epoch in server.sink.stored)
    assert [orders(server, epoch) for epoch in epochs] == [
        ["parent-1", "parent-2", "parent-3"],
        ["child-1", "child-2"],
    ]


def test_a_fork_in_the_middle_of_everything_harms_neither_side(server: Recorder) -> None:
    run_well(
        server,
        """
        stopping = threading.Event()
        count = 0
        def trade():
            global count
            while not stopping.wait(0.0002):
                emit(f"parent-{count}")
                count += 1
        trader = threading.Thread(target=trade)
        trader.start()
        children = []
        for number in range(10):
            child = os.fork()
            if child == 0:
                emit(f"child-{number}")
                os._exit(0 if client.close(10) and client.stats().acknowledged == 1 else 1)
            children.append(child)
        codes = [os.waitpid(child, 0)[1] for child in children]
        stopping.set()
        trader.join()
        assert client.close(10), client.stats()
        assert client.stats().acknowledged == count
        assert codes == [0] * 10, codes
        """,
    )
    stored = [orders(server, epoch) for _, epoch in server.sink.stored]
    assert sorted(s[0] for s in stored if len(s) == 1 and s[0].startswith("child")) == [
        f"child-{n}" for n in range(10)
    ]
    (parent,) = [s for s in stored if s[0].startswith("parent")]
    assert parent == [f"parent-{n}" for n in range(len(parent))]


def test_a_child_that_emits_nothing_starts_no_thread_and_a_closed_client_stays_closed_in_it(
    server: Recorder,
) -> None:
    run_well(
        server,
        """
        child = os.fork()
        if child == 0:
            quiet = threading.active_count() == 1 and client.flush(1) and client.close(1)
            os._exit(0 if quiet else 1)
        assert os.waitpid(child, 0)[1] == 0
        client.close()
        child = os.fork()
        if child == 0:
            emit("1")
            os._exit(0 if client.stats().dropped == {"closed": 1} else 1)
        assert os.waitpid(child, 0)[1] == 0
        """,
    )
    assert server.sink.stored == {}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_child_lets_go_of_the_connection_of_its_parent(server: Recorder) -> None:
    run_well(
        server,
        """
        def sockets():
            links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
            return sum(os.readlink(link).startswith("socket:") for link in links if os.path.lexists(link))
        emit("1")
        assert client.flush(10)
        assert sockets() == 1
        child = os.fork()
        if child == 0:
            os._exit(sockets())
        assert os.waitpid(child, 0)[1] == 0
        emit("2")
        assert client.flush(10)
        """,
    )
    assert orders(server) == ["1", "2"]
    assert len(server.peers) == 1


def test_closed_clients_leave_no_threads_or_sockets(server: Recorder) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("needs /proc")
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        with Client(server.url, source="test") as client:
            client.fill(**FILL, order_id="1", price=1, quantity=1)
    assert not [thread for thread in threading.enumerate() if thread.name == "decahertz-client"]
    deadline = time.monotonic() + 10
    while len(list(descriptors.iterdir())) > before:  # the server closes its ends in its own time
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_clients_of_one_source_have_epochs_of_their_own(server: Recorder) -> None:
    with Client(server.url, source="test") as one, Client(server.url, source="test") as other:
        one.fill(**FILL, order_id="one", price=1, quantity=1)
        other.fill(**FILL, order_id="other", price=1, quantity=1)
        assert one.flush(20)
        assert other.flush(20)
    assert sorted(orders(server, epoch) for _, epoch in server.sink.stored) == [["one"], ["other"]]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_the_client_is_written_for_python_3_9(module: Path) -> None:
    text = (ROOT / "client" / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.9"' in text
    ast.parse(module.read_text(), feature_version=(3, 9))


OPTIONAL = {"numpy", "pandas", "pyarrow", "websockets"}
"""Imported by the reader's methods that need them."""


def test_nothing_but_msgpack_is_imported_beyond_the_standard_library() -> None:
    nodes = [node for module in MODULES for node in ast.walk(ast.parse(module.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    packages = {name.partition(".")[0] for name in names}
    assert packages - sys.stdlib_module_names - OPTIONAL == {"msgpack", "decahertz_client"}
    done = python(
        "-c", f"import decahertz_client, sys; sys.exit(', '.join({OPTIONAL!r} & set(sys.modules)) or 0)"
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_shows_the_example_as_it_is() -> None:
    readme = (ROOT / "client" / "README.md").read_text()
    shown = re.search(r"<!-- examples/instrumented_loop.py -->\n```python\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    code = (ROOT / "examples" / "instrumented_loop.py").read_text()
    assert shown[1] == code[code.index("import random") :]


def test_the_example_records_a_trading_loop(server: Recorder) -> None:
    done = python(ROOT / "examples" / "instrumented_loop.py", server.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    counts = Counter(type(event).__name__ for event in server.events())
    assert counts == {"Quote": 200, "Signal": 20, "Order": 40, "Fill": 20, "Position": 20, "Equity": 20}
    assert server.sink.dropped.popitem()[1] == {}
