"""URLs that drivers read differently are refused without a piece of their password."""

from __future__ import annotations

import pytest

from decahertz.urls import UrlError, check_url

SCHEMES = ("postgresql", "postgres")
PARAMETERS = ("sslmode", "host", "port", "user", "password")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///db?host=/run/postgresql&user=me",
        "postgresql://me:p%23ss%2Fw%3Frd%40@host:5432/db?sslmode=require",
        "postgres://me:a:b$!*'()@one:5432,two/db",
        "postgresql://me@[::1]:5432/db",
        "postgresql://me@[fe80::1%25eth0]/db",
        "postgresql://%2Frun%2Fpostgresql/db",
        "postgresql://host/db?port=5432",
        "postgresql://ho-st.example.com/d[b]",
    ],
)
def test_urls_that_mean_one_thing_pass(url: str) -> None:
    check_url(url, SCHEMES, PARAMETERS)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:hun#ter@host/db", "write # as %23"),
        ("postgresql://me:12#34@host/db", "write # as %23"),
        ("postgresql://me:hun/ter@host/db", "write / as %2F"),
        ("postgresql://me:12/34@host/db", "write / as %2F"),
        ("postgresql://hun/ter:34@host/db", "write / as %2F"),
        ("postgresql://me:hun?ter@host/db", "write ? as %3F"),
        ("postgresql://me:12?ter=34@host/db", "write ? as %3F"),
        ("postgresql://me:hun@ter@host/db", "write @ as %40"),
        ("postgresql://me:h@un/ter@host/db", "write @ as %40"),
        ("postgresql://me:hun[ter@host/db", "write [ as %5B"),
        ("postgresql://me:hun]ter@host/db", "write ] as %5D"),
        ("postgresql://me:[hunter]@host/db", "write [ as %5B"),
        ("postgresql://me:hun%ter@host/db", "write % as %25"),
        ("postgresql://me:hun ter@host/db", "write a blank as %20"),
        ("postgresql://me:hun\nter@host/db", "a control character"),
        ("postgresql://me@host:hunter/db", "the port is not a number"),
        ("postgresql://me:hunter", "the port is not a number"),
        ("postgresql://me@host:70000/db", "the port is not a number"),
        ("postgresql://me@fe80::1/db", "the port is not a number"),
        ("postgresql://me@ho[st/db", "write # as %23"),
        ("postgresql://host/db?port=hunter", "the port in the URL is not a number"),
        ("postgresql://host/db?hunter", "write ? as %3F"),
        ("postgresql://host/db?pgbouncer=true", "parameter 'pgbouncer', which is not supported"),
        ("postgresql://host/db?hostaddr=127.0.0.1", "parameter 'hostaddr', which is not supported"),
        ("me:hunter@host/db", "postgresql://"),
        ("mysql://me:hunter@host/db", "postgresql://"),
        ("hunter", "postgresql://"),
    ],
)
def test_a_url_that_is_read_in_two_ways_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(UrlError) as caught:
        check_url(url, SCHEMES, PARAMETERS)
    text = str(caught.value)
    assert said in text
    assert "\n" not in text
    for piece in ("hun", "ter@", "34", "me:"):
        assert piece not in text
