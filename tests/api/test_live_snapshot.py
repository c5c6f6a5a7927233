"""A snapshot and the updates after it make one story, without a hole and without a repetition."""

from __future__ import annotations

import asyncio
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.helpers import Reader, Stack, reader

CYCLES = 300


async def follow(stack: Stack, pattern: str, seed: int) -> dict[str, list[int]]:
    """Subscribes at some moment; the counters heard for each topic, until the last cycle."""
    generator = random.Random(seed)
    heard: dict[str, list[int]] = {}
    async with reader(stack, "decahertz.v1.msgpack" if seed % 2 else None) as client:
        for _ in range(generator.randrange(40)):
            await asyncio.sleep(0)
        for item in await client.subscribe(pattern):
            heard.setdefault(item["topic"], []).append(item["data"]["ticks"])
        while not heard or {counters[-1] for counters in heard.values()} != {CYCLES}:
            message = await client.hear()
            assert message["type"] == "update"
            heard.setdefault(message["topic"], []).append(message["data"]["ticks"])
    return heard


async def test_readers_that_come_at_any_moment_miss_nothing_and_hear_nothing_twice(stack: Stack) -> None:
    async def publish() -> None:
        for number in range(1, CYCLES + 1):
            stack.publish_cycle(number, ["A", "B", "C"])
            # Sometimes several ticks fall between two turns of the event loop, sometimes turns pass by.
            for _ in range(number % 4):
                await asyncio.sleep(0)

    patterns = ["metrics:**", "metrics:probe:SIM:A", "metrics:probe:*:B", "**"]
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(publish())
        readers = [group.create_task(follow(stack, patterns[n % len(patterns)], n)) for n in range(24)]
    for task in readers:
        for counters in task.result().values():
            assert counters == list(range(counters[0], CYCLES + 1))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            ["cycle", "cycle cycle", "subscribe A", "subscribe *", "unsubscribe A", "unsubscribe *"]
        ),
        max_size=25,
    )
)
def test_each_state_arrives_once_while_subscriptions_change(steps: list[str]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[str]) -> None:
    patterns = {"A": "metrics:probe:SIM:A", "*": "metrics:probe:**"}
    expected: list[tuple[str, int]] = []
    heard: list[tuple[str, int]] = []
    held: set[str] = set()
    number = 0
    async with Stack().running() as stack, reader(stack) as client:
        for step in steps:
            verb, _, which = step.partition(" ")
            matched = {"A", "B"} if "*" in held else held & {"A"}
            if verb == "cycle":
                for _ in step.split():
                    number += 1
                    stack.publish_cycle(number, ["A", "B"])
                    expected += [(name, number) for name in sorted(matched)]
            elif verb == "subscribe":
                await client.say(type="subscribe", topics=[patterns[which]])
                new = ({"A", "B"} if which == "*" else {"A"}) - matched if which not in held else set()
                expected += [(name, number) for name in sorted(new) if number]
                held.add(which)
                await _drain(client, heard)
            else:
                await client.say(type="unsubscribe", topics=[patterns[which]])
                held.discard(which)
                await _drain(client, heard)
        await _drain(client, heard)
    assert sorted(heard) == sorted(expected)


async def _drain(client: Reader, heard: list[tuple[str, int]]) -> None:
    for message in await client.until_pong():
        states = message["items"] if message["type"] == "snapshot" else [message]
        heard += [(state["data"]["instrument"], state["data"]["ticks"]) for state in states]
