"""Values of event fields: what a field takes, and what is meant by values that are nearly that."""

from __future__ import annotations

import datetime as dt
import enum
import re
import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NamedTuple, Optional

from decahertz_client._times import datetime_ns, other_unit

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_CONTROL = re.compile(r"[\x00-\x1f\ud800-\udfff]")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_SYNONYMS = {
    "canceled": "cancelled",
    "partial": "partially_filled",
    "perp": "perpetual",
    "futures": "future",
    "options": "option",
    "forex": "fx",
    "warn": "warning",
    "fatal": "critical",
}
_MAX_NAME, _MAX_IDENTIFIER, _MAX_TEXT = 128, 256, 16_384
_MAX_INT = 2**63 - 1
_LIMIT = 1e300  # of the server


class Field(NamedTuple):
    """The values that a field of an event takes."""

    kind: str
    """``time``, ``name``, ``names``, ``account``, ``identifier``, ``text``, ``number``, ``integer``,
    ``boolean`` or ``choice``."""
    required: bool = False
    least: Optional[float] = None  # noqa: UP045 - Python 3.9
    above: Optional[float] = None  # noqa: UP045 - Python 3.9
    most: Optional[float] = None  # noqa: UP045 - Python 3.9
    choices: tuple[str, ...] = ()

    def converted(self, value: object) -> object:
        """The value as the field takes it. Raises ``ValueError`` with what the field takes instead."""
        if isinstance(value, enum.Enum):
            value = value.value
        if self.kind != "time" and not isinstance(value, (str, int, float, list, tuple)):
            value = _plain(value)
        return _CONVERSIONS[self.kind](self, value)


def _plain(value: Any) -> object:  # noqa: ANN401 - any object of the trading process
    """Converts scalars of other types: decimals, UUIDs and those of NumPy."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    item = getattr(value, "item", None)
    return value if item is None else item()


def _time(_: Field, value: object) -> int:
    if isinstance(value, dt.datetime):
        return datetime_ns(value)
    value = _plain(value) if not isinstance(value, (str, int, float)) else value
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 1 <= value <= _MAX_INT:
        unit = other_unit(value)
        time_ns = int(value) if unit is None else unit[1]
        if time_ns <= _MAX_INT:
            return time_ns
    raise ValueError("must be nanoseconds since 1970, or a datetime with a zone")


def _number(field: Field, value: object) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("must be a number")  # noqa: TRY004 - one kind of error for all values
    if not abs(value) < _LIMIT:  # nor is NaN
        raise ValueError("must be a finite number")
    _check_limits(field, value)
    return value if abs(value) <= _MAX_INT else float(value)  # MessagePack has no longer integers


def _integer(field: Field, value: object) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -_MAX_INT - 1 <= value <= _MAX_INT:
        raise ValueError("must be an integer of 64 bits")
    _check_limits(field, value)
    return value


def _check_limits(field: Field, value: float) -> None:
    if field.least is not None and value < field.least:
        raise ValueError(f"must be {field.least:g} or more")
    if field.above is not None and value <= field.above:
        raise ValueError(f"must be above {field.above:g}")
    if field.most is not None and value > field.most:
        raise ValueError(f"must be {field.most:g} or less")


def _boolean(_: Field, value: object) -> bool:
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    raise ValueError("must be True or False")


def _choice(field: Field, value: object) -> str:
    if isinstance(value, str):
        text = value.strip().lower()
        text = _SYNONYMS.get(text, text)
        for choice in field.choices:
            if _letters(choice) == _letters(text):
                return choice
    raise ValueError(f"must be one of {', '.join(field.choices)}")


def _letters(text: str) -> str:
    return re.sub(r"[ _-]", "", text)


def _name(_: Field, value: object) -> str:
    text = _text_of(value).strip()
    if not text or len(text) > _MAX_NAME or _CONTROL.search(text):
        raise ValueError(f"must be a name of 1 to {_MAX_NAME} characters without control characters")
    return text


def _names(field: Field, value: object) -> list[str]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Iterable):
        raise ValueError("must be a list of names")  # noqa: TRY004 - as above
    return [_name(field, one) for one in value]


def _account(field: Field, value: object) -> str:
    return "" if value == "" else _name(field, value)


def _identifier(_: Field, value: object) -> str:
    text = _text_of(value)
    if not text or len(text) > _MAX_IDENTIFIER or _UNSTORABLE.search(text):
        raise ValueError(f"must be a text of 1 to {_MAX_IDENTIFIER} characters")
    return text


def _text(_: Field, value: object) -> str:
    text = _text_of(value)
    if len(text) > _MAX_TEXT or _UNSTORABLE.search(text):
        raise ValueError(f"must be a text of up to {_MAX_TEXT} characters")
    return text


def _text_of(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - as above
    return value


_CONVERSIONS: dict[str, Callable[[Field, object], object]] = {
    "time": _time,
    "name": _name,
    "names": _names,
    "account": _account,
    "identifier": _identifier,
    "text": _text,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "choice": _choice,
}
