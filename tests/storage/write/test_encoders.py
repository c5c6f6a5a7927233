from __future__ import annotations

import struct
from datetime import UTC, datetime
from itertools import compress, product
from typing import Annotated, ClassVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decahertz.event import EVENT_TYPES, Event, Quote
from decahertz.metric import Metric
from decahertz.sample import Sample, SampleBatch, schema_of
from storage.schema.events import event_table_columns
from storage.write.copy_codegen import Number, compile_samples
from storage.write.copy_format import ENCODING_ERRORS, PieceCache, field_count, text, text_array, timestamp
from storage.write.encoders import EventRows, SampleRows
from tests.event_examples import events_by_type, names
from tests.storage_examples import BOOK, RECORDER, START_NS, Bench, BookSample, Verdict, book, machine, quote

integers = st.integers(min_value=-(2**63), max_value=2**63 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
samples = st.builds(
    BookSample,
    venue=names,
    instrument=names,
    mid=st.none() | finite | integers,
    gaps=integers,
    verdict=st.sampled_from(Verdict),
    crossed=st.none() | st.booleans(),
)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_row_has_a_value_for_each_column_and_no_field_is_forgotten(event_type: type[Event]) -> None:
    columns = EventRows(event_type, RECORDER).columns
    assert set(columns) == {column.name for column in event_table_columns(event_type)}
    identity = 7  # recorder, source, epoch, sequence, event_number, received_ns, and time
    assert len(columns) == len(msgspec.structs.fields(event_type)) + identity


@given(data=st.data(), sequence=st.integers(1, 2**62))
@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_each_field_of_an_event_is_in_its_column(
    event_type: type[Event], data: st.DataObject, sequence: int
) -> None:
    event = data.draw(events_by_type[event_type])
    rows = EventRows(event_type, RECORDER)
    row = b"".join(rows.encode(event, sequence, 2**52 + sequence % 1000, rows.origin("loop", 7, START_NS)))
    own = {
        "recorder": RECORDER.encode(),
        "source": b"loop",
        "epoch": struct.pack(">q", 7),
        "received_ns": struct.pack(">q", START_NS),
        "time": struct.pack(">q", event.time_ns // 1000 - 946_684_800_000_000),
        "sequence": struct.pack(">q", sequence),
        "event_number": struct.pack(">q", 2**52 + sequence % 1000),
    }
    renamed = {"venue_sequence": "sequence", "limit_value": "limit"}
    for column, found in zip(rows.columns, columns_in(row), strict=True):
        if column in own:
            assert found == own[column], column
        else:
            assert found == one_value(getattr(event, renamed.get(column, column))), column


def columns_in(row: bytes) -> list[bytes | None]:
    (count,) = struct.unpack_from(">h", row)
    place, found = 2, []
    for _ in range(count):
        (length,) = struct.unpack_from(">i", row, place)
        place += 4
        found.append(row[place : place + length] if length >= 0 else None)
        place += max(length, 0)
    assert place == len(row)
    return found


def one_value(value: object) -> bytes | None:
    match value:
        case None:
            return None
        case bool():
            return bytes([value])
        case int():
            return struct.pack(">q", value)
        case float():
            return struct.pack(">d", value)
        case str():
            return value.encode()
        case tuple():
            return text_array(value)[4:]
    raise TypeError(value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 10**400, "1.5"])
def test_an_event_with_a_number_that_is_none_is_refused(bad: float) -> None:
    event = msgspec.structs.replace(quote(1), ask=bad)
    rows = EventRows(Quote, RECORDER)
    with pytest.raises(ENCODING_ERRORS):
        rows.encode(event, 1, 0, rows.origin("loop", 7, START_NS))


def test_finite_numbers_whose_sum_is_not_are_kept() -> None:
    rows = EventRows(Quote, RECORDER)
    event = msgspec.structs.replace(quote(1), bid=1.7e308, ask=1.7e308)
    assert rows.encode(event, 1, 0, rows.origin("loop", 7, START_NS))
    encoded = SampleRows(BOOK, RECORDER).encode([book(mid=1.7e308, gaps=2**62)] * 2, START_NS)
    assert (encoded.rows, encoded.not_finite) == (2, 0)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(samples, min_size=1, max_size=20), tick=st.integers(0, 2**31))
