"""Changes to single series of a panel: colours, bands, points, and the line of a threshold."""

from __future__ import annotations

from grafana_foundation_sdk.builders import common, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

from grafana.builder import style


def limit_line(panel: timeseries.Panel, value: float) -> timeseries.Panel:
    """Marks a threshold in a panel by a dashed line."""
    dashed = common.GraphThresholdsStyleConfig().mode(common_model.GraphThresholdsStyleMode.DASHED)
    return panel.thresholds(style.thresholds((value, style.FAILED), base="transparent")).thresholds_style(
        dashed
    )


def coloured(name: str, colour: str) -> tuple[str, list[model.DynamicConfigValue]]:
    """Override: a series by its name in a fixed colour."""
    return name, [
        model.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour}),
    ]


def dashed(panel: timeseries.Panel, names: str) -> timeseries.Panel:
    """Draws series, by a pattern of their names, as dashed grey lines: what others are compared with."""
    style_of = {"fill": "dash", "dash": [6, 6]}
    return panel.override_by_regexp(
        names,
        [
            model.DynamicConfigValue(id_val="custom.lineStyle", value=style_of),
            model.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": style.NEUTRAL}),
        ],
    )


def band(panel: timeseries.Panel, low: str, high: str, colour: str) -> timeseries.Panel:
    """Fills the range between two series."""
    hidden = [
        model.DynamicConfigValue(id_val="custom.lineWidth", value=0),
        model.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour}),
        model.DynamicConfigValue(
            id_val="custom.hideFrom", value={"legend": True, "tooltip": False, "viz": False}
        ),
    ]
    filled = [
        *hidden,
        model.DynamicConfigValue(id_val="custom.fillBelowTo", value=low),
        model.DynamicConfigValue(id_val="custom.fillOpacity", value=20),
    ]
    return panel.override_by_name(low, hidden).override_by_name(high, filled)


def points(panel: timeseries.Panel, name: str, colour: str) -> timeseries.Panel:
    """Draws a series as points, for things that happen now and then."""
    properties = {
        "custom.drawStyle": "points",
        "custom.pointSize": 7,
        "color": {"mode": "fixed", "fixedColor": colour},
    }
    return panel.override_by_name(
        name, [model.DynamicConfigValue(id_val=key, value=value) for key, value in properties.items()]
    )
