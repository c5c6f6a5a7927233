"""The links of a panel as a click on its data opens them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlsplit

from grafana.preview.fields import Shown, shown_fields
from grafana.reader.dashboard import Panel
from grafana.reader.frame import Type
from grafana.reader.intervals import TimeRange
from grafana.reader.view import View

_ROWS = 5
"""Of each table; more would lead to the same places."""
_DATA = re.compile(r'\$\{__data\.fields(?:\.(\w+?)|\["(\w+)"\])(\.numeric)?(?::(\w+))?\}')
_LABEL = re.compile(r"\$\{__field\.labels\.(\w+):percentencode\}")


@dataclass(frozen=True)
class Target:
    """A dashboard as a link opens it."""

    uid: str
    time_range: TimeRange
    selections: Mapping[str, list[str]]


def target_of(address: str) -> Target:
    """Returns the dashboard, time range and selection that an address names."""
    parts = urlsplit(address)
    query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=True)
    times = TimeRange(int(query["from"][0]), int(query["to"][0]))
    chosen = {name[4:]: values for name, values in query.items() if name.startswith("var-")}
    return Target(parts.path.removeprefix("/d/"), times, chosen)


def addresses(panel: Panel, view: View) -> Iterator[tuple[str, str]]:
    """The title and the address of each link, of the first rows or of every series."""
    frames = view.frames(panel)
    yield from ((link.title, view.text(link.url)) for link in panel.links)
    for fields in shown_fields(view, panel, frames):
        for shown in fields:
            links = () if shown.field.type is Type.TIME else shown.config.links
            for link in links:
                for row in range(min(_ROWS, len(shown.field.values))):
                    yield link.title, view.text(_with_data(link.url, shown, fields, row))


def _with_data(url: str, shown: Shown, fields: Sequence[Shown], row: int) -> str:
    named = {one.field.name: one for one in fields}

    def value(match: re.Match[str]) -> str:
        field = named[match[1] or match[2]]
        found = field.field.values[row]
        text = str(found) if match[3] else field.text(found)
        return quote(text, safe="-_.~") if match[4] else text

    labels = shown.field.labels
    return _LABEL.sub(lambda match: quote(labels[match[1]], safe="-_.~"), _DATA.sub(value, url))
