"""Scores headlines: adds a sentiment to those whose emitter states none.

A scorer is a class behind an entry point of the group ``decahertz.scorers``. The recorder scores a headline
before it is published and stored, so that every reader finds the same number, and ``scorer`` names what
computed it.
"""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from typing import Final

import structlog
from msgspec.structs import replace

from decahertz.clock import Clock
from decahertz.event import AnyEvent, EventBatch, News
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident

ENTRY_POINT_GROUP: Final = "decahertz.scorers"
LONGEST_HEADLINE: Final = 512
"""Characters that are scored; what follows in a longer text is left out."""
_SCORES_PER_ITERATION: Final = 20
"""About two milliseconds of VADER."""


class NewsScorer(ABC):
    """Base of scorers. The constructor takes no arguments and may load a model."""

    @abstractmethod
    def score(self, headline: str) -> float | None:
        """The sentiment of a headline from -1 (bad) to 1 (good); ``None``: it has none.

        Runs in the event loop and returns within a fraction of a millisecond.
        """


class NewsScores:
    """Adds scores to batches of events."""

    def __init__(self, name: str, scorer: NewsScorer | None, clock: Clock, failure: str = "") -> None:
        """``failure`` says why there is no scorer although the settings name one."""
        self._name = name
        self._scorer = scorer
        self._clock = clock
        self._failure = failure
        self.scored = 0
        """Headlines that got a sentiment."""
        self._incident = Incident("news_scoring", structlog.get_logger(part="news", scorer=name))

    @property
    def failures(self) -> int:
        """Headlines on which the scorer failed."""
        return self._incident.total

    def status(self) -> ComponentStatus:
        """Degraded while the scorer fails."""
        problem = self._failure or self._incident.problem
        detail = f"headlines are not scored: {problem}" if problem else ""
        return ComponentStatus(name="news", health=Health.DEGRADED if problem else Health.OK, detail=detail)

    async def completed(self, batch: EventBatch) -> EventBatch:
        """Returns the batch with a sentiment for each headline without one; itself if none changes."""
        scorer = self._scorer
        if scorer is None or not any(type(event) is News for event in batch.events):
            return batch
        events: list[AnyEvent] = list(batch.events)
        scored = 0
        for index, event in enumerate(batch.events):
            if not isinstance(event, News) or event.sentiment is not None:
                continue
            sentiment = self._score(scorer, event.headline)
            if sentiment is not None:
                events[index] = replace(event, sentiment=sentiment, scorer=self._name)
                scored += 1
            if index % _SCORES_PER_ITERATION == _SCORES_PER_ITERATION - 1:
                await asyncio.sleep(0)
        self.scored += scored
        return replace(batch, events=tuple(events)) if scored else batch

    def _score(self, scorer: NewsScorer, headline: str) -> float | None:
        try:
            sentiment = scorer.score(headline[:LONGEST_HEADLINE])
            if sentiment is not None and not (math.isfinite(sentiment) and -1 <= sentiment <= 1):
                raise ValueError(f"a sentiment of {sentiment!r} is not between -1 and 1")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._incident.fail(self._clock.monotonic_ns(), error)
            return None
        self._incident.recover()
        return sentiment