async def test_what_is_sampled_is_what_is_in_the_table(
    bench: Bench, batch: list[BookSample], tick: int
) -> None:
    time_ns = START_NS + tick * 100_000_000
    bench.sample(SampleBatch(BOOK, time_ns, tuple(batch)))
    await bench.drained()
    rows = await bench.rows("SELECT * FROM book_samples ORDER BY ctid")
    await bench.rows("TRUNCATE book_samples")
    moment = datetime.fromtimestamp(time_ns // 10**9, UTC).replace(microsecond=time_ns // 1000 % 10**6)
    assert [tuple(row) for row in rows] == [
        (
            *(moment, RECORDER, s.venue, s.instrument),
            *(None if s.mid is None else float(s.mid), s.gaps, s.verdict, s.crossed),
        )
        for s in batch
    ]


class WideSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "wide"
    a: Annotated[float | None, Metric("Optional, at the beginning.")]
    b: Annotated[int | None, Metric("Optional.")]
    c: Annotated[float, Metric("Always there.")]
    d: Annotated[float | None, Metric("Optional.")]
    e: Annotated[int, Metric("Always there.")]
    f: Annotated[int | None, Metric("Optional.")]
    g: Annotated[float | None, Metric("Optional, at the end.")]


WIDE = st.builds(
    WideSample,
    a=st.none() | finite,
    b=st.none() | integers,
    c=finite,
    d=st.none() | finite,
    e=integers,
    f=st.none() | integers,
    g=st.none() | finite,
)


START = field_count(9) + text(RECORDER)


@given(batch=st.lists(WIDE, max_size=20))
def test_whichever_numbers_are_missing_each_column_has_its_length_and_value(batch: list[WideSample]) -> None:
    encoded = SampleRows(schema_of(WideSample), RECORDER).encode(batch, START_NS)
    moment = struct.pack(">iq", 8, START_NS // 1000 - 946_684_800_000_000)
    expected = b"".join(
        START + moment + b"".join(one_number(getattr(s, name)) for name in "abcdefg") for s in batch
    )
    assert b"".join(encoded.data) == expected
    assert (encoded.rows, encoded.refused, encoded.not_finite) == (len(batch), [], 0)


def test_rows_are_the_same_however_often_their_nulls_were_seen() -> None:
    numbers = [
        Number(f.name, "q" if f.type is int else "d", f.optional) for f in schema_of(WideSample).metrics
    ]
    encode = compile_samples((), numbers, (), PieceCache([], START), PieceCache([]))
    optional = [number.name for number in numbers if number.optional]
    moment = timestamp(START_NS)
    whole = WideSample(a=1.0, b=2, c=3.0, d=4.0, e=5, f=6, g=7.0)
    for missing in [*product([False, True], repeat=len(optional))] * 2:
        sample = msgspec.structs.replace(whole, **dict.fromkeys(compress(optional, missing)))
        expected = b"".join(SampleRows(schema_of(WideSample), RECORDER).encode([sample], START_NS).data)
        present = [value for value in (sample.a, sample.c, sample.d, sample.g) if value is not None]
        for _ in range(3):
            data, total = encode([sample] * 200, moment)
            assert b"".join(data) == expected * 200
            assert total == 200 * sum(present)


def one_number(value: float | None) -> bytes:
    if value is None:
        return struct.pack(">i", -1)
    return struct.pack(">iq" if isinstance(value, int) else ">id", 8, value)


@pytest.mark.parametrize("field", ["a", "c", "d", "g"])
def test_one_number_that_is_not_finite_is_found_wherever_it_stands(field: str) -> None:
    rows = SampleRows(schema_of(WideSample), RECORDER)
    good = WideSample(a=1.0, b=2, c=3.0, d=4.0, e=5, f=6, g=7.0)
    for whole in (good, msgspec.structs.replace(good, b=None)):
        bad = msgspec.structs.replace(whole, **{field: float("-inf")})
        encoded = rows.encode([whole, bad, whole], START_NS)
        expected = rows.encode([whole, msgspec.structs.replace(whole, **{field: None}), whole], START_NS)
        assert (encoded.rows, encoded.not_finite) == (3, 1)
        assert b"".join(encoded.data) == b"".join(expected.data)


def test_numbers_that_are_not_finite_become_null_and_are_counted() -> None:
    rows = SampleRows(BOOK, RECORDER)
    encoded = rows.encode([book(mid=float("nan")), book(mid=float("inf")), book(mid=1.0)], START_NS)
    expected = rows.encode([book(mid=None), book(mid=None), book(mid=1.0)], START_NS)
    assert b"".join(encoded.data) == b"".join(expected.data)
    assert (encoded.rows, encoded.refused, encoded.not_finite) == (3, [], 2)


@pytest.mark.parametrize(
    "bad",
    [
        book(gaps=2**63),
        book(gaps=1.5),
        book(mid="1.5"),
        book("EUR\0USD"),
        book("\ud800"),
        book(verdict=3),
        book(gaps=None, mid=10**400),
    ],
)
def test_a_row_that_fits_no_table_is_refused_alone(bad: BookSample) -> None:
    encoded = SampleRows(BOOK, RECORDER).encode([book(gaps=1), bad, book(gaps=2)], START_NS)
    expected = SampleRows(BOOK, RECORDER).encode([book(gaps=1), book(gaps=2)], START_NS)
    assert b"".join(encoded.data) == b"".join(expected.data)
    assert encoded.rows == 2
    ((place, reason),) = encoded.refused
    assert place == 1
    assert reason


async def test_a_sample_without_a_key_has_one_row_for_each_instant(bench: Bench) -> None:
    bench.sample(machine(5))
    await bench.drained()
    rows = await bench.rows("SELECT load FROM machine_samples")
    assert [tuple(row) for row in rows] == [(5.0,)]
