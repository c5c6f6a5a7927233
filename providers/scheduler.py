"""Queues the calls of one provider by priority."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Final

from providers.errors import QueueFullError

MOST_IN_A_ROW: Final = 8
"""Interactive calls that may pass a background call that waits."""


class CallPriority(StrEnum):
    """Who waits for the answer."""

    INTERACTIVE = "interactive"
    """A person or program."""
    BACKGROUND = "background"
    """Nobody: it is for the cache."""


class Ticket:
    """The place of one call in the queue."""

    __slots__ = ("granted", "priority")

    def __init__(self, priority: CallPriority) -> None:
        self.priority = priority
        self.granted: asyncio.Future[None] | None = None
        """Set while it waits."""


class Scheduler:
    """A fixed number of calls at a time; the others wait, interactive before background.

    acquire ── room ──► calls ── release ──► done
       │                  ▲
       ├── no room ──► waits (at most ``queue_limit`` of each priority)
       └── queue full: QueueFullError

    While a background call waits, at most :data:`MOST_IN_A_ROW` interactive calls pass it: it cannot starve.
    """

    def __init__(self, max_calls: int, queue_limit: int) -> None:
        self._free = max_calls
        self._limit = queue_limit
        # A dict keeps the order, and a ticket leaves it in constant time.
        self._queues: dict[CallPriority, dict[Ticket, None]] = {priority: {} for priority in CallPriority}
        self._in_a_row = 0
        self.max_calls = max_calls

    @property
    def calls(self) -> int:
        """Calls under way."""
        return self.max_calls - self._free

    def waiting(self, priority: CallPriority) -> int:
        """Calls that wait."""
        return len(self._queues[priority])

    async def acquire(self, ticket: Ticket) -> None:
        """Waits for room; call :meth:`release` afterwards.

        Raises :class:`~providers.errors.QueueFullError`.
        """
        if self._free:
            self._free -= 1
            return
        queue = self._queues[ticket.priority]
        if len(queue) >= self._limit:
            raise QueueFullError(f"{len(queue)} {ticket.priority.value} calls wait already")
        granted = ticket.granted = asyncio.get_running_loop().create_future()
        queue[ticket] = None
        try:
            await granted
        except BaseException:
            if granted.done() and not granted.cancelled():
                self.release()  # it got room and was cancelled at the same time
            raise
        finally:
            ticket.granted = None
            self._queues[ticket.priority].pop(ticket, None)

    def promote(self, ticket: Ticket) -> None:
        """Makes a call interactive, because somebody waits for it now."""
        if ticket.priority is CallPriority.BACKGROUND:
            was_waiting = ticket in self._queues[CallPriority.BACKGROUND]
            self._queues[CallPriority.BACKGROUND].pop(ticket, None)
            ticket.priority = CallPriority.INTERACTIVE
            if was_waiting:
                self._queues[CallPriority.INTERACTIVE][ticket] = None

    def release(self) -> None:
        """Gives the room to the next call."""
        following = self._following()
        if following is None:
            self._free += 1
        else:
            following.set_result(None)

    def _following(self) -> asyncio.Future[None] | None:
        interactive, background = (self._queues[priority] for priority in CallPriority)
        while interactive or background:
            takes_background = bool(background) and (not interactive or self._in_a_row >= MOST_IN_A_ROW)
            queue = background if takes_background else interactive
            ticket = next(iter(queue))
            del queue[ticket]
            self._in_a_row = self._in_a_row + 1 if background and not takes_background else 0
            if ticket.granted is not None and not ticket.granted.done():  # else it was cancelled
                return ticket.granted
        return None
