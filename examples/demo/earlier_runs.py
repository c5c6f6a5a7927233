"""Positions and results of earlier runs, and definitions of instruments, read from the API."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import aiohttp

from demo.market import Key

WINDOW_NS = 120 * 10**9  # no position is held longer, so open positions were opened within it


class EarlierRuns:
    """Reads the positions and results of earlier runs, and the definitions, from the API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def read(self, strategy: str) -> tuple[dict[Key, tuple[float, float]], float]:
        """Returns the open positions (signed quantity, average price) and the result of a strategy."""
        newest = await self._page("fills", strategy=strategy, limit=1)
        if not newest["items"]:
            return {}, 0.0
        start = newest["items"][0]["time_ns"] - WINDOW_NS
        fills = await self._all("fills", strategy=strategy, start=start)
        flat_since: dict[Key, int] = {}
        for trade in await self._all("trades", strategy=strategy, start=start):
            key = trade["venue"], trade["instrument"]
            flat_since[key] = max(flat_since.get(key, 0), trade["closed_ns"])
        return dict(_open_positions(fills, flat_since)), await self._result(strategy)

    async def instruments(self) -> list[dict[str, Any]]:
        """Returns the instruments; a few seconds after the start of a market it has some."""
        items: list[dict[str, Any]] = []
        for _ in range(5):
            items = (await self._page("instruments"))["items"]
            if any(item["definition"] is not None for item in items):
                break
            await asyncio.sleep(1.0)
        return items

    async def _result(self, strategy: str) -> float:
        """Returns the realised result of a strategy so far, as the recorder counts it."""
        samples = await self._page("metrics/current", collector="strategy", strategy=strategy)
        return sum(item["values"]["realised_pnl"] for item in samples["items"])

    async def _all(self, name: str, **query: str | int) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            more = {"cursor": cursor} if cursor else {}
            page = await self._page(name, **query, **more, limit=1000)
            items += page["items"]
            cursor = page["next_cursor"]
        return items

    async def _page(self, name: str, **query: str | int) -> dict[str, Any]:
        for pause in pauses():
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._session.get(f"{self._url}/api/v1/{name}", params=query) as answer:
                    if answer.status == HTTPStatus.NOT_FOUND:  # nothing is recorded of the strategy
                        return {"items": [], "next_cursor": None}
                    answer.raise_for_status()
                    page: dict[str, Any] = await answer.json()
                    return page
            await asyncio.sleep(pause)
        raise AssertionError  # pauses never end


def _open_positions(
    fills: list[dict[str, Any]],
    flat_since: dict[Key, int],
) -> Iterator[tuple[Key, tuple[float, float]]]:
    """Yields the position and average price that follow from the fills since the instrument was last flat."""
    open_fills: dict[Key, list[dict[str, Any]]] = {}
    for fill in fills:
        key = fill["venue"], fill["instrument"]
        if fill["time_ns"] > flat_since.get(key, 0):
            open_fills.setdefault(key, []).append(fill)
    for key, mine in open_fills.items():
        opening = mine[-1]["side"]  # newest first; a desk never flips a position
        entries = [fill for fill in mine if fill["side"] == opening]
        bought = sum(fill["quantity"] for fill in entries)
        left = bought - sum(fill["quantity"] for fill in mine if fill["side"] != opening)
        if left > 1e-9 * bought:
            if entries[-1]["inverse"]:
                average = bought / sum(fill["quantity"] / fill["price"] for fill in entries)
            else:
                average = sum(fill["quantity"] * fill["price"] for fill in entries) / bought
            yield key, (left if opening == "buy" else -left, average)


def pauses() -> Iterator[float]:
    """Yields the seconds to wait before each further attempt, without end."""
    for attempt in itertools.count():
        yield min(0.2 * 1.5**attempt, 2.0) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads attempts
