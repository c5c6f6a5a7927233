"""Renders the histograms of collectors as exposition lines."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import reduce
from itertools import accumulate
from operator import add

from decahertz.histogram import Observations
from exporter.family import RECORDER_LABEL, HistogramFamily, label_pairs
from exporter.label_budget import OTHER, Key, LabelBudget
from exporter.lines import created_line, interleave, number_texts, seconds_text
from exporter.negotiation import Format

_CHUNK_KEYS = 100


class _Text:
    """Cached text of one key: before each value, and after the last one."""

    __slots__ = ("_end", "_prefixes", "created_ns")

    def __init__(self, family: HistogramFamily, pairs: bytes, created_ns: int) -> None:
        name = family.name.encode()
        start = b'\n%b_bucket{%b,le="' % (name, pairs)
        bounds = [*(repr(bound).encode() for bound in family.histogram.bounds), b"+Inf"]
        self.created_ns = created_ns
        self._prefixes = [b'%b%b"} ' % (start, bound) for bound in bounds]
        self._prefixes += [b"\n%b_%b{%b} " % (name, suffix, pairs) for suffix in (b"count", b"sum")]
        self._end = created_line(name, pairs, seconds_text(created_ns))

    def lines(self, observations: Observations, form: Format) -> bytes:
        """Renders all series of the key; starts with a line break."""
        counts = list(accumulate(observations.counts))
        values = number_texts([*counts, counts[-1], observations.sum])
        text = interleave(self._prefixes, values)
        return text + self._end if form is Format.OPENMETRICS else text


class HistogramRenderer:
    """Renders one histogram with a constant label for the recorder."""

    def __init__(self, family: HistogramFamily, recorder: str, budget: LabelBudget) -> None:
        self._family = family
        self._histogram = family.histogram
        self._names = (RECORDER_LABEL, *family.histogram.key)
        self._recorder = recorder
        self._budget = budget
        self._texts: dict[Key, _Text] = {}
        self._over: dict[Key, Observations] = {}
        """Keys over budget."""
        self._gone: Observations | None = None
        """Sum of those that were over budget."""

    def render(self, now_ns: int, form: Format, taken: Collection[str]) -> Iterator[bytes]:
        """Yields the lines in chunks; nothing if the family claims a name in ``taken``."""
        if not self._family.names.isdisjoint(taken):
            return
        shown = self._shown(now_ns)
        self._texts = {key: self._text(key, observations) for key, observations in shown.items()}
        header = self._family.headers[form]
        series = list(shown.items())
        for start in range(0, len(series), _CHUNK_KEYS):
            chunk = b"".join(
                [
                    self._texts[key].lines(observations, form)
                    for key, observations in series[start : start + _CHUNK_KEYS]
                ]
            )
            yield b"%b%b\n" % (header, chunk) if header else chunk[1:] + b"\n"
            header = b""

    def _shown(self, now_ns: int) -> dict[Key, Observations]:
        """The observations to render, by key: those over budget are added up."""
        series = self._histogram.series
        refused = self._budget.update(series, now_ns)
        over = {key: series[key] for key in series if key in refused}
        for key, observations in self._over.items():
            if over.get(key) is not observations:
                self._gone = _sum(self._gone, observations)
        self._over = over
        shown = {key: observations for key, observations in series.items() if key not in over}
        if over:
            other = reduce(_sum, over.values(), self._gone)
            assert other is not None  # noqa: S101 - ``over`` is not empty
            shown[(OTHER,) * len(self._histogram.key)] = other
        return shown

    def _text(self, key: Key, observations: Observations) -> _Text:
        text = self._texts.get(key)
        if text is None or text.created_ns != observations.created_ns:  # it was retired and came back
            pairs = label_pairs(self._names, (self._recorder, *key))
            text = _Text(self._family, pairs, observations.created_ns)
        return text


def _sum(total: Observations | None, more: Observations) -> Observations:
    added = Observations(more.bounds, more.created_ns if total is None else total.created_ns)
    added.counts = more.counts if total is None else list(map(add, total.counts, more.counts))
    added.sum = more.sum if total is None else total.sum + more.sum
    return added
