"""Decides which reports of fills count, and with which content.

Reports are grouped by (strategy, account, venue, instrument, order id, fill id). A report that repeats side,
price and quantity of another one is the same execution, at the place of the first. One that differs is
another execution: a trading process whose ids begin again after its restart loses no fill. A ``bust`` annuls
the newest execution before it, or else the first, and a ``correction`` gives it another content; the last of
these reports counts. A correction whose execution is not known counts as one. So the answer does not depend
on the order of arrival.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from decahertz.event import Fill, FillKind, Side

Place: TypeAlias = tuple[int, str, int, int]
"""The place of a fill in the order of all fills: (time_ns, source, epoch, sequence)."""
FillId: TypeAlias = tuple[str, str, str, str, str, str]
"""(strategy, account, venue, instrument, order_id, fill_id)."""
AMENDMENTS = frozenset({FillKind.BUST, FillKind.CORRECTION})


class Report(NamedTuple):
    """The fields that decide whether a report counts."""

    place: Place
    kind: FillKind
    side: Side
    price: float
    quantity: float


def fill_id(fill: Fill) -> FillId:
    """The ids that the reports of one execution share."""
    return fill.strategy, fill.account, fill.venue, fill.instrument, fill.order_id, fill.fill_id


def report_of(place: Place, fill: Fill) -> Report:
    """The report that a fill is."""
    return Report(place, fill.kind, fill.side, fill.price, fill.quantity)


def executions(reports: Iterable[Report]) -> dict[Place, Place]:
    """Returns the place of each execution, and of the report that has its content.

    ``reports`` are all reports with the same ids.
    """
    first: dict[tuple[Side, float, float], Place] = {}
    amendments: list[Report] = []
    for report in sorted(reports):
        if report.kind in AMENDMENTS:
            amendments.append(report)
        else:
            first.setdefault((report.side, report.price, report.quantity), report.place)
    found = {place: place for place in first.values()}
    if not amendments:
        return found
    places = sorted(found)
    if not places:
        places = [one.place for one in amendments if one.kind is FillKind.CORRECTION][:1]
    for amendment in amendments:
        if not places:
            break
        target = places[max(bisect_right(places, amendment.place) - 1, 0)]
        if amendment.kind is FillKind.BUST:
            found.pop(target, None)
        else:
            found[target] = amendment.place
    return found


def corrected(original: Fill | None, correction: Fill, time_ns: int) -> Fill:
    """The fill that a correction makes of an execution at this time."""
    risk = correction.risk
    if risk is None and original is not None:
        risk = original.risk
    return replace(correction, kind=FillKind.TRADE, time_ns=time_ns, risk=risk)
