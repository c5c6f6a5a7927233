from __future__ import annotations

import pytest

from decahertz.negotiation import accepts_gzip
from exporter.negotiation import Format, choose_format

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        (BROWSER, Format.TEXT),
        (PROMETHEUS_2, Format.OPENMETRICS),
        (PROMETHEUS_3, Format.OPENMETRICS),
        ("text/plain", Format.TEXT),
        ("text/*", Format.TEXT),
        ("application/*", Format.OPENMETRICS),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("APPLICATION/OpenMetrics-Text; Version=1.0.0", Format.OPENMETRICS),
        ("text/plain, application/openmetrics-text", Format.OPENMETRICS),
        ("text/plain, application/*", Format.TEXT),
        ("application/openmetrics-text;q=0.3, text/plain;q=0.9", Format.TEXT),
        ("application/openmetrics-text;q=0.9, text/plain;q=0.3", Format.OPENMETRICS),
        ("application/openmetrics-text;q=0.2, */*;q=0.1", Format.OPENMETRICS),
        ("application/openmetrics-text;q=0, */*", Format.TEXT),
        ("text/plain;q=0, */*", Format.OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0, text/plain;q=0.1", Format.TEXT),
        ("application/openmetrics-text;q=nonsense, text/plain;q=0.1", Format.TEXT),
        ("application/openmetrics-text;q=7, text/plain;q=0.1", Format.TEXT),
        ("application/json", Format.TEXT),
        (",;,", Format.TEXT),
    ],
)
def test_the_accept_header_chooses_the_format(accept: str, form: Format) -> None:
    assert choose_format(accept) is form


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("x-gzip", True),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*", True),
        ("deflate, GZIP;q=0.5", True),
    ],
)
def test_gzip_is_used_where_it_is_accepted(accept_encoding: str, accepted: bool) -> None:  # noqa: FBT001 - a case
    assert accepts_gzip(accept_encoding) is accepted
