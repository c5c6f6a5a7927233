"""A page of the browser that notes everything that goes wrong in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from playwright.sync_api import Browser, Page, Response

LIMIT_MS = 40_000
"""Limit of every wait."""


@contextmanager
def watched(
    browser: Browser,
    url: str,
    expected: str = "",
    **options: Any,  # noqa: ANN401 - Playwright's own
) -> Iterator[Page]:
    """Opens ``url`` and fails at the end if the console had an error or another server was asked.

    Errors that match the pattern ``expected`` are in order.
    """
    origin = url.split("/", 3)[2]
    wrong: list[str] = []

    def note(text: str, *, when: bool = True) -> None:
        if when and not (expected and re.search(expected, text)):
            wrong.append(text)

    with browser.new_context(**options) as context:
        context.set_default_timeout(LIMIT_MS)
        page = context.new_page()
        page.on(
            "console", lambda said: note(f"{said.text} {said.location['url']}", when=said.type == "error")
        )
        page.on("pageerror", lambda error: note(f"{error.name}: {error.message}"))
        failed: list[Response] = []
        page.on(
            "response",
            lambda answer: (
                failed.append(answer) if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR else None
            ),
        )
        page.on("request", lambda asked: note(asked.url, when=asked.url.split("/", 3)[2] != origin))
        page.goto(url)
        yield page
        assert wrong == [], (wrong, [answer.text() for answer in failed])
