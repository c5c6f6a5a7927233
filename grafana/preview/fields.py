"""Fields as a panel shows them: name, unit, colours and texts, from its defaults and overrides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from grafana.preview.canvas import PALETTE, TEXT, by_name, colour
from grafana.preview.units import shown
from grafana.reader.dashboard import FieldConfig, Matcher, Panel
from grafana.reader.frame import Field, Frame, Type, display_name
from grafana.reader.view import View

_TEMPLATE = re.compile(r"\$\{__field\.(?:labels\.(\w+)|labels\[\"([^\"]+)\"\]|((?:displayN|n)ame))\}")


@dataclass(frozen=True)
class Shown:
    """A field with its settings."""

    field: Field
    name: str
    config: FieldConfig
    custom: Mapping[str, Any]
    number: int
    """Its place among the fields that have a colour of their own."""

    def text(self, value: object) -> str:
        """A value as it is shown, by a mapping or by the unit."""
        mapped = self._mapped(value)
        if mapped and mapped.get("text"):
            return str(mapped["text"])
        if value is None and self.config.no_value:
            return self.config.no_value
        unit = self.config.unit
        if self.field.type is Type.TIME and not (unit or "").startswith("dateTime"):
            unit = "dateTimeAsIso"
        return shown(value, unit, self.config.decimals)

    def colour_of(self, value: object) -> str:
        """The colour of a value: of its mapping, else of the thresholds."""
        mapped = self._mapped(value)
        if mapped and mapped.get("color"):
            return colour(mapped["color"])
        thresholds = self.config.thresholds
        if thresholds is None or not isinstance(value, int | float):
            return TEXT
        chosen = thresholds.steps[0].color if thresholds.steps else TEXT
        for step in thresholds.steps:
            if step.value is not None and value >= step.value:
                chosen = step.color
        return TEXT if chosen == "transparent" else colour(chosen)

    @property
    def line_colour(self) -> str:
        """The colour of its line or area."""
        mode = (self.config.color or {}).get("mode", "palette-classic")
        if mode == "fixed":
            return colour(str((self.config.color or {})["fixedColor"]))
        if mode == "thresholds":
            known = [value for value in self.field.values if value is not None]
            return self.colour_of(known[-1] if known else None)
        if mode == "palette-classic-by-name":
            return by_name(self.name)
        return PALETTE[self.number % len(PALETTE)]

    def _mapped(self, value: object) -> Mapping[str, Any] | None:
        for mapping in self.config.mappings:
            if mapping.type == "value":
                text = f"{value:g}" if isinstance(value, float) else str(value)
                text = text.lower() if isinstance(value, bool) else text
                if text in mapping.options:
                    found: Mapping[str, Any] = mapping.options[text]
                    return found
        return None


def shown_fields(view: View, panel: Panel, frames: Sequence[Frame]) -> list[list[Shown]]:
    """The fields of each frame, with the settings that concern them."""
    number, result = 0, []
    for frame in frames:
        fields = []
        for one in frame.fields:
            fields.append(_shown(view, panel, frames, frame, one, number))
            number += one.type is not Type.TIME
        result.append(fields)
    return result


def _shown(view: View, panel: Panel, frames: Sequence[Frame], frame: Frame, one: Field, number: int) -> Shown:
    config: dict[str, Any] = msgspec.to_builtins(panel.field_config.defaults)
    custom: dict[str, Any] = dict(panel.field_config.defaults.custom)
    name = display_name(one, frames)
    if config["displayName"] and one.type is not Type.TIME:
        name = _named(view, config["displayName"], one, name)
    for override in panel.field_config.overrides:
        if not _matches(override.matcher, one, name, frame):
            continue
        for setting in override.properties:
            if setting.id.startswith("custom."):
                custom[setting.id.removeprefix("custom.")] = setting.value
            elif setting.id == "displayName":
                name = _named(view, str(setting.value), one, name)
            elif setting.id in config:
                config[setting.id] = setting.value
    return Shown(one, name, msgspec.convert(config, FieldConfig), custom, number)


def _named(view: View, template: str, one: Field, name: str) -> str:
    def replace(match: re.Match[str]) -> str:
        label = match[1] or match[2]
        if label:
            return one.labels.get(label, "")
        return one.name if match[3] == "name" else name

    return view.text(_TEMPLATE.sub(replace, template))


def _matches(matcher: Matcher, one: Field, name: str, frame: Frame) -> bool:
    if matcher.id == "byName":
        return matcher.options in (one.name, name)
    if matcher.id == "byRegexp":
        return re.search(str(matcher.options).strip("/"), name) is not None
    if matcher.id == "byFrameRefID":
        return bool(matcher.options == frame.ref_id)
    if matcher.id == "byType":
        return bool(matcher.options == one.type)
    return False
