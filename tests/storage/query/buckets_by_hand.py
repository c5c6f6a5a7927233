"""Histories in buckets, computed in plain Python."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from storage.database import Database
from storage.query.history.buckets import Summary
from storage.query.history.history import Series
from tests.storage_examples import CYCLE_NS, START_NS, BookSample, Verdict, book, books, store


def some_books(seed: int, ticks: int, instruments: str) -> dict[int, list[BookSample]]:
    """Samples by tick: with holes, nulls and a spike."""
    chance = random.Random(seed)
    found: dict[int, list[BookSample]] = {}
    for tick in range(ticks):
        found[tick] = [
            book(
                name,
                mid=None
                if chance.random() < 0.3
                else 1e6
                if chance.random() < 0.01
                else chance.gauss(100, 1),
                gaps=tick // 7,
                verdict=chance.choice(list(Verdict)),
                crossed=chance.choice([True, False, None]),
            )
            for name in instruments
            if chance.random() < 0.8
        ]
    return found


async def store_books(database: Database, samples: dict[int, list[BookSample]]) -> None:
    """Stores samples by tick."""
    await store(database, *(books(tick, *of_tick) for tick, of_tick in samples.items() if of_tick))


def naive(samples: dict[int, list[BookSample]], instrument: str, step_ns: int) -> dict[int, dict[str, Any]]:
    """The expected content of each bucket."""
    rows: dict[int, list[BookSample]] = {}
    for tick, of_tick in samples.items():
        time_ns = START_NS + tick * CYCLE_NS
        rows.setdefault(time_ns - time_ns % step_ns, []).extend(
            s for s in of_tick if s.instrument == instrument
        )
    answer = {}
    for bucket, found in rows.items():
        if not found:
            continue
        mids = [sample.mid for sample in found if sample.mid is not None]
        crossed = [sample.crossed for sample in found if sample.crossed is not None]
        answer[bucket] = {
            "last": mids[-1] if mids else None,
            "min": min(mids, default=None),
            "max": max(mids, default=None),
            "avg": pytest.approx(sum(mids) / len(mids)) if mids else None,
            "gaps": found[-1].gaps,
            "verdict": found[-1].verdict.value,
            "crossed": crossed[-1] if crossed else None,
        }
    return answer


def answered(
    series: Series, others: Sequence[str] = ("gaps", "verdict", "crossed")
) -> dict[int, dict[str, Any]]:
    """By bucket: of the gauge all columns, where it was asked for, of the others the last values."""
    found: dict[int, dict[str, Any]] = {}
    for position, time_ns in enumerate(series.time_ns):
        columns: dict[str, Any] = {}
        if "mid" in series.fields:
            mid = summary(series, "mid")
            columns = {name: getattr(mid, name)[position] for name in ("last", "min", "max", "avg")}
        columns |= {name: summary(series, name).last[position] for name in others}
        found[time_ns] = columns
    return found


def summary(series: Series, field: str) -> Summary:
    """The columns of a metric."""
    found = series.fields[field]
    assert isinstance(found, Summary)
    return found
