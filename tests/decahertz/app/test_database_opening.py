"""The steps that open the database: which failures end the start, and which are waited out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from decahertz.app.database_opening import DatabaseOpening, Step
from decahertz.clock import SystemClock
from decahertz.health import Health
from storage.database import Database, DatabaseTooOldError, DatabaseUnavailableError
from storage.settings import StorageSettings
from storage.write.lease import LeaseTakenError

AWAY = DatabaseUnavailableError("connection refused")
TOO_OLD = DatabaseTooOldError("PostgreSQL 14 is too old: 15 or newer is required")
TAKEN = LeaseTakenError("recorder 'desk' is already running on host other")


class Steps:
    """Steps that fail a given number of times, and their order."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def step(self, name: str, *errors: Exception) -> Step:
        left = list(errors)

        async def take() -> None:
            if left:
                raise left.pop(0)
            self.taken.append(name)

        return Step(name, take)


def opening(*steps: Step, wait: bool = False, seconds: float = 5.0) -> DatabaseOpening:
    settings = StorageSettings(start_timeout_seconds=seconds)
    database = Database("postgresql://nobody@127.0.0.1:1/none", settings)
    return DatabaseOpening(database, SystemClock(), steps, wait=wait)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.01)


async def test_with_a_database_all_steps_are_taken_in_order() -> None:
    steps = Steps()
    one = opening(steps.step("server"), steps.step("lease"))
    assert await one.start()
    await one.finish([steps.step("writer")])
    assert steps.taken == ["server", "lease", "writer"]
    assert one.status().health is Health.OK
    await one.stop()


async def test_a_database_that_is_away_is_waited_for_and_the_reason_is_told() -> None:
    steps = Steps()
    one = opening(steps.step("server"), steps.step("lease", AWAY, AWAY))
    assert not await one.start()
    status = one.status()
    assert status.health is Health.DEGRADED
    assert status.detail.endswith("recorded: lease: connection refused")
    await one.finish([steps.step("history", AWAY), steps.step("writer")])
    await until(lambda: one.status().health is Health.OK)
    assert steps.taken == ["server", "lease", "history", "writer"]
    await one.stop()


async def test_a_last_step_that_fails_is_told_too() -> None:
    steps = Steps()
    one = opening(steps.step("server"))
    assert await one.start()
    assert one.status().health is Health.OK
    gate = asyncio.Event()
    finishing = asyncio.create_task(one.finish([steps.step("history", AWAY), Step("writer", gate.wait)]))
    await until(lambda: "writer for 0 s" in one.status().detail)
    assert one.status().health is Health.DEGRADED
    gate.set()
    await finishing
    assert one.status().health is Health.OK
    await one.stop()


async def test_a_slow_step_does_not_hold_the_start_up() -> None:
    gate, held = asyncio.Event(), asyncio.Event()
    one = opening(Steps().step("connecting"), Step("migrating", gate.wait), seconds=0.05)
    assert not await one.start()
    status = one.status()
    assert status.health is Health.DEGRADED
    assert status.detail == "not open yet, the spool keeps what is recorded: migrating for 0 s"
    await one.finish([Step("restoring", held.wait)])
    gate.set()
    await until(lambda: "restoring for 0 s" in one.status().detail)
    held.set()
    await until(lambda: one.status().health is Health.OK)
    await one.stop()


@pytest.mark.parametrize("error", [TOO_OLD, TAKEN])
async def test_an_unusable_database_and_a_taken_name_end_the_start(error: Exception) -> None:
    one = opening(Steps().step("server", error))
    with pytest.raises(type(error), match=str(error)):
        await one.start()
    await one.stop()


async def test_a_database_that_proves_unusable_later_fails_in_health_until_it_is_usable() -> None:
    steps = Steps()
    one = opening(steps.step("server", AWAY, TOO_OLD))
    assert not await one.start()
    await until(lambda: one.status().health is Health.FAILED)
    assert "PostgreSQL 14 is too old" in one.status().detail
    await one.finish([])
    await until(lambda: one.status().health is Health.OK)
    await one.stop()


async def test_a_name_that_proves_taken_later_ends_the_process() -> None:
    one = opening(Steps().step("lease", AWAY, TAKEN))
    assert not await one.start()
    with pytest.raises(LeaseTakenError, match="already running"):
        await one.refused()
    assert one.status().health is Health.FAILED
    await one.stop()


async def test_a_standby_waits_for_the_database() -> None:
    steps = Steps()
    one = opening(steps.step("server", AWAY, AWAY), wait=True, seconds=0.01)
    assert await one.start()
    assert steps.taken == ["server"]
    await one.stop()
