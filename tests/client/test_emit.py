"""Events arrive as emitted: every type, every kind of value, in order."""

from __future__ import annotations

import asyncio
import enum
import logging
import threading
import time
from decimal import Decimal
from inspect import signature
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from decahertz.event import (
    EVENT_TYPES,
    ConnectionState,
    Direction,
    Event,
    Fill,
    LogLevel,
    OrderState,
    PositionSource,
    Side,
)
from decahertz_client import Client
from tests.client_server import Recorder, orders_by_strategy
from tests.event_examples import type_name

FILL: dict[str, Any] = {
    "strategy": "arb",
    "venue": "kraken",
    "instrument": "BTC/USD",
    "order_id": "17",
    "fill_id": "17-1",
    "side": "buy",
    "price": 67_321.5,
    "quantity": 0.25,
    "fee": 1.25,
    "liquidity": "taker",
    "risk": 12.5,
    "time_ns": 1_700_000_000_000_000_001,
}
_TYPES = {type_name(event_type): event_type for event_type in EVENT_TYPES}


def whole(name: str) -> dict[str, Any]:
    """The fields of an event: none has its default, and no two numbers are equal."""
    fields = inspect.type_info(_TYPES[name]).fields  # type: ignore[attr-defined]  # it is a StructType
    given = [field for field in fields if field.name != "stated_time_ns"]
    return {field.name: _value(field, number) for number, field in enumerate(given, 2)}


def _value(field: inspect.Field, number: int) -> object:
    options = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    (type_,) = (option for option in options if not isinstance(option, inspect.NoneType))
    value: object = field.name
    match type_.type if isinstance(type_, inspect.Metadata) else type_:
        case inspect.EnumType(cls=members):
            value = next(member.value for member in members if member != field.default)
        case inspect.BoolType():
            value = not field.default
        case inspect.IntType():
            value = number
        case inspect.FloatType():
            value = 1 / number
        case inspect.VarTupleType():
            value = (field.name, "b")
    return value


def plain(event: Event) -> dict[str, Any]:
    names = [name for name in event.__struct_fields__ if name != "stated_time_ns"]
    return {name: getattr(event, name) for name in names}


@pytest.fixture
def client(server: Recorder) -> Any:  # noqa: ANN401 - a generator
    with Client(server.url, source="test") as client:
        yield client


@pytest.mark.parametrize("name", sorted(_TYPES))
def test_a_method_takes_exactly_the_fields_of_its_event(name: str) -> None:
    parameters = signature(getattr(Client, name)).parameters.values()
    named = {p.name for p in parameters} - {"self"}
    required = {p.name for p in parameters if p.default is p.empty} - {"self"}
    fields = {f.name: f for f in msgspec.structs.fields(_TYPES[name])}
    assert named == set(fields) - {"stated_time_ns"}  # that is for the client and the recorder
    assert required == {f for f, field in fields.items() if field.required} - {"time_ns"}


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("name", sorted(_TYPES))
def test_a_whole_event_arrives_field_by_field(
    client: Client, server: Recorder, name: str, *, by_name: bool
) -> None:
    fields = whole(name)
    assert client.emit(name, **fields) if by_name else getattr(client, name)(**fields)
    assert client.flush(20)
    assert [(type(e), plain(e)) for e in server.events()] == [(_TYPES[name], fields)]


@pytest.mark.parametrize("name", sorted(_TYPES))
def test_optional_fields_may_be_omitted(client: Client, server: Recorder, name: str) -> None:
    required = {f.name for f in msgspec.structs.fields(_TYPES[name]) if f.required}
    before = time.time_ns()
    assert getattr(client, name)(**{k: v for k, v in whole(name).items() if k in required - {"time_ns"}})
    assert client.flush(20)
    (event,) = server.events()
    assert before <= event.time_ns <= time.time_ns()


class Shade(enum.Enum):
    BUY = "buy"


class TextSide(str, enum.Enum):  # noqa: UP042 - what older programs have
    BUY = "buy"


class Scalar:
    """Like a scalar of NumPy."""

    def __init__(self, value: float) -> None:
        self._value = value

    def item(self) -> float:
        return self._value

    def __float__(self) -> float:
        return self._value


@pytest.mark.parametrize(
    ("field", "given", "arrives"),
    [
        ("side", Side.BUY, Side.BUY),
        ("side", Shade.BUY, Side.BUY),
        ("side", TextSide.BUY, Side.BUY),
        ("price", Decimal("0.1"), 0.1),
        ("price", Scalar(2.5), 2.5),
        ("price", 3, 3.0),
        ("risk", None, None),
        ("order_id", "ünï\N{SNOWMAN}", "ünï\N{SNOWMAN}"),
    ],
)
def test_values_of_other_types_are_converted(
    client: Client,
    server: Recorder,
    field: str,
    given: object,
    arrives: object,
) -> None:
    client.fill(**{**FILL, field: given})
    assert client.flush(20)
    assert [getattr(event, field) for event in server.events()] == [arrives]


