"""REST without a database: what runs now, negotiation, and how requests fail."""

from __future__ import annotations

import asyncio
import gzip
import re

import msgspec
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import make_mocked_request

from api.http.guard import Guard
from api.http.problems import ProblemError
from api.settings import ApiSettings
from decahertz.bus import samples_topic
from decahertz.health import Health
from decahertz.sample import SampleBatch
from tests.api.checked import MSGPACK, PROBLEM, Caller
from tests.api.helpers import DESK, RECORDER, START_NS, DeskSample, Stack


async def test_health_is_that_of_the_worst_component(stack: Stack, caller: Caller) -> None:
    well = await caller.get("health")
    assert (well.status, well.body["health"], well.body["version"]) == (200, "ok", "0.0.test")
    assert well.body["components"] == [{"name": "api", "health": "ok", "detail": ""}]
    stack.fail("feeds", Health.DEGRADED)
    degraded = await caller.get("health")
    assert (degraded.status, degraded.body["health"]) == (200, "degraded")
    stack.fail("storage", Health.FAILED)
    failed = await caller.get("health")
    assert (failed.status, failed.body["health"]) == (503, "failed")
    assert [part["name"] for part in failed.body["components"]] == ["feeds", "storage", "api"]


async def test_ready_is_503_until_everything_is_started_and_live_is_not(stack: Stack, caller: Caller) -> None:
    stack.is_ready = False
    stack.fail("storage", Health.FAILED)
    waiting = await caller.get("health/ready")
    assert (waiting.status, waiting.body["ready"]) == (503, False)
    assert [part["name"] for part in waiting.body["failed"]] == ["storage"]
    assert waiting.body["reasons"] == ["storage: for a test"]
    stack.components.clear()
    stack.fail("storage", Health.DEGRADED)  # as during an outage of the database
    outage = await caller.get("health/ready")
    assert (outage.status, outage.body["failed"]) == (503, [])
    assert outage.body["reasons"] == ["storage: for a test"]
    stack.components.clear()
    assert (await caller.get("health/ready")).body["reasons"] == ["some components have not started yet"]
    assert (await caller.get("health/live")).status == 200
    stack.is_ready = True
    stack.components.clear()
    assert (await caller.get("health/ready")).body == {"ready": True, "failed": [], "reasons": []}


async def test_ping_says_the_time(stack: Stack, caller: Caller) -> None:
    before_ns = stack.clock.time_ns()
    answer = await caller.get("ping")
    assert before_ns <= answer.body["time_ns"] <= stack.clock.time_ns()


async def test_collectors_and_feeds_are_shown_as_their_hosts_see_them(caller: Caller) -> None:
    answer = await caller.get("collectors")
    assert [collector["name"] for collector in answer.body["collectors"]] == [
        "probe",
        "strategy",
        "execution",
    ]
    assert answer.body["feeds"][0]["state"] == "finished"
    assert answer.body["feeds"][0]["counters"] == {"messages": 3}


async def test_current_has_the_newest_sample_of_every_key(stack: Stack, caller: Caller) -> None:
    stack.publish_cycle(1, ["A", "B"])
    newest_ns = stack.publish_cycle(2, ["A", "C"])
    items = (await caller.get("metrics/current")).body["items"]
    assert [item["key"]["instrument"] for item in items] == ["A", "C"]
    assert items[0] == {
        "collector": "probe",
        "key": {"venue": "SIM", "instrument": "A"},
        "time_ns": newest_ns,
        "values": {"mid": 1.5, "ticks": 2},
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["A", "B,C", "s"]),
        ("?collector=probe", ["A", "B,C"]),
        ("?collector=desk,probe", ["s", "A", "B,C"]),
        ("?collector=desk&collector=probe", ["s", "A", "B,C"]),
        ("?instrument=A", ["A"]),
        ("?instrument=A,D", ["A"]),
        ("?instrument=B,C", ["B,C"]),
        ("?venue=SIM&instrument=A&instrument=B%2CC", ["A", "B,C"]),
        ("?venue=OTHER", []),
        ("?strategy=s", ["s"]),
        ("?strategy=s&venue=SIM", []),
        ("?fields=pnl", ["s"]),
        ("?fields=mid,pnl", ["A", "B,C", "s"]),
    ],
)
async def test_current_can_be_narrowed(stack: Stack, caller: Caller, query: str, found: list[str]) -> None:
    stack.publish_cycle(1, ["A", "B,C"])
    stack.bus.publish(samples_topic("desk"), SampleBatch(DESK, START_NS, (DeskSample(strategy="s"),)))
    items = (await caller.get(f"metrics/current{query}")).body["items"]
    assert [item["key"].get("instrument") or item["key"]["strategy"] for item in items] == found


