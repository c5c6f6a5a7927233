"""The documentation cannot lie: its links lead somewhere, its commands run, its programs work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.commands import ELSEWHERE, PAGES, ROOT, Block, Curl, blocks
from tests.embedded_server import create_data
from tests.pipeline.running import RunningDecahertz, environment, run, running, wait_until

pytestmark = pytest.mark.timeout(120)
RUN_ELSEWHERE = {
    "scripts/up": "tests/docs/test_scripts.py",
    "scripts/up --stack": "tests/deploy/test_stack.py and tests/docs/test_scripts.py",
    "scripts/compose-env && docker compose up -d": "tests/deploy/test_compose.py",
    "scripts/test": "this very run",
    'export PATH="$PWD/.venv/bin:$PATH"': "every test that runs the command",
    "python -m pip install ./imbalance": "tests/pipeline/test_plugin_guide.py",
    "export DECAHERTZ_COLLECTORS_ENABLED=market,strategy,portfolio,execution,risk,system,imbalance": "too",
    "decahertz up": "tests/pipeline",
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDecahertz]:
    """The demo, on ports of its own."""
    folder = tmp_path_factory.mktemp("demo")
    with running("--demo", env=environment(folder), log=folder / "log") as decahertz:
        wait_until("the names of the examples in the database", 60, lambda: knows_the_names(decahertz))
        yield decahertz


def knows_the_names(decahertz: RunningDecahertz) -> bool:
    """Whether the instrument and the strategy that the examples name are known: they are 404 before."""
    instruments = [item["instrument"] for item in decahertz.get("/api/v1/instruments")["items"]]
    strategies = {item["strategy"] for item in decahertz.get("/api/v1/fills?limit=1000")["items"]}
    return "BTC-USD" in instruments and "momentum" in strategies


def here(text: str, demo: RunningDecahertz) -> str:
    """The text with the addresses of the running demo in place of the default ones."""
    host = demo.api.removeprefix("http://")
    metrics = demo.metrics.removeprefix("http://").removesuffix("/metrics")
    return text.replace("127.0.0.1:8000", host).replace("127.0.0.1:9464", metrics)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    targets = [t for t in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not t.startswith("http")]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []


def test_the_command_is_called_in_one_way() -> None:
    """After the line of README that puts it on the PATH, and so are python and pip."""
    found = [str(page.relative_to(ROOT)) for page in PAGES if ".venv/bin/" in page.read_text()]
    assert found == []
    assert 'export PATH="$PWD/.venv/bin:$PATH"' in (ROOT / "README.md").read_text()


COMMANDS = {
    block: commands
    for block in blocks("sh")
    if not block.page.startswith("docs/runbooks/")  # those need Prometheus too
    and (
        commands := [
            command
            for command in block.commands()
            if command not in RUN_ELSEWHERE and not command.startswith(ELSEWHERE)
        ]
    )
}
"""The commands that run here, by block."""
ASKS = [block for block, commands in COMMANDS.items() if any(c.startswith("curl ") for c in commands)]


# First what needs no demo: that has work to do as long as it runs.
@pytest.mark.parametrize("block", [block for block in COMMANDS if block not in ASKS], ids=str)
def test_every_command_of_a_page_runs(block: Block, tmp_path: Path) -> None:
    commands = COMMANDS[block]
    imports = any(command.startswith("decahertz import ") for command in commands)
    if imports and block.page != "README.md":  # README's commands make the database
        create_data(tmp_path / "postgres", has_tables=True)
    for command in commands:
        check_command(command, tmp_path)


@pytest.mark.parametrize("block", ASKS, ids=str)
def test_every_request_of_a_page_is_answered(block: Block, demo: RunningDecahertz, tmp_path: Path) -> None:
    for command in COMMANDS[block]:
        if command.startswith("curl "):
            status, body = Curl.parse(here(command, demo)).send()
            assert status in (200, 201, 202), command
            assert body, command
        else:
            check_command(command, tmp_path)


def check_command(command: str, folder: Path) -> None:
    """``decahertz up`` and ``stack`` have to accept their options; other sub-commands run to their end."""
    program, *arguments = shlex.split(command)
    assert program == "decahertz", f"nothing runs this command: {command}"
    arguments = [str(ROOT / a) if a.startswith("examples/") else a for a in arguments]
    if arguments[0] in ("up", "stack"):
        arguments[0] = "check"
    done = run(*arguments, env=environment(folder))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "block",
    [b for b in blocks("python") if "127.0.0.1:8000" in b.text and "import " in b.text],
    ids=str,
)
def test_every_program_of_a_page_works_against_the_demo(block: Block, demo: RunningDecahertz) -> None:
    program = here(block.text, demo)
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if "async for" in program:  # it watches until it is stopped
        line = process.stdout.readline()
        process.terminate()
        process.communicate(timeout=10)
        assert line
    else:
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors


def test_the_position_of_the_first_example_has_a_value(demo: RunningDecahertz) -> None:
    (block,) = [block for block in blocks("python") if block.page == "README.md" and "Client(" in block.text]
    subprocess.run([sys.executable, "-c", here(block.text, demo)], cwd=ROOT, check=True, timeout=30)
    (position,) = demo.get("/api/v1/positions/BTC-USD?strategy=breakout")["items"]
    assert position["quantity"] > 0
    assert position["mark_source"] == "quote"
    assert position["unrealised_pnl"] is not None