class Trap:
    """A value whose conversion fails."""

    def item(self) -> float:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "bad",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        Decimal("NaN"),
        Scalar(float("inf")),
        object(),
        Trap(),
        10**400,
        "\ud800",
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],  # two processes have to agree
)
def test_a_value_that_cannot_be_sent_costs_only_its_own_event(
    client: Client,
    server: Recorder,
    bad: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="decahertz_client")
    for order_id in range(100):
        price = bad if order_id in (30, 60) else 1.0
        assert client.fill(**{**FILL, "order_id": str(order_id), "price": price})
    assert client.flush(20)
    arrived = [event.order_id for event in server.events() if isinstance(event, Fill)]
    assert arrived == [str(n) for n in range(100) if n not in (30, 60)]
    stats = client.stats()
    assert (stats.emitted, stats.acknowledged, stats.dropped) == (100, 98, {"unserialisable": 2})
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "fill.price" in warning


def test_bytes_that_look_like_an_infinity_are_only_bytes(client: Client, server: Recorder) -> None:
    text = "\x7f" * 0xCB + "ËðÿË\x7fð"
    client.log(component="c", level="info", message=text)
    assert client.flush(20)
    assert [e.message for e in server.events() if hasattr(e, "message")] == [text]


def test_no_field_needs_an_enumeration_that_plain_text_cannot_spell() -> None:
    for enumeration in (Side, Direction, OrderState, PositionSource, ConnectionState, LogLevel):
        assert all(isinstance(member, str) for member in enumeration)


def test_order_is_the_order_of_emission_per_thread(client: Client, server: Recorder) -> None:
    def work(name: str) -> None:
        for n in range(2_000):
            client.fill(**{**FILL, "strategy": name, "order_id": str(n)})

    threads = [threading.Thread(target=work, args=(f"s{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.flush(20)
    stats = client.stats()
    assert (stats.emitted, stats.acknowledged, stats.pending, stats.dropped) == (16_000, 16_000, 0, {})
    assert orders_by_strategy(server.events()) == {f"s{n}": list(range(2_000)) for n in range(8)}


async def test_asyncio_code_emits_without_await_and_closes_without_blocking(server: Recorder) -> None:
    async with Client(server.url) as client:  # the default source is a name that the server takes
        for n in range(100):
            assert client.fill(**{**FILL, "order_id": str(n)})
            await asyncio.sleep(0)
    assert client.stats().acknowledged == 100
    assert len(server.events()) == 100


def test_batches_go_over_one_connection_with_the_key_in_a_header(server: Recorder) -> None:
    with Client(server.url, source="test", key="k-1", max_batch_events=10) as client:
        for n in range(100):
            client.fill(**{**FILL, "order_id": str(n)})
        assert client.flush(20)
    assert len(server.batches) == 10
    assert len(server.peers) == 1
    assert server.headers["Authorization"] == "Bearer k-1"
    assert server.headers["Content-Type"] == "application/vnd.msgpack"


def test_the_key_comes_from_the_environment_or_a_file_and_is_shown_nowhere(
    server: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = "dhz_k3q7c2mzv4ab_very-secret"  # noqa: S105 - of this test
    file = tmp_path / "key"
    file.write_text(secret + "\n")
    for name, value in (("DECAHERTZ_KEY", secret), ("DECAHERTZ_KEY_FILE", str(file))):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with Client(server.url, source="test") as client:
                client.fill(**FILL)
                assert client.flush(20)
                assert secret not in repr(client) + repr(vars(client))
        assert server.headers["Authorization"] == f"Bearer {secret}"


@pytest.mark.parametrize("key", ["", "two words\n", "line\nbreak", "dhz_\u00e4", "x" * 257])
def test_a_key_that_is_none_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ValueError, match=r"^key is not a key") as refused:
        Client("http://127.0.0.1:1", source="test", key=key)
    assert not key or key not in str(refused.value)


def test_a_batch_is_bounded_in_bytes(server: Recorder) -> None:
    with Client(server.url, source="test", max_batch_bytes=10_000) as client:
        for _ in range(50):
            client.log(component="c", level="info", message="x" * 1000)
        assert client.flush(20)
    assert len(server.events()) == 50
    assert max(count for _, count in server.batches) <= 10


@pytest.mark.parametrize(
    "bad",
    [
        {"url": "127.0.0.1:8000"},
        {"url": "ftp://127.0.0.1"},
        {"url": "http://user:secret@127.0.0.1"},
        {"url": "http://127.0.0.1/?key=secret"},
        {"url": "http://127.0.0.1:99999"},
        {"source": ""},
        {"source": "a\tb"},
        {"source": " a"},
        {"source": "a\nb"},
        {"source": "x" * 129},
        {"capacity": 0},
        {"max_batch_events": 0},
        {"max_batch_bytes": 0},
        {"flush_seconds": 0},
        {"timeout_seconds": -1},
        {"timeout_seconds": float("nan")},
    ],
    ids=str,
)
def test_bad_arguments_are_refused_and_start_nothing(bad: dict[str, Any]) -> None:
    before = threading.active_count()
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at below
        Client(**bad)
    assert "secret" not in str(caught.value)
    assert threading.active_count() == before
