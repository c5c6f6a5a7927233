"""The JSON model of a dashboard, as far as ours use it; an unknown or mistyped key is an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct


class _Model(Struct, rename="camel", forbid_unknown_fields=True):
    """Base of the models: keys in camel case, none that is not declared."""


class DataSourceRef(_Model, kw_only=True):
    """The data source of a panel, query, variable or annotation."""

    type: str | None = None
    uid: str


class GridPos(_Model, kw_only=True):
    """Place of a panel on the grid of 24 columns; a row has a height of 30 pixels and 8 of margin."""

    h: int
    w: int
    x: int
    y: int
    static: bool = False


class Threshold(_Model, kw_only=True):
    """A step of the thresholds; the first one has no value."""

    color: str
    value: float | None = None


class Thresholds(_Model, kw_only=True):
    """Thresholds of a field."""

    mode: str
    steps: list[Threshold]


class ValueMapping(_Model, kw_only=True):
    """Text and colour of values."""

    type: str
    options: dict[str, Any]


class Link(_Model, kw_only=True):
    """A link of a dashboard, panel or field."""

    title: str
    url: str = ""
    type: str = "link"
    uid: str = ""
    icon: str = ""
    tooltip: str = ""
    tags: list[str] = []
    as_dropdown: bool = False
    target_blank: bool = False
    include_vars: bool = False
    keep_time: bool = False
    dashboard_uid: str = ""
    one_click: bool = False
    placement: str | None = None


class FieldConfig(_Model, kw_only=True):
    """How a field is shown; ``None`` is Grafana's default."""

    unit: str | None = None
    decimals: int | None = None
    min: float | None = None
    max: float | None = None
    display_name: str | None = None
    description: str | None = None
    no_value: str | None = None
    color: dict[str, Any] | None = None
    thresholds: Thresholds | None = None
    mappings: list[ValueMapping] = []
    links: list[Link] = []
    actions: list[Any] = []
    custom: dict[str, Any] = {}
    filterable: bool | None = None
    field_min_max: bool | None = None
    null_value_mode: str | None = None


class Matcher(_Model, kw_only=True):
    """Fields that an override concerns."""

    id: str
    options: Any = None
    scope: str | None = None


class Property(_Model, kw_only=True):
    """One setting of an override."""

    id: str
    value: Any = None


class Override(_Model, kw_only=True):
    """Settings of some fields."""

    matcher: Matcher
    properties: list[Property]


class FieldConfigSource(_Model, kw_only=True):
    """Settings of all fields of a panel, and those of some."""

    defaults: FieldConfig = msgspec.field(default_factory=FieldConfig)
    overrides: list[Override] = []


class Transformation(_Model, kw_only=True):
    """A step between queries and panel."""

    id: str
    options: dict[str, Any] = {}
    disabled: bool = False
    filter: Matcher | None = None
    topic: str | None = None


class SqlTarget(_Model, kw_only=True):
    """A query of the PostgreSQL source."""

    ref_id: str
    raw_sql: str
    format: str = "time_series"
    datasource: DataSourceRef | None = None
    hide: bool = False
    raw_query: bool = True
    editor_mode: str = "code"
    query_type: str = ""
    dataset: str | None = None
    table: str | None = None
    sql: dict[str, Any] | None = None


class PrometheusTarget(_Model, kw_only=True):
    """A query of the Prometheus source."""

    ref_id: str
    expr: str
    datasource: DataSourceRef | None = None
    hide: bool = False
    range: bool | None = None
    instant: bool = False
    exemplar: bool = False
    format: str = "time_series"
    legend_format: str = ""
    interval: str = ""
    interval_factor: int = 1
    editor_mode: str = "code"
    query_type: str = ""


