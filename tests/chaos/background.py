"""An event loop in a thread of its own, which goes on while a test waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_LIMIT_SECONDS = 90.0


class Background:
    """Runs coroutines for callers of other threads."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="chaos-background", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T], limit_seconds: float = _LIMIT_SECONDS) -> T:
        """Runs it to its end; returns its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(limit_seconds)

    def close(self) -> None:
        """Ends the thread."""

        async def rest() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.loop.shutdown_default_executor()

        self.call(rest())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