async def test_current_shows_only_the_fields_asked_for(stack: Stack, caller: Caller) -> None:
    stack.publish_cycle(1)
    answer = await caller.get("metrics/current?fields=ticks")
    assert [item["values"] for item in answer.body["items"]] == [{"ticks": 1}]


async def test_the_catalogue_says_what_a_metric_means_and_its_name_everywhere(caller: Caller) -> None:
    answer = await caller.get("metrics/catalogue")
    assert answer.headers["Cache-Control"] == "private, max-age=60"
    probe, desk = answer.body["items"]
    assert (probe["collector"], probe["key"]) == ("probe", ["venue", "instrument"])
    assert (probe["topic"], probe["table"]) == ("metrics:probe:*:*", "probe_samples")
    assert probe["metrics"][0] == {
        "name": "mid",
        "help": "Middle of bid and ask.",
        "formula": "(bid + ask) / 2",
        "source": "",
        "kind": "gauge",
        "unit": "price",
        "type": "float",
        "optional": True,
        "states": [],
        "aggregates": ["last", "min", "max", "avg"],
        "prometheus": "decahertz_probe_mid_price",
    }
    assert desk["metrics"][0]["prometheus"] == "decahertz_desk_pnl_money"


@pytest.mark.parametrize("path", ["fills", "trades", "instruments", "metrics/history?collector=probe"])
async def test_without_a_database_the_answer_is_to_try_again(caller: Caller, path: str) -> None:
    answer = await caller.get(path)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "127.0.0.1" not in answer.problem("database-unavailable")["detail"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        (MSGPACK, MSGPACK),
        ("application/x-msgpack", MSGPACK),
        ("text/html, application/msgpack;q=0.9, application/json;q=0.5", MSGPACK),
        ("application/vnd.msgpack;q=0, */*", "application/json"),
        ("application/json, application/vnd.msgpack", "application/json"),
        ("application/vnd.msgpack, application/json", MSGPACK),
        ("*/*, application/vnd.msgpack", MSGPACK),
    ],
)
async def test_the_answer_is_in_the_codec_that_is_accepted(
    caller: Caller, accept: str, media_type: str
) -> None:
    answer = await caller.get("health/live", headers={"Accept": accept})
    assert answer.headers["Content-Type"] == media_type
    assert "Accept" in answer.headers["Vary"]
    assert answer.body == {"live": True}


async def test_nothing_acceptable_is_406_and_a_problem_is_json_all_the_same(caller: Caller) -> None:
    answer = await caller.get("ping", headers={"Accept": "text/html"})
    assert answer.status == 406
    assert answer.headers["Content-Type"] == PROBLEM
    answer.problem("not-acceptable")


async def test_an_unknown_address_is_404(caller: Caller) -> None:
    assert (await caller.get("nothing/here")).problem("not-found")["status"] == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("POST", "ping", "GET, HEAD"), ("GET", "events", "POST")]
)
async def test_another_method_is_405_and_says_which_is_allowed(
    caller: Caller, method: str, path: str, allowed: str
) -> None:
    answer = await caller.ask(method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)
    answer.problem("method-not-allowed")


async def test_head_answers_without_a_body(caller: Caller) -> None:
    answer = await caller.ask("HEAD", "health")
    assert (answer.status, answer.raw) == (200, b"")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("metrics/history?collector=probe&collector=desk", "collector"),
        ("metrics/history?collector=probe&start=1&start=2", "start"),
        ("fills?limit=1&limit=1", "limit"),
        ("trades?venue=SIM&venue=OTHER", "venue"),
    ],
)
async def test_a_parameter_that_is_no_list_cannot_be_repeated(caller: Caller, path: str, field: str) -> None:
    (error,) = (await caller.get(path)).problem("invalid-parameter")["errors"]
    assert error["field"] == field
    assert "more than once" in error["reason"]


async def test_a_sane_request_id_comes_back_and_another_is_replaced(caller: Caller) -> None:
    given = await caller.get("ping", headers={"X-Request-ID": "desk-7/abc"})
    assert given.headers["X-Request-ID"] == "desk-7/abc"
    for bad in ("with blank", "x" * 129, "é"):
        made = await caller.get("nothing", headers={"X-Request-ID": bad})
        assert re.fullmatch(r"[0-9a-f]{12}-\d+", made.headers["X-Request-ID"])
        assert made.body["request_id"] == made.headers["X-Request-ID"]


