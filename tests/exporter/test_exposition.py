from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Reference

from decahertz.clock import NS_PER_SECOND
from decahertz.histogram import Histogram
from decahertz.metric import Kind, Metric
from decahertz.sample import Sample, SampleSchema, schema_of
from decahertz.testing import START_NS, ManualClock
from exporter.exposition import Exposition, Source
from exporter.lines import number_texts
from exporter.negotiation import Format
from exporter.samples import CHUNK_SERIES
from tests.exporter.parsing import families_in, series_in
from tests.exporter.samples import (
    BOOK,
    DESK,
    HOST,
    LIMITS,
    RECORDER,
    BookSample,
    DeskSample,
    HostSample,
    Verdict,
    batch_of,
    book,
    expected,
)

FORMS = tuple(Format)
WAIT = "decahertz_book_wait_seconds"

finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=0, allow_infinity=False)
# Also quotes, backslashes, line breaks of all kinds, braces and commas, more often than by chance.
names = st.text(st.one_of(st.sampled_from('"\\\n\r,{}= #\x00\x85\u2028é😀'), st.characters(codec="utf-8")))


@st.composite
def books(draw: st.DrawFn) -> list[BookSample]:
    keys = draw(
        st.lists(
            st.tuples(names, names),
            unique=True,
            min_size=1,
            max_size=6,
        )
    )
    return [
        BookSample(
            venue=venue,
            instrument=instrument,
            mid=draw(st.none() | finite),
            spread_bps=draw(st.none() | finite),
            depth=draw(st.none() | st.integers(-(2**63), 2**64)),
            gaps=draw(st.integers(0, 2**64)),
            waited=draw(positive),
            crossed=draw(st.none() | st.booleans()),
            verdict=draw(st.none() | st.sampled_from(Verdict)),
        )
        for venue, instrument in keys
    ]


def made(*schemas: SampleSchema) -> Exposition:
    return Exposition([Source(schema) for schema in schemas], RECORDER, LIMITS)


def chunks(
    exposition: Exposition, samples: Sequence[Sample], form: Format, taken: Collection[str] = ()
) -> list[bytes]:
    batch = batch_of(*samples)
    exposition.take(batch, 0)
    collector = batch.schema.collector
    return list(exposition.render(collector, exposition.freeze(0)[collector], form, taken))


def rendered(exposition: Exposition, samples: Sequence[Sample], form: Format) -> bytes:
    body = b"".join(chunks(exposition, samples, form))
    return body + b"# EOF\n" if form is Format.OPENMETRICS else body


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None)
@given(rounds=st.lists(books(), min_size=1, max_size=3))
def test_the_reference_parser_reads_exactly_the_samples(form: Format, rounds: list[list[BookSample]]) -> None:
    exposition = made(BOOK)
    past: list[BookSample] = []
    for samples in rounds:
        assert series_in(rendered(exposition, samples, form), form) == expected(samples, past, form)
        keys = {BOOK.key_of(sample) for sample in samples}
        past = [sample for sample in (*past, *samples) if BOOK.key_of(sample) in keys]


@pytest.mark.parametrize("form", FORMS)
def test_a_sample_without_a_key_has_the_label_recorder_only(form: Format) -> None:
    body = rendered(made(DESK), [DeskSample()], form)

    assert series_in(body, form) == expected([DeskSample()], form=form)
    assert b'\ndecahertz_desk_open_orders{recorder="desk-1"} 3\n' in body


@pytest.mark.parametrize("form", FORMS)
def test_a_retired_key_vanishes_and_a_new_one_appears(form: Format) -> None:
    exposition = made(BOOK)
    first = [book("EUR/USD", mid=1.1, verdict=Verdict.LIVE), book("GBP/USD", mid=1.3)]
    then = [book("GBP/USD", mid=1.4, verdict=Verdict.STALE), book("USD/JPY", mid=150.0)]
    rendered(exposition, first, form)

    assert series_in(rendered(exposition, then, form), form) == expected(then, first, form)


def test_nothing_is_kept_for_retired_keys() -> None:
    exposition = made(BOOK)
    for number in range(50):
        rendered(exposition, [book(f"I{number}", mid=1.0, verdict=Verdict.LIVE)], Format.TEXT)

    key_set = exposition._collectors["book"].samples._key_set
    assert list(key_set.labels) == [("SIM", "I49")]


