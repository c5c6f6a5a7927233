"""The summaries of the watchdog's alerts: one line that names the thing and the figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from decahertz.watchdog.tracker import Finding, Key
from decahertz.words import counted


def summary_of(alert: str, key: Key, finding: Finding, recorder: str) -> str:
    """Returns the summary of an alert that starts firing."""
    return _TEXTS[alert](key, finding, recorder)


def _stale(key: Key, finding: Finding, _recorder: str) -> str:
    return f"{key[0]} is stale: nothing received for {_seconds(finding, 'as long as its feed is known')}"


def _mute(key: Key, finding: Finding, _recorder: str) -> str:
    return f"{key[1]} on {key[0]} is mute: no message for {_seconds(finding, 'as long as it is connected')}"


def _risk(key: Key, finding: Finding, _recorder: str) -> str:
    if finding.value is None:
        return f"{key[0]} reports a breach of {key[1]}: {finding.amount:,.6g}"
    used = f"{finding.amount:,.6g} of {finding.limit:,.6g}"
    return f"{key[0]} uses {finding.value:.0%} of its limit of {key[1]}: {used}"


def _seconds(finding: Finding, otherwise: str) -> str:
    return otherwise if finding.value is None else f"{finding.value:.0f} s"


_TEXTS: Mapping[str, Callable[[Key, Finding, str], str]] = {
    "FeedStale": _stale,
    "FeedMute": _mute,
    "DrawdownDeep": lambda key, f, _: f"{key[0]} is {f.value or 0:.1%} below its highest equity",
    "DailyLossLimit": lambda key, f, _: f"{key[0]} has lost {f.value or 0:.1%} of its equity today",
    "RiskLimitBreached": _risk,
    "PositionBreak": lambda key, f, _: (
        f"{key[0]} reports positions that differ from its fills in {_number(f, 'instrument')}"
    ),
    "CashBreak": lambda key, f, _: (
        f"{key[0]} reports {abs(f.amount):,.6g} {'less' if f.amount < 0 else 'more'} cash than its fills and"
        " cash flows leave"
    ),
    "EventLoopLag": lambda _, f, recorder: (
        f"the event loop of {recorder} was blocked for {f.value or 0:.2f} s"
    ),
    "CyclesMissed": lambda _, f, recorder: f"{recorder} missed {_number(f, 'cycle')} within a minute",
    "LedgerUnbalanced": lambda key, f, _: f"{_number(f, 'row')} of {key[0]} unaccounted for",
    "KeysOverBudget": lambda key, f, _: (
        f"{_number(f, 'key')} of {key[0]} without room in its key budget, not sampled"
    ),
    "DatabaseLost": lambda _, f, recorder: (
        f"{recorder} has been without its database for {f.value or 0:.0f} s: data waits in the spool"
    ),
}


def _number(finding: Finding, noun: str) -> str:
    return counted(round(finding.value or 0), noun)
