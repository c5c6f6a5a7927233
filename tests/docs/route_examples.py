"""An example request of every route; ``python -m tests.docs.route_examples`` records the answers of a demo.

The answers are kept in docs/examples.json, from which ``scripts/derive.py`` writes docs/reference.md.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from api.http.route import AnyRoute
from api.routes.table import ROUTES
from tests.docs.commands import ROOT
from tests.embedded_server import shared_clusters
from tests.pipeline.running import RunningDecahertz, environment, run, running, wait_until

RECORDED: Final = ROOT / "docs" / "examples.json"
_KEPT_ITEMS: Final = 2
"""Longer lists are cut in the recorded answers."""
_LIMIT_SECONDS: Final = 60.0
_KEY: Final = "dhz_k3q7c2mzv4ab_" + "example" * 6 + "A"

_QUERIES: Final[dict[str, dict[str, str]]] = {
    "metrics_current": {
        "collector": "market",
        "instrument": "BTC-USD",
        "fields": "bid,ask,spread_bps,verdict",
    },
    "metrics_history": {"collector": "market", "instrument": "BTC-USD", "fields": "mid", "max_points": "100"},
    "export": {"table": "fills", "fields": "strategy,instrument,side,price,quantity"},
    "market_bars": {"timeframe": "5s"},
    "analytics_orb": {"range": "12h"},
    "analytics_volume_profile": {"bins": "20"},
}
"""Parameters of the examples; ``limit`` is 2 where a route has it and none is given."""
_IN_PATH: Final = {"instrument": "BTC-USD", "provider": "recorder", "symbol": "BTC-USD"}
_FOUND: Final = {
    "alert": ("alerts", "id"),
    "acknowledge_alert": ("alerts", "id"),
    "positions_instrument": ("trades", "instrument"),
    "order": ("orders?state=filled", "order_id"),
    "resume_trading": ("risk/halts", "halt_id"),
    **dict.fromkeys(
        (
            *("template", "template_versions", "update_template", "delete_template"),
            *("submit_template", "dry_run_template"),
        ),
        ("templates", "template_id"),
    ),
    "trade": ("trades", "trade_id"),
    "strategy_report": ("trades", "strategy"),
}
"""Routes of one thing: the list in which an example finds one, and the field that names it."""
_OF_REQUESTS: Final = frozenset({"cancel_order", "begin_order", "ack_order", "nack_order", "resolve_order"})
"""Routes of one order request, which an example makes."""
_WEBHOOK: Final[dict[str, Any]] = {
    "version": "4",
    "groupKey": '{}:{alertname="DiskFillsUp"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "decahertz",
    "groupLabels": {"alertname": "DiskFillsUp"},
    "commonLabels": {"alertname": "DiskFillsUp", "severity": "ticket"},
    "commonAnnotations": {},
    "externalURL": "http://127.0.0.1:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "DiskFillsUp", "severity": "ticket", "host": "desk-1"},
            "annotations": {"summary": "The disk is full in a day."},
            "startsAt": "2026-01-02T15:30:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": "00c0ffee00c0ffee",
        }
    ],
}
_ORDER: Final[dict[str, Any]] = {
    "kind": "equity",
    "strategy": "by-hand",
    "venue": "synthetic",
    "instrument": "BTC-USD",
    "side": "buy",
    "quantity": 0.2,
    "order_type": "limit",
    "limit_price": 88000.0,
    "priority": "high",
    "notes": "hedge of the desk",
}
_TAKE: Final[dict[str, Any]] = {
    "holder": "my-bot",
    "session": "my-bot-1767367800",
    "capacity": 1,
    "lease_seconds": 300.0,
    "strategies": ["by-hand"],
}
_TEMPLATE: Final[dict[str, Any]] = {
    "name": "hedge before the close",
    "order": {name: value for name, value in _ORDER.items() if name != "notes"} | {"strategy": "hedge"},
    "valid_seconds": 300.0,
    "schedule": {"cron": "55 15 * * 1-5", "timezone": "America/New_York", "calendar": None, "enabled": True},
}
_ATTEMPTS: Final = 3
"""After this many a request is dead, so that it can be resolved."""
_BODIES: Final[dict[str, dict[str, Any]]] = {
    "halt_trading": {"scope": "strategy", "strategy": "breakout", "reason": "its signals look wrong"},
    "generate_signal": {
        "generator": "moving_average_cross",
        "venue": "synthetic",
        "instrument": "BTC-USD",
        "timeframe": "500ms",
        "parameters": {"fast": 2, "slow": 3},
    },
    "resume_trading": {"reason": "the signals were right"},
    "submit_order": _ORDER,
    "check_order": _ORDER,
    "create_template": _TEMPLATE,
    "update_template": _TEMPLATE | {"description": "half of the position"},
    "submit_template": {"overrides": {"quantity": 0.1}},
    "dry_run_template": {"overrides": {"quantity": 0.1}},
    "take_orders": _TAKE,
    "begin_order": {"token": 1},
    "ack_order": {"token": 1, "order_id": "my-bot-17"},
    "nack_order": {"token": 1, "outcome": "rejected", "reason": "no margin"},
    "resolve_order": {"outcome": "cancelled", "reason": "no longer wanted"},
    "alerts_webhook": _WEBHOOK,
    "acknowledge_alert": {"who": "ada", "comment": "adds a disk", "until": "2100-01-01T00:00:00Z"},
    "submit_events": {
        "source": "my-bot",
        "epoch": 1767367800000000000,
        "first_sequence": 1,
        "events": [
            {
                "type": "signal",
                "time_ns": 1767367800123456789,
                "strategy": "breakout",
                "venue": "coinbase",
                "instrument": "BTC-USD",
                "signal_id": "s-1",
                "direction": "buy",
                "price": 88012.5,
            },
            {"type": "regime", "time_ns": 1767367800223456789, "regime": "trend", "strategy": "breakout"},
            {
                "type": "news",
                "time_ns": 1767367800323456789,
                "headline": "Exchange lists a new pair",
                "publisher": "wire",
                "instruments": ["BTC-USD"],
                "sentiment": 0.4,
            },
            {
                "type": "log",
                "time_ns": 1767367800423456789,
                "component": "breakout",
                "level": "warning",
                "message": "order rejected: quantity below the minimum",
            },
        ],
    },
    "sign_in": {"key": _KEY},
    "warm_cache": {"provider": "recorder", "symbols": ["BTC-USD", "ETH-USD"]},
    "metrics_history_by_body": {
        "collector": "strategy",
        "fields": ["equity"],
        "key": {"strategy": ["momentum"]},
        "step": "5s",
    },
}


@dataclass(frozen=True)
class Request:
    """A request to a route."""

    method: str
    target: str
    body: dict[str, Any] | None = None

    def send(self, api: str) -> tuple[int, str, bytes]:
        """Status, media type and body of the answer."""
        data = None if self.body is None else msgspec.json.encode(self.body)
        request = urllib.request.Request(api + self.target, data, method=self.method)  # noqa: S310 - local
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self.method == "PUT":
            request.add_header("If-Match", "*")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - local
                return answer.status, answer.headers.get_content_type(), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get_content_type(), error.read()


def create_key(env: dict[str, str]) -> None:
    """Creates the key with which the example signs in."""
    file = Path(env["DECAHERTZ_DATA_DIR"], "example.key")
    file.write_text(_KEY)
    scopes = ("--scope", "read", "--scope", "trade")
    done = run("keys", "create", "ada", *scopes, "--input", str(file), env=env)
    assert done.returncode == 0, done.stderr


def example_of(route: AnyRoute, demo: RunningDecahertz) -> Request:
    """The example of a route; what it names in its path is there."""
    target = route.path
    for name in route.path_names:
        value = _IN_PATH.get(name)
        if route.name in _FOUND:
            value = _found(route, demo)
        elif route.name == "background_job":
            value = _post(demo, "background/warm-cache", _BODIES["warm_cache"])["job_id"]
        elif route.name in _OF_REQUESTS:
            value = _request_for(route.name, demo)
        assert value is not None, f"tests/docs/route_examples.py has no example of {name} in {route.path}"
        target = target.replace(f"{{{name}}}", quote(value, safe="/"))
    query = dict(_QUERIES.get(route.name, {}))
    if "limit" in route.query.__struct_fields__:
        query.setdefault("limit", str(_KEPT_ITEMS))
    if query:
        target += f"?{urlencode(query, safe=',')}"
    body = _BODIES.get(route.name)
    assert (body is None) == (route.body is None), (
        f"tests/docs/route_examples.py has no body for {route.name}"
    )
    return Request(route.method, target, body)


def _request_for(name: str, demo: RunningDecahertz) -> str:
    """A request of which the route can be shown: queued, taken, begun, or dead."""
    request_id: str = _post(demo, "orders", _ORDER)["request_id"]
    if name == "cancel_order":
        return request_id
    for attempt in range(1, _ATTEMPTS + 1 if name == "resolve_order" else 2):
        taken = _post(demo, "orders/take", {**_TAKE, "session": request_id})["taken"]
        assert [one["request_id"] for one in taken] == [request_id], taken
        if name == "resolve_order":
            given = {"token": attempt, "outcome": "retry", "reason": "not connected"}
            _post(demo, f"orders/{request_id}/nack", given)
    if name == "ack_order":
        _post(demo, f"orders/{request_id}/begin", {"token": 1})
    return request_id


def _taken(demo: RunningDecahertz) -> str:
    """The request that the example of taking has got."""
    items = demo.get("/api/v1/orders?state=taken&strategy=by-hand")["items"]
    assert len(items) == 1, items
    return str(items[0]["order_id"])


def _post(demo: RunningDecahertz, path: str, body: dict[str, Any]) -> dict[str, Any]:
    status, _, answer = Request("POST", f"/api/v1/{path}", body).send(demo.api)
    assert status < 300, answer
    decoded: dict[str, Any] = msgspec.json.decode(answer)
    return decoded


def _found(route: AnyRoute, demo: RunningDecahertz) -> str:
    name, field = _FOUND[route.name]
    items = demo.get(f"/api/v1/{name}")["items"]
    assert items, f"the demo has no {name} yet"
    return str(items[0][field])


def in_order(routes: Iterable[AnyRoute]) -> list[AnyRoute]:
    """Sorts routes: first those that write, so that lists have rows; last those that need an id."""

    # What is submitted and taken is over before the examples of one request make theirs.
    def rank(route: AnyRoute) -> tuple[bool, bool, bool]:
        return route.body is None, route.name in {*_FOUND, *_OF_REQUESTS}, route.name != "submit_order"

    return sorted(routes, key=rank)


def wait_for_data(demo: RunningDecahertz) -> None:
    """Waits until the lists that the examples show have something in them."""
    wait_until(
        "round trips of the demo",
        _LIMIT_SECONDS,
        lambda: len(demo.get("/api/v1/trades?limit=2")["items"]) == _KEPT_ITEMS,
    )


def ask_all(
    demo: RunningDecahertz, routes: Iterable[AnyRoute] = ROUTES
) -> Iterator[tuple[AnyRoute, Request, tuple[int, str, bytes]]]:
    """Each route with its example and the answer to it."""
    wait_for_data(demo)
    for route in in_order(routes):
        request = example_of(route, demo)
        yield route, request, request.send(demo.api)
        if route.name == "take_orders":
            _post(
                demo,
                f"orders/{_taken(demo)}/nack",
                {"token": 1, "outcome": "rejected", "reason": "an example"},
            )
        if route.name == "submit_events":  # durable, and in the database a moment later
            wait_until(
                "events of the examples",
                _LIMIT_SECONDS,
                lambda: bool(demo.get("/api/v1/system/logs?limit=1")["items"]),
            )


def decoded(media_type: str, body: bytes) -> Any:  # noqa: ANN401 - JSON, or the lines of a file
    """The answer as it is recorded: JSON, or the first lines of a file."""
    if media_type.endswith("json"):
        return cut(msgspec.json.decode(body))
    return body.decode().splitlines()[: _KEPT_ITEMS + 1]


def cut(value: Any) -> Any:  # noqa: ANN401 - JSON
    """The value with all lists cut."""
    if isinstance(value, list):
        return [cut(item) for item in value[:_KEPT_ITEMS]]
    if isinstance(value, dict):
        return {name: cut(item) for name, item in value.items()}
    return value


def main() -> None:
    """Records the answers of a demo, and writes the page that shows them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        env = environment(path, DECAHERTZ_RECORDER="desk-1")
        with shared_clusters(), running("--demo", env=env, log=path / "log") as demo:
            time.sleep(3)  # a history that shows something
            recorded = {}
            create_key(env)
            for route, request, (status, media_type, body) in ask_all(demo):
                assert status in route.statuses, (route.name, status, body)
                recorded[route.name] = {
                    "method": request.method,
                    "target": request.target,
                    "body": request.body,
                    "media_type": media_type,
                    "answer": decoded(media_type, body),
                }
    text = msgspec.json.format(msgspec.json.encode(dict(sorted(recorded.items()))))
    RECORDED.write_text(text.decode() + "\n", encoding="utf-8")
    subprocess.run([sys.executable, str(ROOT / "scripts" / "derive.py")], check=True)


if __name__ == "__main__":
    main()
