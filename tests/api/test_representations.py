"""How responses are written and sent: CSV, HEAD, ETags, and the parts of ``Server-Timing``."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
import pytest_asyncio

from api.http.csv_format import list_columns, to_csv
from api.http.revalidation import entity_tag, is_known
from api.routes.table import ROUTES
from decahertz.event import Log, LogLevel, News
from decahertz.fakes import example_events
from storage.query.queries import Page, StoredFill
from tests.api.checked import Caller, Reply
from tests.api.helpers import START_NS, Stack

IN_PATH = {"instrument": "EUR/USD", "order_id": "o1"}
REVALIDATED = (
    "signals",
    "fills?limit=1",
    "orders/o1",
    "orders/active/count",
    f"metrics/history?collector=probe&start={START_NS}&end={START_NS + 1}",
    f"market/bars/EUR/USD?timeframe=1m&start={START_NS}",
    "instruments",
    "metrics/catalogue",
    "openapi.json",
)


@pytest_asyncio.fixture
async def asked(stored: Stack, stored_caller: Caller) -> Caller:
    """The API of a database with an event of every type."""
    stored.publish_cycle(1)
    await stored.emit(*example_events(START_NS))
    await stored.all_stored(1)
    return stored_caller


def rows_of(answer: Reply) -> list[dict[str, str]]:
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/csv")
    return list(csv.DictReader(io.StringIO(answer.raw.decode(), newline="")))


def as_text(value: Any) -> str:  # noqa: ANN401 - JSON
    if value is None:
        return ""
    if isinstance(value, list):
        return json.dumps(value, separators=(",", ":"))
    return str(value).lower() if isinstance(value, bool) else str(value)


async def test_a_list_as_csv_has_the_fields_and_values_of_its_items(asked: Caller) -> None:
    for path in (
        "signals",
        "fills",
        "trades",
        "trades/recent",
        "orders",
        "risk/events",
        "market/quotes/EUR/USD",
    ):
        items = (await asked.get(path)).body["items"]
        rows = rows_of(await asked.get(f"{path}?format=csv"))
        assert [list(row) for row in rows] == [list(item) for item in items], path
        assert rows == [{name: as_text(value) for name, value in item.items()} for item in items], path


async def test_texts_null_and_lists_survive_csv(stored: Stack, stored_caller: Caller) -> None:
    message = 'a "quoted", text\nof two lines'
    await stored.emit(
        Log(time_ns=START_NS, component="c", level=LogLevel.INFO, message=message),
        News(time_ns=START_NS, headline="", instruments=("A", "B")),
    )
    await stored.all_stored()
    (log,) = rows_of(await stored_caller.get("system/logs?format=csv"))
    assert log["message"] == message
    answer = await stored_caller.get("sentiment/news?format=csv")
    (news,) = rows_of(answer)
    assert news["instruments"] == '["A","B"]'
    line = answer.raw.decode().splitlines()[1]
    assert ',"",' in line  # the empty headline
    assert ",," in line  # no sentiment


async def test_the_header_link_leads_to_the_next_page_of_csv(asked: Caller) -> None:
    path, found = "market/quotes/EUR/USD?format=csv&limit=1", []
    while path:
        answer = await asked.get(path)
        found += [row["sequence"] for row in rows_of(answer)]
        link = re.fullmatch(r'</api/v1/(.+)>; rel="next"', answer.headers.get("Link", ""))
        path = link[1] if link else ""
    items = (await asked.get("market/quotes/EUR/USD")).body["items"]
    assert found == [str(item["sequence"]) for item in items]
    assert len(found) == 3


async def test_only_lists_are_written_as_csv(asked: Caller) -> None:
    for path in ("ping?format=csv", "orders/o1?format=csv", "metrics/current?format=csv"):
        (error,) = (await asked.get(path)).problem("invalid-parameter")["errors"]
        assert error["field"] == "format"


def test_the_columns_of_a_list_are_the_fields_of_its_items() -> None:
    assert list_columns(Page[StoredFill]) == StoredFill.__struct_fields__
    assert list_columns(StoredFill) == ()
    assert to_csv(("a", "b"), [{"b": True, "a": 1e22}]) == b"a,b\r\n1e22,true\r\n"


async def test_head_announces_what_get_returns_on_every_route(asked: Caller) -> None:
    names = {"collector": "collector=probe", "timeframe": "timeframe=1m"}
    for route in ROUTES:
        required = [name for name in names if name in route.query.__struct_fields__]
        path = route.path.removeprefix("/api/v1/")
        if route.method != "GET" or not set(route.path_names) <= IN_PATH.keys():
            continue
        for name in route.path_names:
            path = path.replace(f"{{{name}}}", IN_PATH[name])
        path += "?" + "&".join(names[name] for name in required)
        got, head = await asked.get(path), await asked.ask("HEAD", path)
        assert (head.status, head.raw) == (got.status, b""), path
        assert head.headers["Content-Type"] == got.headers["Content-Type"], path
        if not route.streams:
            assert int(head.headers["Content-Length"]) > 0, path


async def test_a_response_that_has_not_changed_is_not_sent_again(asked: Caller) -> None:
    for path in REVALIDATED:
        first = await asked.get(path)
        tag = first.headers["ETag"]
        again = await asked.get(path, headers={"If-None-Match": f'"other", {tag}'})
        assert (again.status, again.raw, again.headers["ETag"]) == (304, b"", tag), path
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"] != "no-store", path
        other = await asked.get(path, headers={"If-None-Match": '"other"'})
        assert (other.status, other.raw) == (200, first.raw), path


@pytest.mark.parametrize("form", ["json", "msgpack", "csv"])
async def test_each_form_of_a_list_says_how_old_it_is_and_is_not_sent_again(asked: Caller, form: str) -> None:
    for list_ in ("fills?", "signals?", "system/logs?", "market/quotes/EUR/USD?limit=1&"):
        path = f"{list_}format={form}"
        first = await asked.get(path)
        json = await asked.get(path.replace(f"format={form}", "format=json"))
        headers = {"ETag", "Age", "Cache-Control", "Cache-Status", "Vary"}
        assert first.headers.keys() & headers == json.headers.keys() & headers, path
        assert first.headers["Cache-Control"] == json.headers["Cache-Control"] == "private, no-cache"
        tag = first.headers["ETag"]
        again = await asked.get(path, headers={"If-None-Match": tag})
        assert (again.status, again.raw, again.headers["ETag"]) == (304, b"", tag), path
        head = await asked.ask("HEAD", path)
        assert (head.status, head.headers["ETag"]) == (200, tag), path
        assert (await asked.ask("HEAD", path, headers={"If-None-Match": tag})).status == 304, path
        assert form == "json" or json.headers["ETag"] != tag, path


async def test_a_page_that_gets_a_successor_is_another_response(stored: Stack, asked: Caller) -> None:
    path = "system/logs?format=csv&limit=1"
    first = await asked.get(path)
    assert "Link" not in first.headers
    await stored.emit(Log(time_ns=START_NS - 10**9, component="c", level=LogLevel.INFO, message="older"))
    await stored.all_stored(1)
    answer = await asked.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (answer.status, answer.raw) == (200, first.raw)
    assert "Link" in answer.headers


async def test_a_new_row_changes_the_tag_of_its_list(stored: Stack, asked: Caller) -> None:
    tag = (await asked.get("system/logs")).headers["ETag"]
    await stored.emit(Log(time_ns=START_NS, component="c", level=LogLevel.INFO, message="new"))
    await stored.all_stored(1)
    answer = await asked.get("system/logs", headers={"If-None-Match": tag})
    assert answer.status == 200
    assert answer.headers["ETag"] != tag
    assert len(answer.body["items"]) == 2


@pytest.mark.parametrize(
    ("header", "known"),
    [
        (None, False),
        ("*", True),
        ('"other"', False),
        ('"other" , {}', True),
        ("{}", True),
        ("", False),
    ],
)
def test_a_client_knows_a_response_by_its_tag(header: str | None, known: bool) -> None:  # noqa: FBT001 - a parameter
    tag = entity_tag(b"body")
    assert is_known(header and header.replace("{}", tag), tag) is known
    assert is_known(tag.removeprefix("W/"), tag)
    assert entity_tag(b"body") == tag != entity_tag(b"another body")


def parts_of(answer: Reply) -> dict[str, float]:
    items = (item.split(";dur=") for item in answer.headers["Server-Timing"].split(", "))
    return {name: float(milliseconds) for name, milliseconds in items}


async def test_the_server_says_how_long_queue_database_and_encoding_took(asked: Caller) -> None:
    for path in ("fills", "signals?format=csv", "market/bars/EUR/USD?timeframe=1m"):
        parts = parts_of(await asked.get(path, headers={"Cache-Control": "no-cache"}))
        assert parts.keys() == {"total", "queue", "database", "encode"}, path
        assert parts["database"] > 0, path
        assert parts["encode"] > 0, path
        assert parts["total"] >= parts["queue"] + parts["database"] + parts["encode"] - 0.01, path


async def test_a_response_out_of_the_cache_has_no_parts(asked: Caller) -> None:
    answers = [await asked.get("fills") for _ in range(20)]
    hits = [answer for answer in answers if "hit" in answer.headers["Cache-Status"]]
    assert hits
    assert all(parts_of(answer).keys() == {"total"} for answer in hits)
