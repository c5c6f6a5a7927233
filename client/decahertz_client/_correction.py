"""Corrects events whose values are nearly right: ``side="BUY"``, ``quantity="1"``, a time in milliseconds.

The background thread does so where the meaning is clear, and leaves a value alone where it is not: the server
then refuses the event with the reason. A strict client does so in the call, which raises the reason.
"""

from __future__ import annotations

import datetime as dt
import enum
import time
from collections.abc import Mapping, Sequence
from typing import Any, Union

from decahertz_client._event_fields import EVENT_FIELDS
from decahertz_client._fields import Field

_EXECUTIONS = ("fill", "order")
_MAX_SHOWN = 60
_MAX_INT = 2**63


class InvalidEventError(ValueError):
    """Raised by a strict client for an event that the server would refuse."""


class Corrections:
    """Corrects events as far as their meaning is clear, and counts the corrected ones."""

    def __init__(self) -> None:
        self.count = 0
        """Events that needed it."""
        self.news: list[str] = []
        """First corrections of each field, for the log, which empties the list."""
        self._noted: set[str] = set()

    def correct(self, event: dict[str, Any]) -> dict[str, Any]:
        """Returns the event with its corrections; the event itself if there are none."""
        known = EVENT_FIELDS.get(_type_of(event))
        if known is None:
            return event
        changes: dict[str, Any] = {}
        is_near_miss = False
        for name, value in event.items():
            field = known.get(name)
            if field is None:
                continue
            try:
                converted = field.converted(value)
            except Exception:  # noqa: BLE001 - a value's own methods may raise anything
                if name == "time_ns" and event["type"] in _EXECUTIONS:
                    changes.update(_timed_now(value))
                    is_near_miss = True
                    self._note(event["type"], name, value, "the time of sending")
                continue
            if type(converted) is not type(value) or converted != value:
                changes[name] = converted
                if _is_near_miss(value, converted):
                    is_near_miss = True
                    self._note(event["type"], name, value, _shown(converted))
        self.count += is_near_miss
        return {**event, **changes} if changes else event

    def _note(self, event_type: str, name: str, value: object, converted: str) -> None:
        where = f"{event_type}.{name}"
        if where not in self._noted:
            self._noted.add(where)
            self.news.append(f"{where} from {_shown(value)} to {converted}")


def checked(event: dict[str, Any]) -> dict[str, Any]:
    """Returns the event with its corrections. Raises :class:`InvalidEventError` if it is not valid then."""
    known = EVENT_FIELDS.get(_type_of(event))
    if known is None:
        types = ", ".join(EVENT_FIELDS)
        raise InvalidEventError(f"{_shown(event['type'])} is not an event type; there are {types}")
    missing = [name for name, field in known.items() if field.required and event.get(name) is None]
    if missing:
        raise InvalidEventError(f"{event['type']}.{missing[0]} is missing")
    return {
        name: value if name == "type" else _checked_value(event["type"], known, name, value)
        for name, value in event.items()
    }


def named_fields(
    item: Union[dict[str, Any], tuple[Any, ...]],  # noqa: UP007 - Python 3.9
    fields: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """The fields of an event in the ring that are not ``None``; ``fields`` names the values of tuples."""
    named = item.items() if isinstance(item, dict) else zip(fields[item[0]], item)
    return {name: value for name, value in named if value is not None}


def _checked_value(event_type: str, known: Mapping[str, Field], name: str, value: object) -> object:
    field = known.get(name)
    if field is None:
        raise InvalidEventError(f"{event_type}.{name:.60} is not a field; there are {', '.join(known)}")
    try:
        return field.converted(value)
    except Exception as error:
        raise InvalidEventError(f"{event_type}.{name} is {_shown(value)}: {error}") from error


def _type_of(event: Mapping[str, Any]) -> str:
    event_type = event.get("type")
    return event_type if isinstance(event_type, str) else ""


def _timed_now(value: object) -> dict[str, Any]:
    """An execution is never lost for its time: it gets the time of sending, and says what it had.

    0 stands for a time that is not an integer of 64 bits.
    """
    is_kept = isinstance(value, int) and abs(value) < _MAX_INT
    return {"time_ns": time.time_ns(), "stated_time_ns": value if is_kept else 0}


def _is_near_miss(value: object, converted: object) -> bool:
    """Whether both differ in more than what the encoder converts: enumerations, decimals and tuples."""
    if isinstance(value, (list, tuple)):
        return list(value) != converted
    return isinstance(value, (str, int, float, dt.datetime)) and not isinstance(value, enum.Enum)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
