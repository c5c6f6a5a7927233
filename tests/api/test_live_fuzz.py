"""The server responds to arbitrary client messages by the protocol and goes on serving."""

from __future__ import annotations

import asyncio
import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from api.live.limits import HubLimits
from tests.api.helpers import Reader, Stack, reader

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
NEAR_TOPICS = st.lists(st.sampled_from(["a", "*", "**", "", "metrics", "a b", "é", "\x00"]), max_size=4).map(
    ":".join
)
NEAR_MESSAGES = st.fixed_dictionaries(
    {"type": st.sampled_from(["subscribe", "unsubscribe", "ping", "update", "connected", ""]) | VALUES},
    optional={"topics": st.lists(NEAR_TOPICS, max_size=4) | VALUES, "id": SCALARS, "more": VALUES},
)
TEXTS = st.text(max_size=200) | VALUES.map(json.dumps) | NEAR_MESSAGES.map(json.dumps)


def _fits(message: object) -> bool:
    try:
        msgspec.msgpack.encode(message)
    except OverflowError:
        return False
    return True


BYTES = st.binary(max_size=200) | NEAR_MESSAGES.filter(_fits).map(msgspec.msgpack.encode)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(TEXTS, BYTES), min_size=1, max_size=10), st.sampled_from(["json", "msgpack"]))
def test_any_input_is_answered_by_the_protocol(messages: list[str | bytes], codec: str) -> None:
    asyncio.run(_send_all(messages, codec))


async def _send_all(messages: list[str | bytes], codec: str) -> None:
    async with (
        Stack(limits=HubLimits(max_bad_messages=1000)).running() as stack,
        reader(stack, f"decahertz.v1.{codec}") as client,
    ):
        for message in messages:
            await client.socket.send(message)
        answers = await client.until_pong()
        assert {answer["type"] for answer in answers} <= {"error", "snapshot", "pong"}
        assert all(answer["text"] for answer in answers if answer["type"] == "error")
        stack.publish_cycle(1)
        await _still_served(stack, client)


async def _still_served(stack: Stack, client: Reader) -> None:
    await client.say(type="subscribe", topics=["metrics:probe:SIM:A"])
    await client.until_pong()
    stack.publish_cycle(2)
    heard = await client.until_pong()
    assert [message["data"]["ticks"] for message in heard] == [2]
