"""docs/parity.md, asked of a running recorder: the paths, messages and fields of other systems are there."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.http.route import AnyRoute
from api.routes.table import ROUTES
from tests.control.requests import leg, option_strategy
from tests.docs.route_examples import Request, ask_all, create_key
from tests.parity.elsewhere import FIELDS, MESSAGES, PATHS
from tests.pipeline.running import ROOT, RunningDecahertz, environment, running, wait_until

pytestmark = pytest.mark.timeout(180)
PAGE = (ROOT / "docs" / "parity.md").read_text("utf-8")
LIMIT_SECONDS = 60.0
INSTRUMENT = "BTC-USD"
NEWS = {
    "type": "news",
    "time_ns": 1767367800323456789,
    "headline": "Exchange lists a new pair",
    "instruments": [INSTRUMENT],
    "sentiment": 0.4,
}
RISK = {
    "type": "risk",
    "time_ns": 1767367800323456789,
    "name": "var",
    "value": 2.0,
    "limit": 1.0,
    "breached": True,
}
MARKET = {"venue": "synthetic", "instrument": INSTRUMENT}
BY_HAND = {**MARKET, "strategy": "parity", "time_ns": 1767367800323456789}
POSITION = {"type": "position", **BY_HAND, "quantity": 1.5, "average_price": 88000.0}
SIGNAL = {"type": "signal", **BY_HAND, "signal_id": "p-1", "direction": "buy", "price": 88000.0}
ROUTE = re.compile(r"(GET|POST|DELETE) (/[a-z_/{}-]+)")


def rows(section: str) -> list[tuple[str, ...]]:
    """The cells of the rows of a table."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in line[1:-1].split(" |")) for line in lines[2:]]


def names(cell: str) -> list[str]:
    """The names in backticks, without remarks in brackets."""
    return re.findall(r"`([^`]+)`", re.sub(r" \([^)]*\)", "", cell))


class Told(NamedTuple):
    """A row of the table of messages."""

    topic: str
    kind: str
    """Value of ``data.type``; empty: any."""
    fields: frozenset[str]

    def matches(self, message: Mapping[str, Any]) -> bool:
        data = message.get("data") or {}
        of_kind = not self.kind or data.get("type") == self.kind
        return message.get("topic") == self.topic and of_kind and self.fields <= {*data, "time_ns"}


def told(row: tuple[str, ...]) -> Told:
    _, topic, where, data = row
    kind = names(where)[1] if where else ""
    return Told(names(topic)[0].replace("{instrument}", INSTRUMENT), kind, frozenset(names(data)))


TOLD = [told(row) for row in rows("Messages")]
ASKED = [(method, f"/api/v1{path}") for row in rows("Paths") for method, path in ROUTE.findall(row[1])]


class Desk:
    """A running recorder, what it answered to every route, and what it told a reader."""

    def __init__(self, demo: RunningDecahertz, socket: ClientConnection) -> None:
        self.demo = demo
        self.answers: dict[tuple[str, str], tuple[AnyRoute, int, bytes]] = {}
        self.heard: dict[Told, dict[str, Any]] = {}
        self.kinds: set[str] = set()
        self.refusals: list[str] = []
        self._socket = socket
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def provoke(self) -> None:
        """Does what the demo does not do by itself, and asks every route."""
        self.socket_says(type="subscribe", topics=sorted({one.topic for one in TOLD}))
        self.socket_says(type="ping", id="p")
        legs = (leg("buy", "call", 90_000), leg("sell", "call", 95_000))
        body = option_strategy("vertical", *legs, priority="high", notes="hedge", **MARKET)
        made = self._post("/api/v1/orders", body)
        order_id = msgspec.json.decode(made)["request_id"]
        request = self.demo.get(f"/api/v1/orders/{order_id}")
        events = [NEWS, RISK, POSITION, SIGNAL]
        batch = {"source": "parity", "epoch": 1, "first_sequence": 1, "events": events}
        self._post("/api/v1/events", batch)
        for route, _, (status, _, answer) in ask_all(self.demo):
            self.answers[route.method, route.path] = (route, status, answer)
        # The example's opening range has ticks of the demo only in the first hours of a day.
        since = (time.gmtime().tm_hour - 1) % 24
        orb = f"/api/v1/analytics/orb/{INSTRUMENT}?range=12h&session_start={since:02}:00"
        for key, answer in (
            (("GET", "/api/v1/analytics/orb/{instrument}"), json.dumps(self.demo.get(orb)).encode()),
            (("POST", "/api/v1/orders"), made),
            (("GET", "/api/v1/orders/{order_id}"), json.dumps(request).encode()),
        ):
            self.answers[key] = (self.answers[key][0], self.answers[key][1], answer)
        wait_until("all messages", LIMIT_SECONDS, lambda: len(self.heard) == len(TOLD))

    def socket_says(self, **message: object) -> None:
        self._socket.send(json.dumps(message))

    def _post(self, path: str, body: dict[str, Any]) -> bytes:
        status, _, answer = Request("POST", path, body).send(self.demo.api)
        assert status < 300, answer
        return answer

    def _listen(self) -> None:
        with suppress(ConnectionClosed):
            for text in self._socket:
                message = json.loads(text)
                self.kinds.add(message["type"])
                if message["type"] == "error":
                    self.refusals.append(message["text"])
                for one in TOLD:
                    if one not in self.heard and one.matches(message):
                        self.heard[one] = message


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """The demo, on ports of its own, with a reader of its WebSocket."""
    folder = tmp_path_factory.mktemp("parity")
    env = environment(folder)
    with running("--demo", env=env, log=folder / "log") as demo:
        create_key(env)
        with connect(demo.websocket, max_size=None) as socket:
            one = Desk(demo, socket)
            try:
                one.provoke()
            except AssertionError as error:
                missing = [each for each in TOLD if each not in one.heard]
                raise AssertionError(f"{error}; {one.refusals}; not told: {missing}") from error
            yield one