async def test_large_answers_are_compressed_where_that_is_accepted(stack: Stack) -> None:
    stack.publish_cycle(1, [f"I{number}" for number in range(2000)])
    async with ClientSession(stack.api.url, auto_decompress=False) as session:
        url = "/api/v1/metrics/current"
        async with session.get(url, headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            packed = await response.read()
        async with session.get(url, headers={"Accept-Encoding": "identity"}) as response:
            assert "Content-Encoding" not in response.headers
            plain = await response.read()
        async with session.get("/api/v1/ping", headers={"Accept-Encoding": "gzip"}) as response:
            assert "Content-Encoding" not in response.headers
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 5
    assert len(msgspec.json.decode(plain)["items"]) == 2000


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"Host": "evil.example"}, 421, "misdirected-request"),
        ({"Host": "127.0.0.1.evil.example:8000"}, 421, "misdirected-request"),
        ({"Host": "[::1"}, 421, "misdirected-request"),
        ({"Host": "localhost@evil.example"}, 421, "misdirected-request"),
        ({"Origin": "https://evil.example"}, 403, "forbidden-origin"),
        ({"Origin": "http://localhost:3000"}, 403, "forbidden-origin"),
        ({"Origin": "null"}, 403, "forbidden-origin"),
    ],
)
async def test_requests_of_foreign_pages_are_rejected(
    caller: Caller, headers: dict[str, str], status: int, kind: str
) -> None:
    problem = (await caller.get("ping", headers=headers)).problem(kind)
    assert problem["status"] == status
    if "Host" in headers:
        assert headers["Host"] in problem["detail"]
        assert "api.host_names" in problem["detail"]


@pytest.mark.parametrize("host", ["localhost", "LocalHost:9999", "127.0.0.1", "[::1]:8000"])
async def test_the_names_of_this_machine_are_served(caller: Caller, host: str) -> None:
    assert (await caller.get("ping", headers={"Host": host, "Origin": f"http://{host}"})).status == 200


def test_a_private_network_adds_names_and_needs_no_keys() -> None:
    guard = Guard(("0.0.0.0", "Recorder"))  # noqa: S104 - nothing listens
    guard.check(make_mocked_request("GET", "/", headers={"Host": "recorder:8000"}))
    with pytest.raises(ProblemError, match="Host"):
        guard.check(make_mocked_request("GET", "/", headers={"Host": "other:8000"}))
    assert not ApiSettings(host="0.0.0.0", private_network=True).requires_keys()  # noqa: S104 - the same
    assert ApiSettings(host="0.0.0.0", host_names=("recorder",)).requires_keys()  # noqa: S104 - the same


async def test_requests_are_counted_by_route_and_timed(stack: Stack, caller: Caller) -> None:
    for path in ("ping", "ping", "nothing/one", "nothing/two"):
        await caller.get(path)
    count = "decahertz_api_requests_total"
    assert stack.counted(count, route="/api/v1/ping", method="GET", status="200") == 2
    assert stack.counted(count, route="unmatched", method="GET", status="404") == 2
    assert stack.counted("decahertz_api_request_duration_seconds_count", route="/api/v1/ping") == 2


async def test_an_error_that_nobody_expected_is_500_with_the_request_id_and_no_detail(
    stack: Stack, caller: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> list[object]:
        raise KeyError("a secret")

    object.__setattr__(stack.api._parts, "feeds", broken)
    answer = await caller.get("collectors", headers={"X-Request-ID": "find-me"})
    assert answer.status == 500
    assert answer.problem("internal-error")["request_id"] == "find-me"
    assert b"secret" not in answer.raw
    logged = capsys.readouterr().out
    (line,) = (line for line in logged.splitlines() if "request_failed" in line)
    assert "find-me" in line


async def test_a_query_without_end_is_refused(caller: Caller) -> None:
    answer = await caller.get("fills?strategy=" + "x" * 10_000)
    assert answer.problem("invalid-parameter")["status"] == 400


async def test_invalid_http_is_counted_and_not_logged_as_an_error(
    stack: Stack, caller: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    incoming, outgoing = await asyncio.open_connection("127.0.0.1", stack.api.port)
    outgoing.write(b"GET /api/v1/ping HTTP/1.1\r\nHost: localhost\r\nbroken header\r\n\r\n")
    assert (await incoming.readline()).startswith(b"HTTP/1.0 400")
    outgoing.close()
    assert (await caller.get("ping")).status == 200
    assert stack.counted("decahertz_api_bad_requests_total") == 1
    assert "rror" not in capsys.readouterr().out.replace("error=", "")


@pytest.mark.parametrize("path", ["health", "ledger", "metrics/current", "collectors"])
async def test_responses_about_the_recorder_name_it(caller: Caller, path: str) -> None:
    assert (await caller.get(path)).body["recorder"] == RECORDER
