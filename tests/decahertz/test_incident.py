"""Incidents are logged once when they begin and once when they end, and an outage once for all parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from decahertz.incident import Incident, Outage, OutageError

Logs = list[dict[str, object]]


@pytest.fixture
def logs() -> Iterator[Logs]:
    with capture_logs() as found:
        yield found  # type: ignore[misc]


def events(logs: Logs) -> list[object]:
    return [line["event"] for line in logs]


class World:
    """A service with an outage, and parts that use it."""

    def __init__(self) -> None:
        self.outage = Outage("database", structlog.get_logger())
        self.one, self.other = (Incident(name, structlog.get_logger()) for name in ("one", "other"))
        self.error = OutageError("it is away")
        self.error.outage = self.outage


def test_an_incident_is_logged_with_its_cause_and_its_end(logs: Logs) -> None:
    incident = Incident("reading", structlog.get_logger())
    error = ValueError("no number")
    for _ in range(3):
        incident.fail(0, error)
    assert (incident.active, incident.failures, incident.problem) == (True, 3, "no number")
    incident.recover()
    incident.recover()
    assert events(logs) == ["reading_failed", "reading_recovered"]
    assert logs[0]["exc_info"] is error
    assert logs[1]["failures"] == 3


def test_an_outage_is_one_incident_of_all_parts(logs: Logs) -> None:
    world = World()
    for _ in range(3):
        world.one.fail(0, world.error)
        world.other.fail(0, world.error)
    assert (world.one.active, world.one.problem, world.one.failures) == (True, "it is away", 3)
    world.one.recover()
    assert events(logs) == ["database_lost"]
    assert logs[0]["error"] == "it is away"
    assert "exc_info" not in logs[0]
    world.other.recover()
    assert events(logs) == ["database_lost", "database_recovered"]
    world.one.fail(0, world.error)  # the next one
    assert events(logs)[2:] == ["database_lost"]


def test_the_main_part_ends_the_outage_and_the_others_may_notice_later(logs: Logs) -> None:
    world = World()
    world.one.fail(0, world.error)
    world.outage.fail("main", world.error)
    world.outage.recover("main", is_main=True, seconds=3)
    world.one.fail(0, world.error)  # it had asked before the end
    assert world.one.active
    world.one.recover()
    assert events(logs) == ["database_lost", "database_recovered"]
    assert logs[1]["seconds"] == 3


def test_a_part_that_goes_on_failing_alone_is_told(logs: Logs) -> None:
    world = World()
    world.one.fail(0, world.error)
    world.outage.fail("main", world.error)
    world.outage.recover("main", is_main=True)
    for _ in range(3):
        world.one.fail(0, world.error)
    assert events(logs) == ["database_lost", "database_recovered", "database_lost"]
    world.one.recover()
    assert events(logs)[3:] == ["database_recovered"]


def test_an_outage_of_one_part_alone_has_its_line_and_no_traceback(logs: Logs) -> None:
    world = World()
    world.one.fail(0, OutageError("no right to read the table"))
    world.one.fail(0, OutageError("no right to read the table"))
    world.one.recover()
    assert events(logs) == ["one_failed", "one_recovered"]
    assert logs[0]["reason"] == "no right to read the table"
    assert logs[0]["exc_info"] is None


def test_another_error_during_an_outage_has_its_line(logs: Logs) -> None:
    world = World()
    world.one.fail(0, world.error)
    error = ValueError("a bug")
    world.one.fail(0, error)
    world.one.recover()
    assert events(logs) == ["database_lost", "one_failed", "one_recovered", "database_recovered"]
    assert logs[1]["exc_info"] is error
