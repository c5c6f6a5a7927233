"""Limits the imports of a program start: each module costs every start time, and the recorder memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

_CODE = """
import sys
import decahertz.__main__
decahertz.__main__._import_structlog()
import decahertz.app.cli
decahertz.app.cli.build_app({command!r})
{more}
print([name for name in {unwanted} if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("command", "more", "unwanted"),
    [
        (["export"], "", ["aiohttp", "asyncpg", "psycopg", "rich", "uvloop"]),
        (
            ["up", "--feeds-enabled", "synthetic", "--api-port=0", "--demo"],
            "import decahertz.app.up",
            ["psycopg", "rich", "redis", "pyarrow", "collectors.feeds.kraken.feed"],
        ),
    ],
)
def test_what_is_not_needed_is_not_imported(command: list[str], more: str, unwanted: list[str]) -> None:
    code = _CODE.format(command=command, more=more, unwanted=unwanted)
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout == "[]\n"
