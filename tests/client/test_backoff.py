"""Waits after failures: bounded in an outage of any length."""

from __future__ import annotations

import threading

import pytest

from decahertz_client import NoAnswerError, Reader, _requests
from decahertz_client._backoff import delay_seconds
from decahertz_client._requests import OrderRequests

FAILURES = 1_100  # 2 ** 1024 is not a float


@pytest.mark.parametrize(("failures", "longest"), [(0, 0.1), (1, 0.2), (6, 5.0), (FAILURES, 5.0)])
def test_delays_double_up_to_the_longest(failures: int, longest: float) -> None:
    assert longest / 2 <= delay_seconds(failures, 0.1, 5.0) <= longest


def test_order_requests_are_asked_for_after_any_number_of_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, is_reached = 0, threading.Event()

    def ask(*_: object) -> None:
        nonlocal asked
        asked += 1
        if asked > FAILURES:
            is_reached.set()
        raise NoAnswerError("the recorder is away")

    monkeypatch.setattr(OrderRequests, "_ask", ask)
    monkeypatch.setattr(_requests, "_LONGEST_DELAY_SECONDS", 0.0)
    reader = Reader("http://127.0.0.1:9")
    requests = OrderRequests(
        lambda _: reader._session,
        holder="test",
        capacity=1,
        strategies=None,
        lease_seconds=15.0,
    )
    try:
        while not is_reached.wait(0.05):
            assert requests._thread.is_alive(), asked
    finally:
        requests.close()
