"""The reader's live iterator: states, events, lost connections, refused topics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from api.live.limits import HubLimits
from api.live.messages import CloseCode
from decahertz_client import (
    Event,
    Gap,
    Live,
    LiveMessage,
    NoAnswerError,
    ProblemError,
    Reader,
    ReaderError,
    State,
)
from tests.api.helpers import START_NS, Stack, quote, wait_for

FOREVER = 1e10


@asynccontextmanager
async def live_reader(stack: Stack, *topics: str, max_hz: float | None = None) -> AsyncIterator[Live]:
    """A live iterator. It is closed in a thread, because its server runs on this event loop."""
    with Reader(stack.api.url) as reader:
        live = reader.live(*topics, max_hz=max_hz)
        try:
            yield live
        finally:
            await asyncio.to_thread(live.close)


async def following(live: Live) -> LiveMessage:
    """The next message, waited for in a thread."""
    async with asyncio.timeout(15):
        return await asyncio.to_thread(next, live)


async def test_it_yields_the_newest_state_first_then_states_and_events(stack: Stack) -> None:
    stack.publish_cycle(7)
    async with live_reader(stack, "metrics:probe:**", "quotes:*") as live:
        first = await following(live)
        stack.publish_cycle(8)
        second = await following(live)
        await stack.emit(quote("EUR/USD", 1.5))
        third = await following(live)
    assert isinstance(first, State)
    assert isinstance(second, State)
    assert (second.topic, second.time_ns - first.time_ns, second.conflated) == (first.topic, 10**8, 0)
    assert isinstance(third, Event)
    assert (third.topic, third.time_ns, third.data["bid"]) == ("quotes:EUR/USD", START_NS, 1.5)


async def cut_off(stack: Stack) -> None:
    """Ends all connections as a server that stops does, and waits until they are gone."""
    for client in stack.clients():
        stack.api.hub.disconnect(client, CloseCode.GOING_AWAY)
    await wait_for(lambda: not stack.clients(), "the connection to be lost")


async def test_a_lost_connection_is_resumed_without_a_gap_and_without_a_double() -> None:
    async with Stack(limits=HubLimits(resume_seconds=FOREVER)).running() as stack:
        stack.publish_cycle(1)
        async with live_reader(stack, "metrics:probe:**", "quotes:*", max_hz=5) as live:
            assert isinstance(await following(live), State)
            await stack.emit(quote("A", 1.0))
            found = [await following(live)]
            for start in (2.0, 5.0):
                waiting = asyncio.create_task(following(live))
                await cut_off(stack)
                await stack.emit(*(quote("A", start + n) for n in range(3)))
                found += [await waiting, await following(live), await following(live)]
                assert isinstance(await following(live), State), "the snapshot comes after what was missed"
            await stack.emit(quote("A", 8.0))
            found.append(await following(live))
    assert [each.data["bid"] for each in found if isinstance(each, Event)] == [float(n) for n in range(1, 9)]


async def test_a_connection_that_cannot_be_resumed_goes_on_after_a_gap() -> None:
    async with Stack(limits=HubLimits(resume_seconds=0.001)).running() as stack:
        stack.publish_cycle(1)
        async with live_reader(stack, "metrics:probe:**", "quotes:*") as live:
            assert isinstance(await following(live), State)
            await stack.emit(quote("A", 1.5))
            assert isinstance(await following(live), Event)
            waiting = asyncio.create_task(following(live))
            await cut_off(stack)
            gap, state = await waiting, await following(live)
            assert isinstance(gap, Gap)
            assert (gap.after_ns, gap.reason.partition(":")[0]) == (START_NS, "cannot_resume")
            assert isinstance(state, State)
            await asyncio.to_thread(live.close)
            assert list(live) == []


async def test_the_same_in_asyncio() -> None:
    async with asyncio.timeout(20), Stack(limits=HubLimits(resume_seconds=FOREVER)).running() as stack:
        live = Reader(stack.api.url).live_async("metrics:probe:**", "quotes:*")
        stack.publish_cycle(1)
        assert isinstance(await anext(live), State)
        waiting = asyncio.ensure_future(anext(live))
        await cut_off(stack)
        await stack.emit(quote("A", 2.5))
        event = await waiting
        assert isinstance(event, Event)
        assert event.data["bid"] == 2.5
        await live.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_states_are_limited_to_the_rate_that_was_asked_for_and_the_skipped_ones_counted(
    stack: Stack,
) -> None:
    stack.publish_cycle(0)
    async with live_reader(stack, "metrics:probe:**", max_hz=1) as live:
        await following(live)
        for number in range(1, 21):
            stack.publish_cycle(number)
        states: list[State] = []
        while not states or states[-1].data["ticks"] < 20:
            state = await following(live)
            assert isinstance(state, State)
            states.append(state)
    assert len(states) + sum(state.conflated for state in states) == 20
    assert len(states) < 20


async def test_a_topic_that_is_none_is_refused_with_the_reason(stack: Stack) -> None:
    refused = pytest.raises(ReaderError, match=r"bad_topic: 'quo\*'")
    async with live_reader(stack, "quo*") as live:
        with refused:
            await following(live)
    with pytest.raises(ValueError, match="needs a topic"):
        Reader(stack.api.url).live()


async def test_a_server_that_is_away_at_the_start_or_refuses_the_handshake_is_an_error(stack: Stack) -> None:
    with pytest.raises(NoAnswerError, match=r"no connection to ws://127\.0\.0\.1:9/ws"):
        await following(Reader("http://127.0.0.1:9").live("fills"))
    with pytest.raises(ProblemError) as raised:
        await following(Reader(f"{stack.api.url}/elsewhere").live("fills"))
    assert raised.value.kind == "not-found"


async def test_a_reader_that_is_interrupted_leaves_no_client_behind(stack: Stack) -> None:
    stack.publish_cycle(1)
    async with live_reader(stack, "metrics:**") as live:
        await following(live)
        assert len(stack.clients()) == 1
    await wait_for(lambda: not stack.clients(), "the client to be gone")
