"""docs/api.md and docs/websocket.md say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.http.problems import KINDS
from api.live.limits import HubLimits
from api.live.messages import PROTOCOLS, CloseCode, ErrorCode, ServerMessage
from api.routes.table import ROUTES
from decahertz.event import EVENT_TYPES

DOCS = Path(__file__).parents[2] / "docs"
API = (DOCS / "api.md").read_text("utf-8")
WEBSOCKET = (DOCS / "websocket.md").read_text("utf-8")


def test_every_route_is_listed_and_no_other() -> None:
    listed = set(re.findall(r"^\| `(GET|POST|PUT|DELETE) (/[a-z_/{}-]+)` \|", API, re.MULTILINE))
    assert listed == {(route.method, route.path.removeprefix("/api/v1")) for route in ROUTES}


def test_every_kind_of_problem_is_listed_with_its_status() -> None:
    listed = {
        kind: int(status) for kind, status in re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", API, re.MULTILINE)
    }
    assert listed == {name: kind.status for name, kind in KINDS.items()}


def test_every_topic_of_events_is_listed() -> None:
    listed = set(re.findall(r"^\| `([a-z]+(?::\{instrument\})?)` \|", WEBSOCKET, re.MULTILINE))
    assert listed == {"alerts", "audit"} | {
        f"{kind.topic}:{{{kind.topic_key}}}" if kind.topic_key else kind.topic for kind in EVENT_TYPES
    } | {f"{kind.topic}:{{instrument}}" for kind in EVENT_TYPES if kind.topic_names}


def test_every_close_code_of_ours_is_listed() -> None:
    listed = set(map(int, re.findall(r"^\| (\d{4}) \|", WEBSOCKET, re.MULTILINE)))
    assert listed == {int(code) for code in CloseCode} | {1002, 1007, 1009}  # those are the library's


@pytest.mark.parametrize(
    "text",
    [
        *(f"`{code.value}`" for code in ErrorCode),
        *(f"`{name}`" for name in PROTOCOLS),
        *(f'"type": "{kind.__struct_config__.tag}"' for kind in ServerMessage.__subclasses__()),
    ],
)
def test_every_message_subprotocol_and_error_is_described(text: str) -> None:
    assert text in WEBSOCKET


def test_the_limits_are_those_of_the_code() -> None:
    limits = HubLimits()
    for text in (
        f"at most {limits.max_subscriptions} patterns",
        f"may send {limits.max_bad_messages} messages that are refused",
        f"accepts at most {limits.max_clients:,} clients",
        f"more than {limits.max_queued_events:,} (or {limits.max_queued_bytes // 2**20} MiB) wait",
        f"larger than {limits.max_message_bytes // 1024} KiB",
        f"more than {limits.buffer_bytes // 2**10} KiB wait",
        f"pings every {limits.heartbeat_seconds:g} s",
        f"{limits.dead_after_seconds:g} s is disconnected",
    ):
        assert text in " ".join(WEBSOCKET.split()), text
