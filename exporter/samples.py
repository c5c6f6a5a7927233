"""Renders the samples of one collector as exposition lines, fast."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter

from decahertz.clock import NS_PER_SECOND
from decahertz.metric import Kind
from decahertz.sample import Sample, SampleBatch, SampleSchema
from exporter.extremes import Extremes, Frozen
from exporter.family import RECORDER_LABEL, Family, label_pairs
from exporter.label_budget import OTHER, Key, LabelBudget
from exporter.lines import KeyLabels, KeySet, interleave, number_texts, state_block
from exporter.negotiation import Format

CHUNK_SERIES = 2_000
"""Series per chunk: a few tenths of a millisecond of work."""
_BUDGET_NS = 10 * NS_PER_SECOND
"""Interval in which places of the budget that have become free are given to keys over budget."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Samples and extremes of one collector for one scrape; later cycles do not change them."""

    now_ns: int
    key_set: KeySet
    samples: Sequence[Sample]
    extremes: dict[str, Frozen]
    other: dict[str, float]
    """Counters of the keys over budget, added up; empty if there is none."""


class SampleRenderer:
    """Keeps the newest batch of a collector and renders its families."""

    def __init__(
        self,
        schema: SampleSchema,
        families: Sequence[Family],
        recorder: str,
        window_ns: int,
        budget: LabelBudget,
    ) -> None:
        self._recorder = recorder
        self._names = (RECORDER_LABEL, *schema.key)
        self._families = families
        self._key_of = _key_getter(schema)
        self._value_of = {family.series: attrgetter(family.field.name) for family in families}
        self._window_ns = window_ns
        self._budget = budget
        self._flagged = dict.fromkeys(family.field.name for family in families if family.extreme)
        self._counters = [f.field.name for f in families if f.field.metric.kind is Kind.COUNTER]
        self._other_labels = self._labels((OTHER,) * len(schema.key), 0)
        self._reset()

    def _reset(self) -> None:
        self._taken_ns: int | None = None
        self._budgeted_ns = 0
        self._keys: list[Key] = []
        self._key_set = KeySet({})
        self._refused: list[bool] | None = None
        """By key, whether it is over budget; ``None``: none is."""
        self._samples: Sequence[Sample] = ()
        self._extremes = Extremes(self._flagged, self._window_ns)
        self._other = _Other(self._counters)

    def take(self, batch: SampleBatch, now_ns: int) -> None:
        """Takes the batch of a cycle. If that fails, nothing is shown until one can be taken again."""
        try:
            self._take(batch, now_ns)
        except BaseException:
            self._reset()
            raise
        self._taken_ns = now_ns

    def _take(self, batch: SampleBatch, now_ns: int) -> None:
        samples: Sequence[Sample] = batch.samples
        keys = list(map(self._key_of, samples))
        is_due = self._refused is not None and now_ns - self._budgeted_ns >= _BUDGET_NS
        if keys != self._keys or is_due:
            self._change_keys(keys, batch.time_ns, now_ns)
        if self._refused is not None:
            self._other.take(list(compress(samples, self._refused)))
            admitted = [not refused for refused in self._refused]
            samples, keys = list(compress(samples, admitted)), list(compress(keys, admitted))
        if len(self._key_set.labels) != len(keys):  # of a key that comes twice the last sample counts
            samples = list(dict(zip(keys, samples, strict=True)).values())
        self._extremes.take(samples, now_ns)
        self._samples = samples

    def _change_keys(self, keys: list[Key], time_ns: int, now_ns: int) -> None:
        refused = self._budget.update(keys, now_ns)
        self._budgeted_ns = now_ns
        self._keys = keys
        self._refused = [key in refused for key in keys] if refused else None
        self._other.change_keys([key for key in keys if key in refused])
        # Labels of keys that are still present carry over; those of retired keys are dropped.
        known = self._key_set.labels
        labels = {key: known.get(key) or self._labels(key, time_ns) for key in keys if key not in refused}
        positions = {key: position for position, key in enumerate(known)}
        self._extremes.realign([positions.get(key, -1) for key in labels])
        self._key_set = KeySet(labels)

    def freeze(self, now_ns: int, stale_ns: int) -> Frame | None:
        """Returns what is to be rendered; ``None`` if the newest batch is older than ``stale_ns``."""
        if self._taken_ns is None or now_ns - self._taken_ns > stale_ns:
            return None
        return Frame(now_ns, self._key_set, self._samples, self._extremes.freeze(), self._other.totals())

    def render(self, frame: Frame, form: Format, taken: Collection[str]) -> Iterator[bytes]:
        """Yields the lines in chunks. Omits families that claim a name in ``taken``."""
        for family in self._families:
            if not family.names.isdisjoint(taken):
                continue
            header = family.headers[form]
            for chunk in self._lines(family, frame, form):
                if chunk:  # starts with a line break, which ends the header or is dropped
                    yield b"%b%b\n" % (header, chunk) if header else chunk[1:] + b"\n"
                    header = b""

    def _labels(self, key: Key, time_ns: int) -> KeyLabels:
        return KeyLabels(label_pairs(self._names, (self._recorder, *key)), time_ns)

    def _lines(self, family: Family, frame: Frame, form: Format) -> Iterator[bytes]:
        if family.field.metric.kind is Kind.STATE:
            yield from self._state_lines(family, frame)
            return
        yield from self._number_lines(family, frame, form)
        if family.field.name in frame.other:
            (value,) = number_texts([frame.other[family.field.name]])
            yield b"\n%b{%b} %b" % (family.series, self._other_labels.pairs, value)

    def _number_lines(self, family: Family, frame: Frame, form: Format) -> Iterator[bytes]:
        prefixes = frame.key_set.prefixes(family)
        created: Sequence[bytes] = ()
        if form is Format.OPENMETRICS and family.field.metric.kind is Kind.COUNTER:
            created = frame.key_set.created(family)
        value_of = self._value_of[family.series]
        extreme = family.extreme and frame.extremes[family.field.name](family.extreme)
        for start in range(0, len(prefixes), CHUNK_SERIES):
            end = start + CHUNK_SERIES
            values = list(map(value_of, frame.samples[start:end])) if extreme is None else extreme[start:end]
            yield interleave(prefixes[start:end], number_texts(values), created[start:end])

    def _state_lines(self, family: Family, frame: Frame) -> Iterator[bytes]:
        labels = list(frame.key_set.labels.values())
        value_of = self._value_of[family.series]
        step = max(1, CHUNK_SERIES // len(family.field.states))
        for start in range(0, len(frame.samples), step):
            end = start + step
            yield b"".join(
                [
                    state_block(family, key_labels, value_of(sample))
                    for key_labels, sample in zip(labels[start:end], frame.samples[start:end], strict=True)
                ]
            )


def _key_getter(schema: SampleSchema) -> Callable[[Sample], Key]:
    if len(schema.key) < 2:  # noqa: PLR2004 - attrgetter returns a tuple only for two names
        return schema.key_of
    getter: Callable[[Sample], Key] = attrgetter(*schema.key)
    return getter


class _Other:
    """Counters of the keys over budget, added up so that the sum never falls."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._gone = dict.fromkeys(fields, 0.0)
        """By field, the last values of keys that were over budget."""
        self._keys: Sequence[Key] = ()
        self._samples: Sequence[Sample] = ()

    def change_keys(self, keys: Sequence[Key]) -> None:
        """Changes the keys over budget."""
        kept = set(keys)
        for key, sample in zip(self._keys, self._samples, strict=True):
            if key not in kept:
                for field in self._gone:
                    self._gone[field] += getattr(sample, field)
        self._keys, self._samples = keys, ()

    def take(self, samples: Sequence[Sample]) -> None:
        """Takes the samples of the keys over budget, in the order of the keys."""
        self._samples = samples

    def totals(self) -> dict[str, float]:
        """Returns the sum of each field, with that of keys that have left; empty if no key is over budget."""
        if not self._keys:
            return {}
        return {
            field: gone + sum(map(attrgetter(field), self._samples)) for field, gone in self._gone.items()
        }
