"""Values that are nearly right are corrected, and what cannot be corrected is seen by the caller."""

from __future__ import annotations

import datetime as dt
import logging
import time
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decahertz.clock import other_unit
from decahertz.event import EVENT_TYPES, AnyEvent, Event, Fill, Order, OrderState, Side
from decahertz.wire import Codec, Decoder, decoder
from decahertz_client import Client, InvalidEventError
from decahertz_client._correction import checked
from decahertz_client._event_fields import EVENT_FIELDS
from tests.client.test_emit import FILL, whole
from tests.client_server import Recorder
from tests.event_examples import type_name

NOW_NS = time.time_ns() // 1_000_000 * 1_000_000
ORDER: dict[str, Any] = {
    **{name: FILL[name] for name in ("strategy", "venue", "instrument", "order_id", "side", "quantity")},
    "state": "cancelled",
    "time_ns": NOW_NS,
}
NEAR_MISSES: list[tuple[str, str, object, object]] = [
    ("order", "state", "canceled", OrderState.CANCELLED),
    ("order", "state", "CANCELED", OrderState.CANCELLED),
    ("order", "state", "PartiallyFilled", OrderState.PARTIALLY_FILLED),
    ("order", "state", "partially-filled", OrderState.PARTIALLY_FILLED),
    ("fill", "side", "BUY", Side.BUY),
    ("fill", "side", "Buy ", Side.BUY),
    ("fill", "quantity", "1", 1.0),
    ("fill", "price", "67321.5", 67321.5),
    ("fill", "price", " 6.73e4 ", 67300.0),
    ("fill", "price", 1 << 80, 2.0**80),
    ("fill", "order_id", 17, "17"),
    ("fill", "fill_id", uuid.UUID(int=7), str(uuid.UUID(int=7))),
    ("fill", "instrument", "ESZ5 ", "ESZ5"),
    ("fill", "time_ns", NOW_NS // 10**6, NOW_NS),
    ("fill", "time_ns", str(NOW_NS // 10**6), NOW_NS),
    ("fill", "time_ns", NOW_NS // 10**9, NOW_NS // 10**9 * 10**9),
    ("fill", "time_ns", NOW_NS / 1e9, NOW_NS),
    ("fill", "time_ns", dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.UTC), 1767323045678901000),
    ("tick", "sequence", "12", 12),
    ("tick", "time_ns", NOW_NS // 10**3, NOW_NS),
    ("log", "level", "WARN", "warning"),
    ("risk", "breached", 1, True),
    ("news", "instruments", "BTC-USD", ("BTC-USD",)),
    ("instrument", "kind", "PERP", "perpetual"),
]
UNCLEAR: list[tuple[str, object, str]] = [
    ("side", "long", "buy, sell"),
    ("price", "1,000.5", "number"),
    ("price", "", "number"),
    ("price", True, "number"),
    ("price", float("nan"), "finite"),
    ("price", 10**400, "finite"),
    ("quantity", 0, "above 0"),
    ("risk", -1.0, "0 or more"),
    ("instrument", "", "name"),
    ("instrument", "a\tb", "name"),
    ("instrument", "x" * 129, "name"),
    ("order_id", 1.5, "text"),
    ("time_ns", "yesterday", "nanoseconds"),
    ("time_ns", dt.datetime(2026, 1, 2), "no zone"),  # noqa: DTZ001 - that is the point
    ("liquidity", "passive", "maker, taker"),
]


def emit(client: Client, kind: str, changes: dict[str, Any] | None = None) -> bool:
    fields = {"fill": FILL, "order": ORDER}.get(kind) or whole(kind) | {"time_ns": NOW_NS}
    return client.emit(kind, **{**fields, **(changes or {})})


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("kind", "field", "given", "stored"),
    NEAR_MISSES,
    ids=[f"{kind}-{field}-{number}" for number, (kind, field, _, _) in enumerate(NEAR_MISSES)],
)
def test_a_near_miss_is_stored_as_it_was_meant(
    server: Recorder, kind: str, field: str, given: object, stored: object, *, strict: bool
) -> None:
    with Client(server.url, source="test", strict=strict) as client:
        assert emit(client, kind)
        assert emit(client, kind, {field: given})
        assert client.flush(20)
        assert client.stats().dropped == {}
    assert [getattr(event, field) for event in server.events()][1:] == [stored]


def test_corrections_are_counted_and_logged_once_for_each_field(
    server: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="decahertz_client")
    with Client(server.url, source="test") as client:
        for number in range(3_000):
            client.fill(**{**FILL, "order_id": str(number), "side": "BUY", "price": f"{number}.5"})
        assert client.flush(20)
        stats = client.stats()
    assert (stats.acknowledged, stats.corrected, stats.dropped) == (3_000, 3_000, {})
    events = [event for event in server.events() if isinstance(event, Fill)]
    assert [(event.order_id, event.price) for event in events] == [(str(n), n + 0.5) for n in range(3_000)]
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [
        "event corrected: fill.side from 'BUY' to 'buy'",
        "event corrected: fill.price from '0.5' to 0.5",
    ]


def test_events_that_need_no_correction_are_sent_as_they_are(server: Recorder) -> None:
    with Client(server.url, source="test") as client:
        for number in range(100):
            client.fill(**{**FILL, "order_id": str(number)})
        assert client.flush(20)
        assert client.stats().corrected == 0


@pytest.mark.parametrize(("field", "given", "reason"), UNCLEAR)
def test_a_strict_client_raises_what_is_wrong(
    server: Recorder, field: str, given: object, reason: str
) -> None:
    with Client(server.url, source="test", strict=True) as client:
        with pytest.raises(InvalidEventError, match=rf"^fill\.{field} is .*{reason}"):
            client.fill(**{**FILL, field: given})
        assert client.fill(**FILL)
        assert client.flush(20)
        assert client.stats().emitted == 1
    assert len(server.events()) == 1


@pytest.mark.parametrize(
    ("kind", "fields", "reason"),
    [
        ("trade", FILL, "'trade' is not an event type"),
        ("fill", {**FILL, "colour": 1}, r"fill\.colour is not a field"),
        ("fill", {name: value for name, value in FILL.items() if name != "side"}, r"fill\.side is missing"),
        ("fill", {**FILL, "side": None}, r"fill\.side is missing"),
    ],
)
def test_a_strict_client_knows_types_and_fields(
    server: Recorder, kind: str, fields: dict[str, Any], reason: str
) -> None:
    with (
        Client(server.url, source="test", strict=True) as client,
        pytest.raises(InvalidEventError, match=reason),
    ):
        client.emit(kind, **fields)


def test_what_is_unclear_is_rejected_counted_and_logged_once_with_its_field(
    server: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="decahertz_client")
    with Client(server.url, source="test") as client:
        for number in range(10):
            client.fill(**{**FILL, "order_id": str(number), "side": "long" if number % 2 else "Sell"})
        assert client.flush(20)
        stats = client.stats()
    assert (stats.acknowledged, stats.dropped, stats.corrected) == (5, {"rejected": 5}, 5)
    assert {event.order_id for event in server.events() if isinstance(event, Fill)} == set("02468")
    corrected, rejected = [record.getMessage() for record in caplog.records]
    assert corrected == "event corrected: fill.side from 'Sell' to 'sell'"
    assert rejected.startswith("events dropped as rejected: side: ")


@pytest.mark.parametrize("kind", ["fill", "order"])
@pytest.mark.parametrize(
    ("given", "stated"),
    [
        (-5, -5),
        (0, 0),
        ("soon", 0),
        (1 << 80, 0),
        ("ahead", "given"),
        ("ahead in milliseconds", None),
    ],
)
def test_no_execution_is_lost_for_its_time(
    server: Recorder, kind: str, given: object, stated: object
) -> None:
    before_ns = time.time_ns()
    ahead_ns = before_ns + 90 * 10**9
    given = {"ahead": ahead_ns, "ahead in milliseconds": ahead_ns // 10**6}.get(str(given), given)
    with Client(server.url, source="test") as client:
        assert emit(client, kind, {"time_ns": given})
        assert client.flush(20)
        assert client.stats().dropped == {}
    (event,) = server.events()
    assert isinstance(event, (Fill, Order))
    assert before_ns - 10**9 <= event.time_ns <= time.time_ns()
    if stated is not None:
        assert event.stated_time_ns == (given if stated == "given" else stated)


def test_the_client_knows_the_fields_of_every_event() -> None:
    def names(event_type: type[Event]) -> list[str]:
        return list(event_type.__struct_fields__)

    assert {name: sorted(fields) for name, fields in EVENT_FIELDS.items()} == {
        type_name(event_type): sorted(names(event_type)) for event_type in EVENT_TYPES
    }


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, -1, 10**8, 10**11, 10**17, 2**63 - 1, 2**63, NOW_NS, NOW_NS // 10**6]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["buy", "BUY", "filled", "Canceled", "spot", "info", "open", "bot", "maker", "1.5", "7"]),
    st.sampled_from(["", " ", " a ", "a\tb", "a\0", "\ud800", "x" * 129, "x" * 257, "x" * 16_385, "\u2028a"]),
    st.lists(st.text(max_size=3), max_size=2),
    st.binary(max_size=3),
)
FIELDS = st.sampled_from(
    [(name, field) for name, fields in EVENT_FIELDS.items() for field in fields if field != "stated_time_ns"]
)
SERVER: Decoder[AnyEvent] = decoder(Codec.MSGPACK, AnyEvent)


def is_taken(event: dict[str, Any]) -> bool:
    """Whether the server takes the event as it is."""
    try:
        decoded = SERVER.decode(msgspec.msgpack.encode(event))
    except (ValueError, OverflowError):
        return False
    return other_unit(decoded.time_ns) is None


@settings(max_examples=600, deadline=None)
@given(FIELDS, VALUES)
def test_a_strict_client_takes_what_the_server_takes_and_what_can_be_corrected(
    place: tuple[str, str], value: object
) -> None:
    name, field = place
    event: dict[str, Any] = {"type": name, **whole(name), "time_ns": NOW_NS, field: value}
    event = {key: one for key, one in event.items() if one is not None}
    try:
        corrected = checked(event)
    except InvalidEventError:
        assert not is_taken(event), (field, value)
    else:
        assert is_taken(corrected), (field, value)
