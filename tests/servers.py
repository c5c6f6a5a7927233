"""Programs of others that tests run against: Prometheus and its promtool, alertmanager, …"""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRE = "DECAHERTZ_TEST_REQUIRE_SERVERS"
"""Set to 1 where all these programs have to be there: what would be skipped then fails."""


def require(program: str) -> str:
    """The path of a program; without it the test is skipped, or fails where it may not be missing."""
    path = shutil.which(program)
    if path is None:
        reason = f"{program} is not on PATH (on Debian: apt-get install prometheus)"
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(f"{reason}, and {REQUIRE} is 1")
        pytest.skip(reason)
    return path
