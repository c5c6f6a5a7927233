"""Answers to requests: from the cache, of a call, or an error. A venue on this machine is asked."""

from __future__ import annotations

import asyncio

import pytest

from decahertz.event import InstrumentKind
from decahertz.provider import (
    InvalidAnswerError,
    UnknownSymbolError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from providers.cached import Found
from providers.errors import LateError
from providers.scheduler import CallPriority
from tests.api.helpers import wait_for
from tests.providers.venue import answer
from tests.providers.world import SYMBOL, World, ask


async def test_an_answer_is_in_the_normal_form_with_decimals_as_they_came(world: World) -> None:
    gateway = await world.gateway()
    found = await ask(gateway)
    data = found.data
    assert (data.symbol, data.exchange, data.currency, data.kind) == (
        SYMBOL,
        "coinbase",
        "USD",
        InstrumentKind.SPOT,
    )
    assert (data.price, data.bid, data.ask) == ("50000.12", "50000.10", "50000.15")
    assert data.volume_24h == "1234.00000001"
    assert data.source == f"{world.venue.url}/products/BTC-USD/ticker"
    assert data.time_ns == world.clock.time_ns() == found.received_ns
    assert found.found is Found.MISS


async def test_a_thousand_requests_at_the_same_time_make_one_call(world: World) -> None:
    gateway = await world.gateway()
    world.venue.is_open.clear()
    requests = [asyncio.create_task(ask(gateway)) for _ in range(1000)]
    await wait_for(lambda: world.venue.calls, "the venue is called")
    assert gateway.provider("coinbase").flights == 1
    world.venue.is_open.set()
    answers = await asyncio.gather(*requests)
    assert len(world.venue.calls) == 1
    assert {one.data.price for one in answers} == {"50000.12"}
    assert gateway.provider("coinbase").found == {"miss": 1, "collapsed": 999}


async def test_a_fresh_answer_needs_no_call_and_a_stale_one_is_served_while_it_is_renewed(
    world: World,
) -> None:
    gateway = await world.gateway()
    await ask(gateway)
    world.pass_seconds(9.9)
    hit = await ask(gateway)
    assert (hit.found, hit.age_ns, len(world.venue.calls)) == (Found.HIT, 9_900_000_000, 1)
    world.pass_seconds(0.2)
    world.venue.is_open.clear()
    world.venue.ticker["price"] = "51000"
    for _ in range(3):  # nobody waits for the venue
        stale = await ask(gateway)
        assert (stale.found, stale.data.price) == (Found.STALE, "50000.12")
    world.venue.is_open.set()
    await wait_for(lambda: not gateway.provider("coinbase").flights, "it is renewed")
    renewed = await ask(gateway)
    assert (renewed.found, renewed.data.price, len(world.venue.calls)) == (Found.HIT, "51000", 2)


async def test_an_expired_answer_is_served_only_when_there_is_no_new_one_and_then_no_more(
    world: World,
) -> None:
    gateway = await world.gateway(settings={"stale_seconds": 5.0, "stale_if_error_seconds": 60.0})
    await ask(gateway)
    world.pass_seconds(16)
    world.venue.fail(500)
    kept = await ask(gateway)
    assert (kept.found, kept.age_ns) == (Found.STALE_IF_ERROR, 16_000_000_000)
    assert "answers 500" in kept.reason
    assert (await ask(gateway)).found is Found.MISS
    world.pass_seconds(75.1)
    world.venue.fail(500)
    with pytest.raises(UpstreamUnavailableError, match="answers 500"):
        await ask(gateway)
    assert gateway.provider("coinbase").failed == 1


async def test_the_cache_is_bounded_and_keeps_what_was_used_last(world: World) -> None:
    gateway = await world.gateway(settings={"cache_entries": 2})
    for symbol in ("A-USD", "B-USD", "A-USD", "C-USD", "A-USD"):
        await ask(gateway, symbol)
    assert gateway.provider("coinbase").entries == 2
    assert len(world.venue.calls) == 3
    await ask(gateway, "B-USD")
    assert len(world.venue.calls) == 4


async def test_an_unknown_symbol_is_remembered_and_an_impossible_one_makes_no_call(world: World) -> None:
    gateway = await world.gateway()
    world.venue.fail(404)
    for _ in range(3):
        with pytest.raises(UnknownSymbolError, match="answers 404"):
            await ask(gateway)
    for symbol in ("../orders", "btc-usd", "BTC-USD?x=1", ""):
        with pytest.raises(UnknownSymbolError, match="not a symbol of coinbase"):
            await ask(gateway, symbol)
    assert len(world.venue.calls) == 1
    world.pass_seconds(60)
    assert (await ask(gateway)).found is Found.MISS


@pytest.mark.parametrize(
    ("ticker", "reason"),
    [
        ({"price": "-1"}, "not above zero"),
        ({"volume": "-3"}, "a size is negative"),
        ({"price": "1e40"}, "more than 30 digits"),
        ({"price": "NaN"}, "not a finite number"),
        ({"price": "many"}, "price"),
        ({"price": None}, "price"),
        ({"time": "yesterday"}, "RFC 3339"),
        ({"time": "2031-01-01T00:00:00Z"}, "in the future"),
    ],
)
async def test_a_lie_reaches_nobody_and_is_not_kept(
    world: World, ticker: dict[str, str], reason: str
) -> None:
    gateway = await world.gateway()
    world.venue.ticker = ticker
    with pytest.raises(InvalidAnswerError, match=reason):
        await ask(gateway)
    world.venue.ticker = {}
    assert (await ask(gateway)).found is Found.MISS


async def test_an_answer_that_is_no_json_too_large_or_elsewhere_is_refused(world: World) -> None:
    gateway = await world.gateway()
    for body in (b"<html>maintenance</html>", b"", b"[]", b'{"price": "' + b"1" * 2**20 + b'"}'):
        world.venue.answers.append(answer(body=body))
        with pytest.raises(InvalidAnswerError):
            await ask(gateway)
    elsewhere = f"{world.venue.url}/stolen"
    world.venue.answers.append(answer(302, headers={"Location": elsewhere}))
    with pytest.raises(Exception, match="answers 302"):
        await ask(gateway)
    assert "/stolen" not in world.venue.calls


async def test_a_request_waits_only_as_long_as_it_says_and_the_call_goes_on(world: World) -> None:
    gateway = await world.gateway()
    world.venue.is_open.clear()
    with pytest.raises(LateError, match=r"no answer within 0\.01 s"):
        await ask(gateway, timeout_seconds=0.01)
    world.venue.is_open.set()
    await wait_for(lambda: not gateway.provider("coinbase").flights, "the call ends")
    assert (await ask(gateway)).found is Found.HIT


async def test_a_call_that_takes_too_long_is_ended(world: World) -> None:
    gateway = await world.gateway(settings={"timeout_seconds": 0.05})
    world.venue.is_open.clear()
    with pytest.raises(UpstreamTimeoutError, match=r"no answer within 0\.05 s"):
        await ask(gateway)
    assert gateway.provider("coinbase").upstream.outcomes == {"timeout": 1}


async def test_a_venue_that_is_away_is_named_without_the_parameters_of_the_url(world: World) -> None:
    gateway = await world.gateway(url="http://127.0.0.1:1")
    with pytest.raises(UpstreamUnavailableError, match=r"^127\.0\.0\.1:1: ClientConnectorError"):
        await ask(gateway)


async def test_a_request_that_somebody_waits_for_passes_the_background(world: World) -> None:
    gateway = await world.gateway(settings={"max_calls": 1})
    world.venue.is_open.clear()
    symbols = ("A-USD", "B-USD", "C-USD")
    requests = [
        asyncio.create_task(ask(gateway, symbol, priority=CallPriority.BACKGROUND)) for symbol in symbols
    ]
    scheduler = gateway.provider("coinbase").upstream.scheduler
    await wait_for(lambda: scheduler.waiting(CallPriority.BACKGROUND) == 2, "two calls wait")
    requests.append(asyncio.create_task(ask(gateway, "C-USD")))  # the same call, but somebody waits now
    await wait_for(lambda: scheduler.waiting(CallPriority.INTERACTIVE) == 1, "it is promoted")
    world.venue.is_open.set()
    await asyncio.gather(*requests)
    assert [path.split("/")[2] for path in world.venue.calls] == ["A-USD", "C-USD", "B-USD"]
