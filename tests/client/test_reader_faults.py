"""The reader and servers that fail it: away, silent, slow, busy, of another kind."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import msgpack  # type: ignore[import-untyped]
import pytest

from decahertz_client import NoAnswerError, ProblemError, Reader

ANSWER = msgpack.packb({"time_ns": 1})
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.msgpack\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


@contextlib.contextmanager
def server(*connections: list[bytes], pause: Callable[[], object] = bool) -> Iterator[str]:
    """Accepts one connection after the other: reads a request for each answer, then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answers in connections:
                peer, _ = listener.accept()
                with peer, peer.makefile("rb") as requests:
                    for answer in answers:
                        while requests.readline().strip():
                            pass
                        peer.sendall(answer)
                    pause()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(10)
            assert not thread.is_alive()


def test_a_server_that_is_away_is_named() -> None:
    with (
        Reader("http://127.0.0.1:9") as reader,
        pytest.raises(NoAnswerError, match=r"127\.0\.0\.1:9: .*refused"),
    ):
        reader.ping()


def test_a_server_that_says_nothing_is_given_up_after_the_timeout() -> None:
    over = threading.Event()
    with server([b""], pause=over.wait) as url, Reader(url, timeout_seconds=0.2) as reader:
        began = time.monotonic()
        with pytest.raises(NoAnswerError, match="timed out"):
            reader.ping()
        assert time.monotonic() - began < 5
        over.set()


def test_an_answer_that_breaks_off_is_an_error() -> None:
    with (
        server([OK + ANSWER[:-1]]) as url,
        Reader(url) as reader,
        pytest.raises(NoAnswerError, match="broke off"),
    ):
        reader.ping()


def test_an_idle_connection_that_the_server_has_closed_is_opened_again() -> None:
    with server([OK + ANSWER], [OK + ANSWER]) as url, Reader(url) as reader:
        assert reader.ping() == reader.ping() == {"time_ns": 1}


def test_a_busy_server_is_asked_again_when_it_says_so() -> None:
    with server([BUSY, OK + ANSWER]) as url, Reader(url) as reader:
        began = time.monotonic()
        assert reader.ping() == {"time_ns": 1}
        assert time.monotonic() - began >= 1


def test_a_busy_server_is_an_error_when_retrying_would_take_too_long() -> None:
    with server([BUSY]) as url, Reader(url, retry_seconds=0.5) as reader:
        with pytest.raises(ProblemError, match="503 Busy") as raised:
            reader.ping()
        assert (raised.value.kind, raised.value.retry_after) == ("", 1.0)


def test_a_server_of_another_kind_is_an_error_and_not_an_answer() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<hi>"
    with server([page]) as url, Reader(url) as reader, pytest.raises(ProblemError, match="200 OK"):
        reader.ping()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a", "http://key@a", "http://a?key=1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Reader(url)
