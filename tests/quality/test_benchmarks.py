"""Parts of the benchmarks that break when a sample gets another field, long before somebody runs them."""

from __future__ import annotations

import msgspec

from benchmarks.bench_fan_out import state
from benchmarks.rival_api import Fill, Trade
from storage.query.queries import StoredFill, StoredRoundTrip


def test_the_state_that_is_fanned_out_is_a_whole_sample_of_about_the_size_that_its_figures_are_for() -> None:
    assert 700 <= len(msgspec.json.encode(state(1).samples[0])) <= 1_400


def test_the_reference_of_lists_answers_with_the_fields_of_ours() -> None:
    assert set(Fill.model_fields) == set(StoredFill.__struct_fields__)
    assert set(Trade.model_fields) == set(StoredRoundTrip.__struct_fields__)
