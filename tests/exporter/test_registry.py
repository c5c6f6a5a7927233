"""Self-metrics carry the label of the recorder."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exporter.negotiation import Format
from exporter.registry import RegistryRenderer
from tests.exporter.parsing import families_in, series_in

names = st.text(st.one_of(st.sampled_from('"\\\n\r,{}= #\x00\x85\u2028é😀'), st.characters(codec="utf-8")))


@pytest.mark.parametrize("form", tuple(Format))
@settings(deadline=None)
@given(recorder=names, label=names)
def test_every_series_of_every_kind_carries_the_recorder_and_keeps_its_own_labels(
    form: Format, recorder: str, label: str
) -> None:
    registry = CollectorRegistry()
    Gauge("decahertz_part_level", "Level,\n{a} b.", registry=registry).set(1.5)
    Counter("decahertz_part_things", "Things.", ("name",), registry=registry).labels(label).inc(2)
    Histogram("decahertz_part_wait_seconds", "Waits.", buckets=(1.0,), registry=registry).observe(0.5)
    rendered = b"".join(RegistryRenderer(recorder).render(registry, form, set()))
    body = rendered + b"# EOF\n" if form is Format.OPENMETRICS else rendered

    series = series_in(body, form)
    created = {key: series.pop(key) for key in list(series) if key[0].endswith("_created")}

    own = frozenset({("recorder", recorder)})
    assert series == {
        ("decahertz_part_level", own): 1.5,
        ("decahertz_part_things_total", own | {("name", label)}): 2,
        ("decahertz_part_wait_seconds_bucket", own | {("le", "1.0")}): 1,
        ("decahertz_part_wait_seconds_bucket", own | {("le", "+Inf")}): 1,
        ("decahertz_part_wait_seconds_count", own): 1,
        ("decahertz_part_wait_seconds_sum", own): 0.5,
    }
    assert len(created) == (2 if form is Format.OPENMETRICS else 0)
    helps = {family.name: family.documentation for family in families_in(body, form)}
    assert helps["decahertz_part_level"] == "Level,\n{a} b."


def test_openmetrics_names_the_unit_of_a_family() -> None:
    registry = CollectorRegistry()
    Gauge("decahertz_part_level_bytes", "Level.", registry=registry)
    Counter("decahertz_part_work_seconds", "Work.", registry=registry)
    Gauge("decahertz_part_things", "Things.", registry=registry)
    rendered = b"".join(RegistryRenderer("desk").render(registry, Format.OPENMETRICS, set()))

    units = {family.name: family.unit for family in families_in(rendered + b"# EOF\n", Format.OPENMETRICS)}

    assert units == {
        "decahertz_part_level_bytes": "bytes",
        "decahertz_part_work_seconds": "seconds",
        "decahertz_part_things": "",
    }