class Panel(_Model, kw_only=True):
    """A panel, or a row with panels of its own when it is collapsed."""

    id: int
    type: str
    title: str = ""
    description: str = ""
    grid_pos: GridPos
    datasource: DataSourceRef | None = None
    targets: list[dict[str, Any]] = []
    field_config: FieldConfigSource = msgspec.field(default_factory=FieldConfigSource)
    options: dict[str, Any] = {}
    transformations: list[Transformation] = []
    links: list[Link] = []
    interval: str | None = None
    max_data_points: int | None = None
    time_from: str | None = None
    time_shift: str | None = None
    hide_time_override: bool = False
    cache_timeout: str | None = None
    query_caching_ttl: int | None = msgspec.field(default=None, name="queryCachingTTL")
    repeat: str | None = None
    repeat_direction: str | None = None
    max_per_row: int | None = None
    transparent: bool = False
    plugin_version: str = ""
    library_panel: Any = None
    collapsed: bool = False
    panels: list[Panel] = []

    @property
    def name(self) -> str:
        """How tests and tables call it."""
        return f"{self.title or self.type} ({self.id})"


class Choice(_Model, kw_only=True):
    """A value of a variable."""

    text: str | list[str] = ""
    value: str | list[str] = ""
    selected: bool = False
    is_none: bool = False


class Variable(_Model, kw_only=True):
    """A variable of a dashboard."""

    name: str
    type: str
    label: str | None = None
    description: str | None = None
    datasource: DataSourceRef | None = None
    query: str | dict[str, Any] = ""
    definition: str = ""
    regex: str = ""
    sort: int = 0
    refresh: int = 0
    multi: bool = False
    include_all: bool = False
    all_value: str | None = None
    allow_custom_value: bool = True
    current: Choice = msgspec.field(default_factory=Choice)
    options: list[Choice] = []
    hide: int = 0
    skip_url_sync: bool = False
    auto: bool = False
    auto_min: str = msgspec.field(default="", name="auto_min")
    auto_count: int = msgspec.field(default=30, name="auto_count")
    static_options: list[Choice] = []
    regex_apply_to: str = "value"


class Annotation(_Model, kw_only=True):
    """An annotation query."""

    name: str
    datasource: DataSourceRef
    enable: bool = True
    hide: bool = False
    icon_color: str = ""
    built_in: int = 0
    type: str | None = None
    target: dict[str, Any] | None = None
    raw_query: str = ""
    expr: str = ""
    step: str = ""
    title_format: str = ""
    text_format: str = ""
    tag_keys: str = ""
    filter: dict[str, Any] | None = None
    mappings: dict[str, Any] | None = None
    use_value_for_time: bool | None = None
    placement: str | None = None


class Annotations(_Model, kw_only=True):
    """All annotation queries."""

    items: list[Annotation] = msgspec.field(default_factory=list, name="list")


class Templating(_Model, kw_only=True):
    """All variables."""

    items: list[Variable] = msgspec.field(default_factory=list, name="list")


class TimeSpan(_Model, kw_only=True):
    """The time range that a dashboard opens with, such as ``now-15m`` to ``now``."""

    from_: str = msgspec.field(name="from")
    to: str


class Dashboard(_Model, kw_only=True):
    """A dashboard."""

    uid: str
    title: str
    description: str = ""
    tags: list[str] = []
    id: int | None = None
    version: int = 0
    schema_version: int
    editable: bool = True
    graph_tooltip: int = 0
    fiscal_year_start_month: int = 0
    live_now: bool = False
    preload: bool = False
    refresh: str = ""
    timezone: str = ""
    week_start: str = ""
    time: TimeSpan
    timepicker: dict[str, Any] = {}
    templating: Templating = msgspec.field(default_factory=Templating)
    annotations: Annotations = msgspec.field(default_factory=Annotations)
    links: list[Link] = []
    panels: list[Panel] = []
    gnet_id: Any = None
    style: str = "dark"

    def all_panels(self) -> Iterator[Panel]:
        """All panels in reading order, those of collapsed rows included; rows are left out."""
        for panel in self.panels:
            if panel.type == "row":
                yield from panel.panels
            else:
                yield panel
