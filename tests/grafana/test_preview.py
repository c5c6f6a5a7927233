"""Pictures of dashboards: how values are written, and which settings of fields win."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from grafana.preview.canvas import Box, Canvas, by_name
from grafana.preview.fields import shown_fields
from grafana.preview.units import shown
from grafana.reader.dashboard import Dashboard, Panel, TimeSpan
from grafana.reader.frame import Field, Frame, Type
from grafana.reader.intervals import TimeRange
from grafana.reader.reduce import reduce_values
from grafana.reader.view import Sources, View


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "expected"),
    [
        (None, "short", None, "-"),
        (True, "short", None, "true"),
        ("live", "short", None, "live"),
        ("4711", "short", None, "4.71 K"),
        ("4711", "string", None, "4711"),
        ("4711", None, None, "4711"),
        (1234.5, "short", None, "1.23 K"),
        (12, "short", None, "12"),
        (1.0849412, "none", 5, "1.08494"),
        (1234567.891, "locale", 2, "1,234,567.89"),
        (0.0256, "percentunit", 1, "2.6%"),
        (0.0256, "s", None, "25.6 ms"),
        (0, "s", None, "0 s"),
        (90, "s", None, "1.50 mins"),
        (1536, "bytes", None, "1.50 KiB"),
        (1500, "Bps", None, "1.50 kB/s"),
        (0.5, "suffix: bps", 2, "0.50 bps"),
        (1_523_556_000_000, "dateTimeAsIso", None, "2018-04-12 18:00:00"),
    ],
)
def test_values_by_unit(value: object, unit: str, decimals: int | None, expected: str) -> None:
    assert shown(value, unit, decimals) == expected


def _fields(config: dict[str, Any], *fields: Field) -> list[Any]:
    made = {"id": 1, "type": "stat", "gridPos": {"h": 1, "w": 1, "x": 0, "y": 0}, "fieldConfig": config}
    panel = msgspec.convert(made, Panel)
    dashboard = Dashboard(uid="a", title="A", schema_version=41, time=TimeSpan(from_="now-1h", to="now"))
    (found,) = shown_fields(View(dashboard, Sources({}), TimeRange(0, 1)), panel, [Frame(list(fields))])
    return found


def test_an_override_wins_over_the_defaults_and_templates_name_a_field() -> None:
    steps = [{"color": "green", "value": None}, {"color": "red", "value": 2}]
    config = {
        "defaults": {
            "unit": "short",
            "displayName": "${__field.labels.venue} ${__field.name}",
            "thresholds": {"mode": "absolute", "steps": steps},
        },
        "overrides": [
            {
                "matcher": {"id": "byName", "options": "mid"},
                "properties": [
                    {"id": "unit", "value": "suffix: bps"},
                    {"id": "custom.lineWidth", "value": 3},
                    {"id": "mappings", "value": [{"type": "value", "options": {"1": {"text": "one"}}}]},
                ],
            }
        ],
    }
    mid, age = _fields(
        config,
        Field("mid", Type.NUMBER, [1.0, 5.0], {"venue": "x"}),
        Field("age", Type.NUMBER, [1.0], {"venue": "x"}),
    )
    assert (mid.name, age.name) == ("x mid", "x age")
    assert [mid.text(value) for value in (1.0, 5.0)] == ["one", "5 bps"]
    assert (mid.custom["lineWidth"], age.custom) == (3, {})
    assert mid.colour_of(5.0) != mid.colour_of(1.0)
    assert age.text(5.0) == "5"
    assert by_name("a") == by_name("a")


def test_calculations() -> None:
    values = [None, 3.0, 1.0, None]
    found = [
        reduce_values(values, how) for how in ("lastNotNull", "firstNotNull", "min", "max", "mean", "sum")
    ]
    assert found == [1.0, 3.0, 1.0, 3.0, 2.0, 4.0]
    assert reduce_values([None], "max") is None


def test_a_picture_has_its_size_few_colours_and_texts_within_their_room(tmp_path: Path) -> None:
    canvas = Canvas(300, 200)
    canvas.rectangle(Box(10, 10, 100, 50), "#ff0000")
    long = "a text that is far too long"
    assert canvas.measure(canvas.cut(long, 12, 60), 12) <= 60 < canvas.measure(long, 12)
    canvas.text(10, 100, long, 12, within=60)
    canvas.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert (image.size, image.mode) == ((300, 200), "P")
        assert image.convert("RGB").getpixel((50, 30)) == (255, 0, 0)
        assert image.convert("RGB").getpixel((50, 80)) != (255, 0, 0)