@pytest.mark.parametrize(
    ("form", "help_text", "unit"),
    [
        (Format.OPENMETRICS, 'The \\"mid\\": a\\\\b.', "# UNIT decahertz_book_mid_price price\n"),
        (Format.TEXT, 'The "mid": a\\\\b.', ""),
    ],
)
def test_help_type_and_unit_stand_before_the_series(form: Format, help_text: str, unit: str) -> None:
    body = rendered(made(BOOK), [book("EUR/USD", mid=1.1)], form).decode()

    assert body.startswith(
        f"# HELP decahertz_book_mid_price {help_text}\n# TYPE decahertz_book_mid_price gauge\n{unit}"
        'decahertz_book_mid_price{recorder="desk-1",venue="SIM",instrument="EUR/USD"} 1.1\n'
    )


def test_a_counter_carries_total_in_its_series_and_in_text_in_its_headers_too() -> None:
    samples = [book("EUR/USD", gaps=7, waited=0.5)]
    text = rendered(made(BOOK), samples, Format.TEXT).decode()
    openmetrics = rendered(made(BOOK), samples, Format.OPENMETRICS).decode()

    assert "# TYPE decahertz_book_gaps_total counter\n" in text
    assert "# TYPE decahertz_book_gaps counter\n" in openmetrics
    assert "# UNIT decahertz_book_waited_seconds seconds\n" in openmetrics
    for body in (text, openmetrics):
        assert 'decahertz_book_gaps_total{recorder="desk-1",venue="SIM",instrument="EUR/USD"} 7\n' in body
        assert (
            'decahertz_book_waited_seconds_total{recorder="desk-1",venue="SIM",instrument="EUR/USD"} 0.5\n'
            in body
        )


def test_a_state_is_a_stateset_in_openmetrics_and_a_gauge_in_text() -> None:
    samples = [book("EUR/USD", verdict=Verdict.STALE)]

    types = {
        form: {f.name: f.type for f in families_in(rendered(made(BOOK), samples, form), form)}
        for form in FORMS
    }

    assert types[Format.OPENMETRICS]["decahertz_book_verdict"] == "stateset"
    assert types[Format.TEXT]["decahertz_book_verdict"] == "gauge"


def test_families_come_in_the_order_of_their_declaration() -> None:
    samples = [book("EUR/USD", mid=1.0, spread_bps=1.0, depth=1, crossed=True, verdict=Verdict.LIVE)]
    families = families_in(rendered(made(BOOK), samples, Format.OPENMETRICS), Format.OPENMETRICS)

    assert [family.name for family in families] == [
        "decahertz_book_mid_price",
        "decahertz_book_mid_price_min",
        "decahertz_book_mid_price_max",
        "decahertz_book_spread_bps",
        "decahertz_book_depth",
        "decahertz_book_gaps",
        "decahertz_book_waited_seconds",
        "decahertz_book_crossed",
        "decahertz_book_verdict",
    ]


def test_a_metric_without_a_value_anywhere_is_not_mentioned() -> None:
    body = rendered(made(BOOK), [book("EUR/USD", depth=1)], Format.TEXT)

    assert b"decahertz_book_mid_price" not in body
    assert b"decahertz_book_verdict" not in body


@pytest.mark.parametrize("form", FORMS)
def test_more_series_than_fit_a_chunk_are_still_whole(form: Format) -> None:
    samples = [
        book(f"I{number}", mid=float(number), verdict=Verdict.LIVE) for number in range(CHUNK_SERIES * 2 + 1)
    ]
    parts = chunks(made(BOOK), samples, form)
    end = b"# EOF\n" if form is Format.OPENMETRICS else b""

    assert series_in(b"".join(parts) + end, form) == expected(samples, form=form)
    assert max(chunk.count(b"\n") for chunk in parts) <= CHUNK_SERIES * 2 + 3  # `_created` and the header


def test_of_a_key_that_comes_twice_the_last_sample_counts() -> None:
    samples = [HostSample(host="a", used_ratio=0.1), HostSample(host="a", used_ratio=0.2)]

    assert series_in(rendered(made(HOST), samples, Format.TEXT), Format.TEXT) == expected(samples[1:])


@pytest.mark.parametrize(
    "value", ["1,2", "null", 'a"b', [1, 2], {"a": 1}, float("nan"), float("inf"), object(), b"x"]
)
def test_a_value_that_is_no_number_costs_only_its_own_series(value: object) -> None:
    assert number_texts([1.5, value, True, 2]) == [b"1.5", b"null", b"1", b"2"]


