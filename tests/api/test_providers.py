"""Providers over HTTP: the normal form, problems, warming."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest_asyncio

from decahertz.clock import SystemClock
from decahertz.provider import Provider
from providers.coinbase import CoinbaseOptions, CoinbaseProvider
from providers.replay import ReplayOptions, ReplayProvider
from providers.settings import ProvidersSettings
from storage.database import Database
from storage.settings import StorageSettings
from tests.api.checked import Caller
from tests.api.helpers import NOWHERE, Stack, wait_for
from tests.providers.venue import Venue, venue

DATA = "data/coinbase/BTC-USD"


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Venue]:
    async with venue() as running:
        yield running


@asynccontextmanager
async def gateway(
    upstream: Venue, *, database: Database | None = None, **options: float
) -> AsyncIterator[Caller]:
    """Asks an API with the provider ``coinbase``, whose breaker opens at once."""
    chosen = CoinbaseOptions(url=upstream.url, **options)  # type: ignore[arg-type]
    providers: list[Provider] = [CoinbaseProvider(SystemClock(), chosen)]
    settings = ProvidersSettings(
        attempts=1, breaker_failures=2, stale_seconds=0.0, stale_if_error_seconds=0.0
    )
    stack = Stack(
        database=database or Database(NOWHERE, StorageSettings()),
        providers=providers,
        providers_settings=settings,
    )
    async with stack.running(), Caller(stack.api.url) as caller:
        yield caller


async def test_data_comes_in_one_form_with_decimal_texts(upstream: Venue) -> None:
    async with gateway(upstream, fresh_seconds=60.0) as caller:
        body = (await caller.get(f"{DATA}?timeout=2s&priority=background")).body
        assert (body["price"], body["bid"], body["volume_24h"]) == (
            "50000.12",
            "50000.10",
            "1234.00000001",
        )
        assert (body["provider"], body["symbol"], body["currency"]) == ("coinbase", "BTC-USD", "USD")
        assert (body["found"], body["quality"], body["priority"]) == ("miss", "good", "background")
        assert (await caller.get(DATA)).body["found"] == "hit"
        status = (await caller.get("providers/coinbase")).body
        assert status["cache"]["answers"] == {"miss": 1, "hit": 1}
        assert (status["calls"], status["breaker"]["state"]) == ({"ok": 1}, "closed")
        assert status["budget"]["keys"] is None
        names = [one["name"] for one in (await caller.get("providers")).body["items"]]
        assert names == ["recorder", "coinbase"]


async def test_a_crossed_book_is_told(upstream: Venue) -> None:
    upstream.ticker = {"bid": "50001"}
    async with gateway(upstream) as caller:
        body = (await caller.get(DATA)).body
        assert (body["quality"], body["detail"]) == ("crossed", "the bid is above the ask")


async def test_each_problem_has_its_status(upstream: Venue) -> None:
    async with gateway(upstream, fresh_seconds=0.0) as caller:
        (await caller.get("providers/nobody")).problem("not-found")
        (await caller.get("data/nobody/BTC-USD")).problem("not-found")
        (await caller.get("jobs/j-0")).problem("not-found")
        (await caller.get(f"{DATA}?timeout=61s")).problem("invalid-parameter")
        (await caller.get(f"{DATA}?timeout=soon")).problem("invalid-parameter")
        problem = (await caller.get(f"{DATA}?timeout=2")).problem("invalid-parameter")  # of what?
        assert "2s" in problem["errors"][0]["reason"]
        problem = (await caller.get("data/recorder/EUR/USD")).problem("provider-failed")
        assert "market" in problem["detail"]
        (error,) = (await caller.get("data/coinbase/EUR/USD")).problem("unknown-name")["errors"]
        assert (error["field"], "'EUR/USD'" in error["reason"]) == ("symbol", True)
        upstream.is_open.clear()
        (await caller.get(f"{DATA}?timeout=10ms")).problem("provider-timeout")
        await wait_for(lambda: len(upstream.calls) == 1, "the call goes on")
        upstream.is_open.set()
        while (await caller.get("providers/coinbase")).body["cache"]["flights"]:
            pass
        upstream.fail(500, 500)
        for _ in range(2):
            (await caller.get("data/coinbase/A-USD")).problem("provider-failed")
        refused = await caller.get("data/coinbase/A-USD")
        assert "circuit breaker is open" in refused.problem("provider-unavailable")["detail"]
        assert 2 <= int(refused.headers["Retry-After"]) <= 10


async def test_what_a_key_spends_is_limited_and_told(upstream: Venue, stored: Stack) -> None:
    async with gateway(upstream, database=stored.database, budget_per_day=1.0, fresh_seconds=0.0) as caller:
        await caller.get(DATA)
        refused = await caller.get(DATA)
        assert "resets at 20" in refused.problem("budget-exhausted")["detail"]
        assert 1 <= int(refused.headers["Retry-After"]) <= 86_400
        budget = (await caller.get("providers/coinbase")).body["budget"]
        assert (budget["spent"], budget["keys"]) == (1.0, [{"key": "local", "cost": 1.0, "calls": 1}])


async def test_a_call_that_the_rate_limit_refuses_costs_nothing(upstream: Venue, stored: Stack) -> None:
    async with gateway(upstream, database=stored.database, budget_per_day=2.0, fresh_seconds=0.0) as caller:
        upstream.fail(429, **{"Retry-After": "30"})
        for _ in range(3):
            refused = (await caller.get(DATA)).problem("provider-unavailable")
        assert "asks to pause for 30 s more" in refused["detail"]
        assert (await caller.get("providers/coinbase")).body["budget"]["spent"] == 1.0


async def test_a_provider_that_could_not_be_started_says_why(tmp_path: Path) -> None:
    file = tmp_path / "recording"
    file.write_text("{}")
    stack = Stack(providers=[ReplayProvider(SystemClock(), ReplayOptions(file=file))])
    async with stack.running(), Caller(stack.api.url) as caller:
        problem = (await caller.get("data/replay/A")).problem("provider-unavailable")
        assert f"replay was not started: {file}, line 1" in problem["detail"]


async def test_warming_answers_at_once_with_a_job(upstream: Venue) -> None:
    async with gateway(upstream, fresh_seconds=60.0) as caller:
        upstream.is_open.clear()
        body = {"provider": "coinbase", "symbols": ["BTC-USD", "nonsense", "BTC-USD"]}
        answer = await caller.post("background/warm-cache", json=body)
        job = answer.body
        assert (answer.status, job["state"], job["items"]) == (202, "running", 2)
        upstream.is_open.set()
        await wait_for(lambda: len(upstream.calls) == 1, "the call is made")
        while job["state"] == "running":
            job = (await caller.get(f"jobs/{job['job_id']}")).body
        assert (job["state"], job["done"], job["failed"]) == ("done", 1, 1)
        assert (await caller.get(DATA)).body["found"] == "hit"
        body["provider"] = "nobody"
        (await caller.post("background/warm-cache", json=body)).problem("not-found")
        for symbols in ([], ["x"] * 1001, [""]):
            answer = await caller.post("background/warm-cache", json={**body, "symbols": symbols})
            answer.problem("invalid-body")
