from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Optional

import msgspec
import pytest

from decahertz.metric import HIGHEST, NEWEST, Aggregate, Kind, Metric, Unit
from decahertz.sample import MetricField, Sample, SampleDeclarationError, schema_of


class Verdict(StrEnum):
    LIVE = "live"
    STALE = "stale"


class Whole(Sample, frozen=True, kw_only=True):
    """Everything that a declaration may hold."""

    collector: ClassVar[str] = "whole"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")

    instrument: str
    venue: str
    mid: Annotated[float | None, Metric("Mid.", unit=Unit.PRICE)]
    quotes: Annotated[int, Metric("Quotes.", kind=Kind.COUNTER)]
    volume: Annotated[float, Metric("Volume.", kind=Kind.COUNTER, unit=Unit.QUANTITY)]
    crossed: Annotated[bool, Metric("Crossed.")]
    verdict: Annotated[Verdict, Metric("Verdict.", kind=Kind.STATE)]
    regime: Annotated[Verdict | None, Metric("Regime.", kind=Kind.STATE)]
    age: Annotated[Optional[float], "a note", Metric("Age.", unit=Unit.SECONDS)]  # noqa: UP045 - older spelling


def declared(namespace: dict[str, Any], annotations: dict[str, Any]) -> Any:  # noqa: ANN401 - a class
    """A sample type made at run time; a good one unless a test spoils it."""
    good = {"collector": "some", "key": ("venue",)}
    hints = {"collector": ClassVar[str], "key": ClassVar[tuple[str, ...]], **annotations}
    return msgspec.defstruct(
        "Some",
        [(name, hint) for name, hint in hints.items() if name not in good],
        bases=(Sample,),
        namespace={**good, **namespace},
        frozen=True,
        kw_only=True,
    )


GOOD = {"venue": str, "mid": Annotated[float, Metric("Mid.")]}


def test_a_declaration_is_read_whole_and_in_order() -> None:
    schema = schema_of(Whole)
    assert (schema.collector, schema.key, schema.type) == ("whole", ("venue", "instrument"), Whole)
    assert [(m.name, m.type, m.optional, m.states) for m in schema.metrics] == [
        ("mid", float, True, ()),
        ("quotes", int, False, ()),
        ("volume", float, False, ()),
        ("crossed", bool, False, ()),
        ("verdict", Verdict, False, ("live", "stale")),
        ("regime", Verdict, True, ("live", "stale")),
        ("age", float, True, ()),
    ]
    assert schema.metrics[0].metric == Metric("Mid.", unit=Unit.PRICE)


def test_a_gauge_has_the_aggregates_that_it_declares_and_any_other_metric_the_last_value() -> None:
    found = {field.name: field.aggregates for field in schema_of(Whole).metrics}
    assert found.pop("mid") == found.pop("age") == tuple(Aggregate)
    assert set(found.values()) == {NEWEST}
    backwards = Metric("Age.", aggregates=HIGHEST[::-1])
    assert (
        schema_of(declared({}, {**GOOD, "age": Annotated[float, backwards]})).metrics[-1].aggregates
        == HIGHEST
    )


def test_key_and_topic_follow_the_order_of_the_key_and_not_of_the_fields() -> None:
    sample = Whole(
        instrument="BTC/USD",
        venue="kraken",
        mid=1.0,
        quotes=1,
        volume=1.0,
        crossed=False,
        verdict=Verdict.LIVE,
        regime=None,
        age=None,
    )
    schema = schema_of(Whole)
    assert schema.key_of(sample) == ("kraken", "BTC/USD")
    assert schema.topic_of(sample) == "metrics:whole:kraken:BTC/USD"


def test_a_good_declaration_made_at_run_time_is_read_and_needs_no_key_for_one_thing() -> None:
    assert schema_of(declared({}, GOOD)).metrics == (
        MetricField("mid", Metric("Mid."), float, optional=False),
    )
    assert schema_of(declared({"key": ()}, {"mid": GOOD["mid"]})).key == ()


