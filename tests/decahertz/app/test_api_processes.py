from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from api.processes.link import ProcessLink
from api.processes.messages import Report
from decahertz.app.api_processes import _Slot
from decahertz.health import Health


async def test_failed_tasks_of_an_api_process_are_told_in_the_health_of_the_recorder() -> None:
    nothing: Any = SimpleNamespace()
    slot = _Slot(1)
    link = slot.link = ProcessLink(nothing, nothing, bytes)
    assert slot.status().detail == "is starting"
    link.listening.set()
    link.report = Report([], [])
    assert slot.status().health is Health.OK
    link.report = Report([], [], "audit failed: ValueError: no")
    assert (slot.status().health, slot.status().detail) == (Health.DEGRADED, "audit failed: ValueError: no")