def test_a_family_whose_name_is_taken_is_left_out() -> None:
    body = b"".join(chunks(made(DESK), [DeskSample()], Format.TEXT, {"decahertz_desk_open_orders"}))

    assert b"open_orders" not in body
    assert b"decahertz_desk_mood" in body


class GapsSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "book_gaps"
    total: Annotated[int, Metric("The same name as the counter's series.")] = 1
    other: Annotated[int, Metric("Another.", kind=Kind.COUNTER)] = 1


def test_of_two_metrics_with_one_name_the_first_is_shown_and_the_other_listed() -> None:
    exposition = made(BOOK, schema_of(GapsSample))

    assert [family.name for family in exposition.colliding] == ["decahertz_book_gaps_total"]
    assert series_in(rendered(exposition, [GapsSample()], Format.TEXT), Format.TEXT) == {
        ("decahertz_book_gaps_other_total", frozenset({("recorder", RECORDER)})): 1
    }


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None)
@given(waits=st.dictionaries(names, st.lists(st.floats(0, 100)), max_size=4))
def test_a_histogram_is_written_as_the_library_writes_it(form: Format, waits: dict[str, list[float]]) -> None:
    registry, bounds = CollectorRegistry(), (0.001, 0.5, 1.0, 2.5, 10.0)
    reference = Reference(WAIT, "Waits.", ("venue",), buckets=bounds, registry=registry)
    histogram = Histogram("wait", "Waits.", clock=ManualClock(), key=("venue",), bounds=bounds)
    for venue, seconds in waits.items():
        for one in seconds:
            reference.labels(venue).observe(one)
            histogram.of(venue).observe(one)
    exposition = Exposition([Source(BOOK, (histogram,))], RECORDER, LIMITS)
    waited = {
        key: value
        for key, value in series_in(rendered(exposition, [book("EUR/USD")], form), form).items()
        if key[0].startswith(WAIT)
    }
    created = {key: waited.pop(key) for key in list(waited) if key[0].endswith("_created")}

    text = generate_latest(registry)
    theirs = {
        (name, labels | {("recorder", RECORDER)}): value
        for (name, labels), value in series_in(text, Format.TEXT).items()
        if not name.endswith("_created")
    }
    assert waited == pytest.approx(theirs)
    assert set(created.values()) <= {START_NS / NS_PER_SECOND}
    seen = {venue for venue, seconds in waits.items() if seconds}
    assert len(created) == (len(seen) if form is Format.OPENMETRICS else 0)


def test_a_histogram_key_that_was_retired_and_came_back_starts_over() -> None:
    clock = ManualClock()
    histogram = Histogram("wait", "Waits.", clock=clock, key=("venue",), bounds=(1.0,))
    exposition = Exposition([Source(BOOK, (histogram,))], RECORDER, LIMITS)

    def lines() -> list[str]:
        text = rendered(exposition, [book("EUR/USD")], Format.OPENMETRICS).decode()
        ends = ("_count", "_created")
        return [line for line in text.splitlines() if line.startswith(tuple(f"{WAIT}{end}" for end in ends))]

    histogram.of("X").observe(0.5)
    first = lines()
    histogram.retire("X")
    assert lines() == []
    clock.advance(1_500_000_000)
    histogram.of("X")
    labels = '{recorder="desk-1",venue="X"}'
    assert first == [f"{WAIT}_count{labels} 1", f"{WAIT}_created{labels} 1767225600.000"]
    assert lines() == [f"{WAIT}_count{labels} 0", f"{WAIT}_created{labels} 1767225601.500"]


def test_the_counters_of_a_key_that_came_back_were_created_when_it_was_seen_again() -> None:
    exposition = made(BOOK)
    cycles = [["A", "B"], ["B"], ["A", "B"]]
    for number, names_ in enumerate(cycles):
        exposition.take(batch_of(*(book(name, gaps=1) for name in names_), cycle=number), 0)
    frame = exposition.freeze(0)["book"]
    text = b"".join(exposition.render("book", frame, Format.OPENMETRICS)).decode()

    found = [line.split()[-1] for line in text.splitlines() if line.startswith("decahertz_book_gaps_created")]
    assert found == ["1767225600.200", "1767225600.000"]
