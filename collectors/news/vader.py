"""The scorer ``vader``."""

from __future__ import annotations

from typing import Any

from decahertz.news_scorer import NewsScorer


class Vader(NewsScorer):
    """VADER: a lexicon of 7,500 words and some rules for negation, degree and punctuation.

    The score is its compound score. It was made for social media in English, and knows neither finance nor
    context: docs/news.md has examples. A headline without a word of the lexicon has no score.
    Source: Hutto and Gilbert, *VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
    Text*, ICWSM (2014); its package vaderSentiment.
    """

    def __init__(self) -> None:
        """Raises :class:`ModuleNotFoundError` without the extra ``news``."""
        # Only here: the lexicon takes some megabytes, which a recorder without news does not need.
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # noqa: PLC0415

        self._analyzer: Any = SentimentIntensityAnalyzer()

    def score(self, headline: str) -> float | None:
        """The compound score; ``None`` where no word is in the lexicon."""
        scores = self._analyzer.polarity_scores(headline)
        if not scores["pos"] and not scores["neg"]:
            return None
        return float(scores["compound"])
