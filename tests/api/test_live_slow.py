"""A slow reader hurts only itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.live.limits import HubLimits
from decahertz.bus import samples_topic
from decahertz.clock import CYCLE_NS
from decahertz.sample import SampleBatch
from tests.api.helpers import (
    DESK,
    START_NS,
    DeskSample,
    SlowReader,
    Stack,
    quote,
    reader,
    slow_reader,
    wait_for,
)

LIMITS = HubLimits(buffer_bytes=64 * 1024, max_queued_events=200)
NAMES = [f"{number:03}-{'x' * 100}" for number in range(200)]


async def fill_up(stack: Stack) -> int:
    """Publishes cycles until the reader counts as slow; the number of the last cycle."""
    number = 0
    while not any(client.slow for client in stack.clients()):
        number += 1
        stack.publish_cycle(number, NAMES)
        for _ in range(3):
            await asyncio.sleep(0)  # the hub's turn, and the transport's
        assert number < 10_000
    return number


async def last_states(slow: SlowReader, last_ns: int) -> tuple[dict[str, int], dict[str, int]]:
    """Reads until every topic has come with the last cycle: states and skipped states by topic."""
    sent: dict[str, int] = {}
    conflated: dict[str, int] = {}
    newest: dict[str, int] = {}
    async for message in slow.messages():
        topic = message["topic"]
        assert message["time_ns"] > newest.get(topic, 0)
        newest[topic] = message["time_ns"]
        sent[topic] = sent.get(topic, 0) + 1
        conflated[topic] = conflated.get(topic, 0) + message["conflated"]
        if len(newest) == len(NAMES) and set(newest.values()) == {last_ns}:
            break
    return sent, conflated


async def test_a_slow_reader_gets_the_newest_state_and_the_count_of_those_left_out() -> None:
    async with Stack(limits=LIMITS).running() as stack, slow_reader(stack, ["metrics:**"]) as slow:
        cycles = await fill_up(stack) + 50
        for number in range(cycles - 49, cycles + 1):
            stack.publish_cycle(number, NAMES)
        await wait_for(lambda: stack.clients()[0].conflated > 40 * len(NAMES), "states are conflated")
        before = stack.clients()[0]
        assert before.slow
        assert before.buffered_bytes < 10 * LIMITS.buffer_bytes
        sent, conflated = await last_states(slow, START_NS + cycles * CYCLE_NS)
        assert {sent[topic] + conflated[topic] for topic in sent} == {cycles}
        await wait_for(lambda: not stack.clients()[0].slow, "the reader has caught up")
        after = stack.clients()[0]
        assert after.updates == sum(sent.values())
        assert after.conflated == sum(conflated.values())
        assert stack.counted("decahertz_api_websocket_conflated_total") == after.conflated


async def test_the_others_get_every_state_meanwhile() -> None:
    async with Stack(limits=LIMITS).running() as stack, reader(stack, max_size=None) as other:
        await other.subscribe(f"metrics:probe:SIM:{NAMES[7]}")
        async with slow_reader(stack, ["metrics:**"]):
            cycles = await fill_up(stack) + 50
            for number in range(cycles - 49, cycles + 1):
                stack.publish_cycle(number, NAMES)
            heard = await other.until_pong()
            assert [message["data"]["ticks"] for message in heard] == list(range(1, cycles + 1))
            assert {message["conflated"] for message in heard} == {0}


async def test_a_reader_too_slow_for_events_is_closed_and_had_no_hole_before() -> None:
    async with Stack(limits=LIMITS).running() as stack, slow_reader(stack, ["**"]) as slow:
        number = 0
        while stack.clients():
            number += 1
            await stack.emit(*(quote("x" * 100) for _ in range(100)))
            for _ in range(3):
                await asyncio.sleep(0)
            assert number < 10_000
        sequences = [message["sequence"] async for message in slow.messages()]
        assert slow.close_code == 4008
        assert sequences == list(range(1, len(sequences) + 1))
        assert len(sequences) < 100 * number
        await wait_for(
            lambda: stack.counted("decahertz_api_websocket_closed_total", reason="slow_consumer") == 1,
            "it is counted",
        )


async def test_events_that_waited_for_a_slow_reader_come_in_order_once_it_reads() -> None:
    async with Stack(limits=LIMITS).running() as stack, slow_reader(stack, ["**"]) as slow:
        await fill_up(stack)
        await stack.emit(*(quote() for _ in range(150)))
        await wait_for(lambda: stack.clients()[0]._queued_events == 150, "the events wait")
        sequences: list[int] = []
        async for message in slow.messages():
            if message["type"] == "event":
                sequences.append(message["sequence"])
                if len(sequences) == 150:
                    break
        assert sequences == list(range(1, 151))
        await wait_for(lambda: not stack.clients()[0].slow, "the reader has caught up")
        assert stack.clients()[0].events == 150


async def test_a_slow_reader_is_not_listened_to() -> None:
    """Else it could have snapshots written into its buffer without end."""
    async with Stack(limits=LIMITS).running() as stack, slow_reader(stack, ["metrics:**"]) as slow:
        cycles = await fill_up(stack)
        received = stack.clients()[0].received
        for number in range(100):
            slow.say(type="subscribe", topics=[f"quotes:{number}"])
            stack.publish_cycle(cycles + 1 + number, NAMES)
        await wait_for(lambda: stack.clients()[0].conflated >= 99 * len(NAMES), "the cycles are conflated")
        assert stack.clients()[0].received == received
        assert stack.clients()[0].buffered_bytes < 10 * LIMITS.buffer_bytes
        await last_states(slow, START_NS + (cycles + 100) * CYCLE_NS)
        snapshots = [message async for message in first(slow, 100)]
        assert {message["type"] for message in snapshots} == {"snapshot"}


async def first(slow: SlowReader, count: int) -> AsyncIterator[dict[str, Any]]:
    """The next ``count`` messages."""
    async for message in slow.messages():
        yield message
        count -= 1
        if not count:
            return


async def test_a_reader_that_reads_slowly_is_not_taken_for_dead() -> None:
    limits = HubLimits(buffer_bytes=64 * 1024, heartbeat_seconds=0.3, dead_after_seconds=0.6)
    async with Stack(limits=limits).running() as stack, slow_reader(stack, ["metrics:**"]) as slow:
        number = await fill_up(stack)
        until_ns = stack.clock.monotonic_ns() + 1_800_000_000
        was_slow: list[bool] = []
        while stack.clock.monotonic_ns() < until_ns:
            number += 1
            stack.publish_cycle(number, NAMES)  # more than it reads: it is slow, except for short moments
            for _ in range(20):
                await slow.hear()
            (client,) = stack.clients()
            was_slow.append(client.slow)
            await asyncio.sleep(0.005)
        assert was_slow.count(True) > len(was_slow) / 2


async def test_a_slow_reader_whose_state_cannot_be_encoded_is_closed() -> None:
    async with Stack(limits=LIMITS).running() as stack, slow_reader(stack, ["metrics:**"]) as slow:
        await fill_up(stack)
        odd: Any = object()
        sample = DeskSample(strategy="s", pnl=odd)
        stack.bus.publish(samples_topic("desk"), SampleBatch(DESK, START_NS, (sample,)))
        async for _ in slow.messages():
            pass
        assert slow.close_code == 1011
        await wait_for(lambda: not stack.clients(), "the client is forgotten")


@pytest.mark.parametrize("waits", [True, False])
async def test_stopping_does_not_wait_for_a_reader_that_does_not_read(*, waits: bool) -> None:
    limits = HubLimits(buffer_bytes=64 * 1024, close_seconds=0.2)
    stack = Stack(limits=limits)
    async with stack.running(), slow_reader(stack, ["metrics:**"]):
        if waits:
            await fill_up(stack)
        started_ns = stack.clock.monotonic_ns()
        await stack.api.stop()
        assert stack.clock.monotonic_ns() - started_ns < 4_000_000_000
        await wait_for(lambda: not stack.clients(), "nobody is left")
