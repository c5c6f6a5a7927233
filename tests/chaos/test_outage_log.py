"""The log of an outage of the database: a line when it begins, a line when it is over."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from storage.postgres.embedded import Installation
from tests.chaos.world import LIMIT_SECONDS, World, live_through, world
from tests.pipeline.running import wait_until

pytestmark = pytest.mark.timeout(240)
_OTHERS = {"watchdog", "sampler"}
"""Alerts have lines of their own; so has a machine that is too busy to keep up."""
_LOOP = {"loop_blocked", "loop_recovered"}


def lines(chaos: World, begin: int) -> list[dict[str, Any]]:
    """The lines of the log from a place on that are about the database."""
    text = chaos.pipeline.log.read_text()[begin:]
    assert "Traceback" not in text
    found: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    return [one for one in found if one["part"] not in _OTHERS and one["event"] not in _LOOP]


def has_lines(chaos: World, begin: int, count: int) -> bool:
    return len(lines(chaos, begin)) >= count


def is_healthy(chaos: World) -> bool:
    try:
        health = chaos.pipeline.get("/api/v1/health")
    except (HTTPError, HTTPException):
        return False
    return all(part["health"] == "ok" for part in health["components"] if part["name"] not in _OTHERS)


def check_outage(chaos: World, stop: Callable[[], None]) -> None:
    """Stops the server, starts it again some seconds later, and reads what the recorder logged meanwhile."""
    wait_until("a healthy recorder", LIMIT_SECONDS, lambda: is_healthy(chaos))
    begin = len(chaos.pipeline.log.read_text())
    stop()
    wait_until("the loss", LIMIT_SECONDS, lambda: has_lines(chaos, begin, 1))
    live_through(6.0)  # every part tries again meanwhile
    with pytest.raises(HTTPError):
        chaos.pipeline.get("/api/v1/fills")
    chaos.postgres.start()
    wait_until("the end of the loss", LIMIT_SECONDS, lambda: has_lines(chaos, begin, 2))
    wait_until("a healthy recorder", LIMIT_SECONDS, lambda: is_healthy(chaos))
    chaos.wait_acknowledged()
    lost, recovered = lines(chaos, begin)
    assert (lost["event"], lost["level"]) == ("database_lost", "warning")
    assert "cannot use" in lost["error"]
    assert recovered["event"] == "database_recovered"
    assert recovered["seconds"] > 5


def test_an_outage_has_one_line_at_its_begin_and_one_at_its_end(
    installation: Installation, folder: Path
) -> None:
    with world(folder, installation) as chaos:
        chaos.start_client()
        chaos.wait_acknowledged()
        check_outage(chaos, chaos.postgres.stop)
        check_outage(chaos, chaos.postgres.kill)
