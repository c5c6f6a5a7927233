"""Checkpoints of the collectors in the spool's file."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from decahertz.checkpoint import SavedCheckpoint
from decahertz.event import Arrival
from storage.spool.codec import PayloadError
from storage.spool.delivered import Checkpoint
from storage.spool.errors import SpoolError
from storage.spool.jobs import CheckpointJob

if TYPE_CHECKING:
    from storage.spool.file import SpoolFile
    from storage.spool.spool import Spool

T = TypeVar("T")


class SpoolCheckpoints:
    """Implements :class:`decahertz.checkpoint.CheckpointStore` in the spool's file.

    A checkpoint belongs to a recorder. It is outdated once another holder has recorded under the same name:
    those events are in the database only.
    """

    def __init__(self, spool: Spool, recorder: str, is_outdated: Callable[[], bool] = lambda: False) -> None:
        self._spool = spool
        self._prefix = f"{recorder}:"
        self._is_outdated = is_outdated

    def save(self, time_ns: int, states: Mapping[str, bytes]) -> None:
        """Queue a checkpoint behind all events that were queued before."""
        named = {self._prefix + name: state for name, state in states.items()}
        self._spool.put(CheckpointJob(Checkpoint(time_ns, named)))

    async def load(self) -> SavedCheckpoint | None:
        """Returns the newest checkpoint. Raises :class:`SpoolError`."""
        saved = _unless_error(await self._spool.call(_load))
        if saved is None or self._is_outdated():
            return None
        own = {
            name.removeprefix(self._prefix): state
            for name, state in saved.states.items()
            if name.startswith(self._prefix)
        }
        return replace(saved, states=own)

    async def replay(self, position: int) -> AsyncGenerator[Arrival, None]:
        """Yields the events from a position on, in the order of their numbers. Raises :class:`SpoolError`."""
        continue_at: int | None = position
        while continue_at is not None:
            arrivals, continue_at = _unless_error(await self._spool.call(partial(_replay, continue_at)))
            for arrival in arrivals:
                yield arrival


def _load(file: SpoolFile) -> SavedCheckpoint | None:
    return file.delivered.load()


def _replay(position: int, file: SpoolFile) -> tuple[list[Arrival], int | None] | SpoolError:
    try:
        return file.delivered.replay(position)
    except PayloadError as error:  # not a reason to replace the file: nothing that has to be stored is lost
        return SpoolError(str(error))


def _unless_error(outcome: T | SpoolError) -> T:
    if isinstance(outcome, SpoolError):
        raise outcome
    return outcome
