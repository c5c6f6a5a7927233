"""Samples are validated before they are published."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decahertz.checks import Reason, SampleCheck
from decahertz.metric import Kind, Metric
from decahertz.sample import Sample, schema_of


class Mood(StrEnum):
    CALM = "calm"
    WILD = "wild"


class MarketSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "market"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")
    instrument: str
    mid: Annotated[float | None, Metric("Mid.")]
    venue: str
    quotes: Annotated[int, Metric("Quotes.", kind=Kind.COUNTER)]
    mood: Annotated[Mood | None, Metric("Mood.", kind=Kind.STATE)]
    is_open: Annotated[bool, Metric("Whether it is open.")]


class OtherSample(MarketSample, frozen=True, kw_only=True):
    pass


def sample(type_: type[MarketSample] = MarketSample, **fields: Any) -> MarketSample:  # noqa: ANN401 - wrong values
    good: dict[str, Any] = {
        "venue": "SIM",
        "instrument": "EUR/USD",
        "mid": 1.1,
        "quotes": 3,
        "mood": Mood.CALM,
        "is_open": True,
    }
    return type_(**(good | fields))


def check() -> SampleCheck:
    return SampleCheck(schema_of(MarketSample))


def test_sound_samples_pass_in_their_order() -> None:
    assert check()([]) == ((), {}, "")
    samples = tuple(sample(instrument=name, mid=None, mood=None) for name in ("b", "a", "c"))
    assert check()(iter(samples)) == (samples, {}, "")


def test_a_batch_with_the_keys_of_the_one_before_is_checked_as_the_first_one() -> None:
    checked = check()
    names = ("a", "b", "c")
    first = tuple(sample(instrument=name) for name in names)
    wrong = (*first[:2], sample(instrument="c", mid=float("nan")))
    for batch, dropped in ((first, {}), (first, {}), (wrong, {Reason.VALUE: 1}), (first, {})):
        result = checked(batch)
        assert (result.samples, dict(result.dropped)) == (batch[: 3 - len(dropped)], dropped)
    twice = (*first, first[0])
    for _ in range(2):
        assert dict(checked(twice).dropped) == {Reason.DUPLICATE: 1}


@pytest.mark.parametrize(
    ("reason", "field", "value"),
    [
        (Reason.VALUE, "mid", float("nan")),
        (Reason.VALUE, "mid", float("inf")),
        (Reason.VALUE, "mid", float("-inf")),
        (Reason.VALUE, "mid", 10**400),
        (Reason.VALUE, "mid", "1.1"),
        (Reason.VALUE, "quotes", 2**63),
        (Reason.VALUE, "quotes", 1.5),
        (Reason.VALUE, "quotes", None),
        (Reason.VALUE, "is_open", 1),
        (Reason.VALUE, "mood", "bored"),
        (Reason.VALUE, "mood", "calm"),
        (Reason.VALUE, "venue", None),
        (Reason.VALUE, "venue", ["SIM"]),
        (Reason.KEY, "venue", ""),
        (Reason.KEY, "venue", "a\tb"),
        (Reason.KEY, "venue", " SIM"),
        (Reason.KEY, "venue", "SIM\n"),
        (Reason.KEY, "venue", "\ud800"),
        (Reason.KEY, "venue", "a" * 1000),
    ],
)
def test_an_invalid_sample_is_rejected_and_the_others_pass(
    reason: Reason,
    field: str,
    value: Any,  # noqa: ANN401 - wrong values
) -> None:
    good = [sample(instrument=f"i{n}") for n in range(7)]
    checked = check()([*good[:4], sample(**{field: value}), *good[4:]])
    assert checked.samples == tuple(good)
    assert checked.dropped == {reason: 1}
    assert checked.problem


def test_the_problem_names_the_field() -> None:
    assert "`mid`" in check()([sample(mid=float("nan"))]).problem


@pytest.mark.parametrize("wrong", [None, "text", sample(OtherSample)])
def test_samples_of_another_type_are_rejected(wrong: Any) -> None:  # noqa: ANN401 - wrong values
    checked = check()([wrong, sample()])
    assert checked.samples == (sample(),)
    assert checked.dropped == {Reason.TYPE: 1}


def test_of_two_samples_with_one_key_the_first_stands() -> None:
    checked = check()([sample(quotes=1), sample(instrument="other"), sample(quotes=2), sample(quotes=3)])
    assert [(s.instrument, s.quotes) for s in checked.samples if isinstance(s, MarketSample)] == [
        ("EUR/USD", 1),
        ("other", 3),
    ]
    assert checked.dropped == {Reason.DUPLICATE: 2}
    assert "EUR/USD" in checked.problem


def test_a_bad_key_is_refused_again_in_the_next_batch() -> None:
    checker = check()
    for _ in range(2):
        assert checker([sample(venue="\t")]).dropped == {Reason.KEY: 1}


def test_a_collector_without_a_key_has_one_sample() -> None:
    class HostSample(Sample, frozen=True, kw_only=True):
        collector: ClassVar[str] = "host"
        load: Annotated[float, Metric("Load.")]

    checked = SampleCheck(schema_of(HostSample))([HostSample(load=1.0), HostSample(load=2.0)])
    assert checked.samples == (HostSample(load=1.0),)
    assert checked.dropped == {Reason.DUPLICATE: 1}


values = st.one_of(st.none(), st.floats(), st.integers(-(2**70), 2**70), st.text(max_size=3))


@given(st.lists(st.builds(sample, instrument=st.sampled_from("abcdef"), mid=values, quotes=values)))
def test_every_sample_passes_or_is_counted(samples: list[MarketSample]) -> None:
    checked = check()(samples)
    assert len(checked.samples) + checked.dropped.total() == len(samples)
    assert all(any(passed is given for given in samples) for passed in checked.samples)
    again = check()(checked.samples)
    assert again.samples == checked.samples
    assert not again.dropped
