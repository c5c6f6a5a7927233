"""``decahertz dead-letters``: lists the rows that the database refused, and replays them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.progress import Progress

from collectors.host.plugins import load_collectors
from decahertz.app.command_line_audit import command_line_entry
from decahertz.app.database import open_database, refuse_without_database
from decahertz.app.start_error import StartError
from decahertz.clock import SystemClock, format_time
from decahertz.words import counted
from storage.maintenance.dead_letters import DeadLetter, count_letters, list_letters, replay_letters
from storage.write.audit import AuditStore

if TYPE_CHECKING:
    from decahertz.app.settings import Settings

_REASONS_SHOWN = 10
_MAX_LIMIT = 100_000
_MAX_ID = 2**63


async def run_list(settings: Settings, *, stream: str, limit: int, as_json: bool) -> int:
    """Prints the newest dead letters. Raises :class:`~decahertz.app.start_error.StartError`."""
    if not 1 <= limit <= _MAX_LIMIT:
        raise StartError(f"--limit must be between 1 and {_MAX_LIMIT:,}: {limit}")
    refuse_without_database(settings)
    async with open_database(settings, share=True) as (database, _):
        letters = await list_letters(database, stream=stream or None, limit=limit)
        total = await count_letters(database, stream=stream or None)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(letters)).decode() + "\n")
        return 0
    for letter in reversed(letters):
        sys.stdout.write(_line(letter))
    sys.stdout.write(f"{total:,} dead letters" + (f", {len(letters):,} shown\n" if letters else "\n"))
    return 0


async def run_replay(settings: Settings, ids: Sequence[int], *, stream: str) -> int:
    """Stores dead letters again; returns 1 if some are refused again or do not exist.

    Raises :class:`~decahertz.app.start_error.StartError` or :class:`~decahertz.settings.SettingsError`.
    """
    clock = SystemClock()
    collectors = load_collectors(settings.collectors.enabled, settings.sources, clock)
    schemas = [loaded.schema for loaded in collectors.plugins]
    wanted = sorted(set(ids)) or None
    if wanted and not 0 < wanted[0] <= wanted[-1] < _MAX_ID:
        raise StartError("a number is out of range: use those that `decahertz dead-letters list` shows")
    refuse_without_database(settings)
    async with open_database(settings, share=True) as (database, _):
        total = await count_letters(database, stream=stream or None, ids=wanted)
        with Progress(console=Console(stderr=True)) as bars:
            task = bars.add_task("dead letters", total=total)
            replayed = await replay_letters(
                database,
                clock,
                schemas,
                stream=stream or None,
                ids=wanted,
                report=lambda done: bars.update(task, completed=done),
                accounting=settings.accounting,
            )
        if total:
            outcome = {"stored": replayed.stored, "refused": len(replayed.refused)}
            target = stream or "all"
            entry = command_line_entry(
                "dead_letters.replay", target, clock.time_ns(), {"rows": total}, outcome
            )
            await AuditStore(database).add(entry)
    for id_, reason in list(replayed.refused.items())[:_REASONS_SHOWN]:
        sys.stdout.write(f"{id_}: {reason}\n")
    missing = len(wanted) - total if wanted else 0
    unknown = f", {missing:,} of the numbers not found" if missing else ""
    sys.stdout.write(f"{replayed.stored:,} stored, {len(replayed.refused):,} refused again{unknown}\n")
    return 1 if replayed.refused or missing else 0


def _line(letter: DeadLetter) -> str:
    content = counted(letter.rows, "row")
    if letter.content is not None:
        content = msgspec.json.encode(letter.content).decode()
    who = letter.stream
    if letter.sequence is not None:
        who = f"{letter.source} {letter.epoch} {letter.sequence}"
    return f"{letter.id}  {format_time(letter.time_ns)}  {who}\n    {letter.reason}\n    {content}\n"