@pytest.mark.parametrize(
    ("namespace", "annotations", "named"),
    [
        pytest.param({"collector": ""}, {}, "collector", id="no name"),
        pytest.param({"collector": "Market"}, {}, "collector", id="capitals"),
        pytest.param({"collector": "2fast"}, {}, "collector", id="a digit first"),
        pytest.param({"collector": "a-b"}, {}, "collector", id="a dash"),
        pytest.param({"collector": "a" * 49}, {}, "collector", id="too long"),
        pytest.param({"collector": "a\n"}, {}, "collector", id="a line break"),
        pytest.param({"key": ("venu",)}, {}, "venu", id="key without a field"),
        pytest.param({}, {"venue": int}, "venue", id="key that is no text"),
        pytest.param({}, {"venue": str | None}, "venue", id="key that can be absent"),
        pytest.param({}, {"venue": Annotated[str, Metric("V.")]}, "venue", id="key that is a metric"),
        pytest.param({"key": ("venue", "venue")}, {}, "twice", id="key twice"),
        pytest.param({"key": ("time",)}, {"time": str}, "time", id="key of a reserved name"),
        pytest.param({"key": ("venue", "mid")}, {"mid": str}, "no metric", id="nothing but keys"),
        pytest.param({}, {"Mid": Annotated[float, Metric("M.")]}, "Mid", id="metric with a capital"),
        pytest.param({"key": ("recorder",)}, {"recorder": str}, "recorder", id="key recorder"),
        pytest.param({}, {"time_ns": Annotated[int, Metric("T.")]}, "time_ns", id="reserved name"),
        pytest.param({}, {"m" * 49: Annotated[int, Metric("T.")]}, "m" * 49, id="metric of a long name"),
        pytest.param({}, {"mid": float}, "mid", id="number without a metric"),
        pytest.param({}, {"mid": Annotated[float, "a note"]}, "mid", id="annotated with something else"),
        pytest.param({}, {"mid": Annotated[float, Metric("M.")] | None}, "mid", id="metric inside a union"),
        pytest.param({}, {"mid": Annotated[str, Metric("M.")]}, "mid", id="text as a metric"),
        pytest.param({}, {"mid": Annotated[int | float, Metric("M.")]}, "mid", id="two types"),
        pytest.param({}, {"mid": Annotated[list[float], Metric("M.")]}, "mid", id="list"),
        pytest.param({}, {"mid": Annotated[None, Metric("M.")]}, "mid", id="nothing at all"),
        pytest.param({}, {"mid": Annotated[Verdict, Metric("M.")]}, "Kind.STATE", id="state of no kind"),
        pytest.param(
            {}, {"mid": Annotated[int, Metric("M.", kind=Kind.STATE)]}, "Kind.STATE", id="number as a state"
        ),
        pytest.param(
            {},
            {"mid": Annotated[int, Metric("M.", kind=Kind.COUNTER, extremes=True)]},
            "only a gauge has extremes",
            id="counter with extremes",
        ),
        pytest.param(
            {},
            {"mid": Annotated[int, Metric("M.", aggregates=(Aggregate.MAX,))]},
            "mid: the aggregates of every metric include the last value",
            id="no last value",
        ),
        pytest.param(
            {},
            {"mid": Annotated[int | None, Metric("M.", kind=Kind.COUNTER)]},
            "counter",
            id="absent counter",
        ),
        pytest.param(
            {}, {"mid": Annotated[bool, Metric("M.", kind=Kind.COUNTER)]}, "counter", id="yes-or-no counter"
        ),
    ],
)
def test_an_invalid_declaration_is_refused_and_the_field_is_named(
    namespace: dict[str, Any],
    annotations: dict[str, Any],
    named: str,
) -> None:
    sample_type = declared(namespace, {**GOOD, **annotations})
    with pytest.raises(SampleDeclarationError, match=named):
        schema_of(sample_type)


@pytest.mark.parametrize("other", [int, msgspec.Struct, "Sample", 3, None, Sample], ids=repr)
def test_a_type_that_is_no_declared_sample_is_refused(other: Any) -> None:  # noqa: ANN401 - anything
    with pytest.raises(SampleDeclarationError):
        schema_of(other)


def test_a_longest_name_leaves_room_for_prefix_unit_and_suffix_in_a_column() -> None:
    schema = schema_of(declared({}, {**GOOD, "m" * 48: Annotated[int, Metric("T.")]}))
    assert len(f"{schema.metrics[-1].name}_per_second_max") <= 63
