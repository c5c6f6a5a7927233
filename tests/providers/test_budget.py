"""Costs of calls: charged in a real PostgreSQL, before each call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from decahertz.clock import format_time
from providers.cached import Found
from providers.errors import BudgetExhaustedError
from storage.database import Database, DatabaseUnavailableError
from storage.settings import StorageSettings
from storage.write.provider_costs import KeyCosts
from tests.providers.world import World, ask


@pytest_asyncio.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    database = Database(migrated_url, StorageSettings())
    await database.open()
    yield database
    await database.close()


async def test_what_all_callers_spend_is_limited_until_the_next_day(world: World, database: Database) -> None:
    world.clock.step(3 * 3_600_000_000_000)
    gateway = await world.gateway(database=database, call_cost=2.5, budget_per_day=8.0)
    budget = gateway.provider("coinbase").upstream.budget
    for symbol, key in (("A-USD", "desk"), ("B-USD", "bot"), ("C-USD", "desk"), ("C-USD", "bot")):
        await ask(gateway, symbol, key=key)
    with pytest.raises(BudgetExhaustedError, match="the provider coinbase, 8 a day, is spent") as refused:
        await ask(gateway, "D-USD")
    error = refused.value
    assert error.reset_ns == budget.reset_ns
    assert f"resets at {format_time(budget.reset_ns)}" in str(error)
    assert error.retry_seconds == (budget.reset_ns - world.clock.time_ns()) / 1e9
    assert len(world.venue.calls) == 3
    costs = await budget.read()
    assert costs is not None
    assert (costs.cost, costs.calls) == (7.5, 3)
    assert costs.keys == [KeyCosts("desk", 5.0, 2), KeyCosts("bot", 2.5, 1)]

    world.pass_seconds(error.retry_seconds)
    assert budget.spent == 0.0
    assert (await ask(gateway, "D-USD")).found is Found.MISS


async def test_each_key_has_a_budget_of_its_own(world: World, database: Database) -> None:
    gateway = await world.gateway(database=database, key_budget_per_day=1.0)
    await ask(gateway, "A-USD", key="desk")
    with pytest.raises(BudgetExhaustedError, match="the key 'desk' with coinbase, 1 a day"):
        await ask(gateway, "B-USD", key="desk")
    await ask(gateway, "B-USD", key="bot")
    costs = await gateway.provider("coinbase").upstream.budget.read()
    assert costs is not None
    assert costs.cost == 2.0  # the refused call is charged to nobody


async def test_neither_a_restart_nor_a_second_recorder_lets_the_costs_exceed_the_limit(
    world: World, database: Database
) -> None:
    gateways = [await world.gateway(database=database, budget_per_day=10.0) for _ in range(2)]
    symbols = [f"S{number}-USD" for number in range(16)]
    requests = [ask(gateway, symbol) for symbol in symbols for gateway in gateways]
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert sum(isinstance(answer, BudgetExhaustedError) for answer in answers) == 22
    assert len(world.venue.calls) == 10
    restarted = await world.gateway(database=database, budget_per_day=10.0)
    with pytest.raises(BudgetExhaustedError):
        await ask(restarted)


async def test_a_retry_costs_as_much_as_a_call(world: World, database: Database) -> None:
    gateway = await world.gateway(database=database, budget_per_day=10.0, settings={"attempts": 3})
    world.venue.fail(500, 500)
    await ask(gateway)
    assert gateway.provider("coinbase").upstream.budget.spent == 3.0


async def test_what_cannot_be_charged_is_not_called_but_the_cache_serves(world: World) -> None:
    gateway = await world.gateway(budget_per_day=10.0)  # its database does not answer
    with pytest.raises(DatabaseUnavailableError):
        await ask(gateway)
    assert world.venue.calls == []
    assert gateway.provider("coinbase").upstream.breaker.failures == 0