def elsewhere(section: str, column: int = 0) -> set[str]:
    return {name for row in rows(section) for name in names(row[column])}


def test_the_page_has_every_path_and_message_of_the_other_systems_and_no_other() -> None:
    missing = elsewhere("Not there")
    assert elsewhere("Paths") <= PATHS
    assert elsewhere("Paths") | missing >= PATHS
    said = re.search(r"^(`connected`.*) have the same names", PAGE, re.MULTILINE)
    assert said
    assert elsewhere("Messages") | set(names(said[1])) == MESSAGES


def test_the_page_has_every_field_of_the_other_systems_and_no_other() -> None:
    listed: dict[str, set[str]] = {}
    for thing, there, *_ in rows("Fields"):
        listed.setdefault(thing, set()).update(name.strip() for name in re.split(r", (?!\d)", there))
    assert listed == {thing: set(re.split(r", (?!\d)", there)) for thing, there in FIELDS.items()}


def test_what_is_missing_has_a_reason() -> None:
    assert all(there and len(reason) >= len("later") for there, reason in rows("Not there"))


@pytest.mark.parametrize(("method", "path"), ASKED)
def test_a_path_answers(desk: Desk, method: str, path: str) -> None:
    route, status, answer = desk.answers[method, path]
    assert status in route.statuses, answer


@pytest.mark.parametrize("row", TOLD, ids=lambda row: f"{row.topic} {row.kind}")
def test_a_message_is_told_with_its_fields(desk: Desk, row: Told) -> None:
    assert desk.heard[row]["type"] in ("event", "update")


def keys(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """The names of all fields, at any depth."""
    if isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item)


@pytest.mark.parametrize("row", rows("Fields"), ids=lambda row: f"{row[0]}: {row[1]}")
def test_a_field_is_in_its_answer(desk: Desk, row: tuple[str, ...]) -> None:
    _, _, here, place = row
    (route,) = ROUTE.findall(place)
    _, _, answer = desk.answers[route[0], f"/api/v1{route[1]}"]
    wanted = set(names(here))
    assert wanted
    assert wanted <= set(keys(msgspec.json.decode(answer)))


def test_the_messages_of_every_reader_are_told(desk: Desk) -> None:
    assert desk.kinds >= {"connected", "snapshot", "update", "event", "pong"}


def test_answers_are_messagepack_compressed_timed_and_numbered_as_asked(desk: Desk) -> None:
    url = f"{desk.demo.api}/api/v1/metrics/catalogue"
    headers = {"Accept": "application/vnd.msgpack", "Accept-Encoding": "gzip", "X-Request-ID": "parity-1"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:  # noqa: S310 - local
        assert answer.headers["X-Request-ID"] == "parity-1"
        assert "dur=" in answer.headers["Server-Timing"]
        assert msgspec.msgpack.decode(gzip.decompress(answer.read()))["items"]
    assert desk.demo.get("/api/v1/openapi.json")["openapi"].startswith("3.1")
    with urllib.request.urlopen(f"{desk.demo.api}/docs", timeout=20) as page:  # noqa: S310 - local
        assert b"swagger-ui" in page.read()


def test_every_route_of_the_recorder_is_asked(desk: Desk) -> None:
    assert desk.answers.keys() == {(route.method, route.path) for route in ROUTES}
