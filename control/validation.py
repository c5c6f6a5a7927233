"""Checks that the fields of an order request fit together, and that its legs form the strategy they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Final

from decahertz.clock import TimeFormatError, parse_time
from decahertz.decode_errors import InvalidField
from decahertz.order_requests import (
    AnyOrderRequest,
    EquityRequest,
    ManualLegsRequest,
    OptionLeg,
    OptionRight,
    OptionStrategyName,
    OptionStrategyRequest,
    OrderType,
)

_LARGEST_NS: Final = 2**63 - 1
_HAS_LIMIT: Final = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT})
_HAS_STOP: Final = frozenset({OrderType.STOP, OrderType.STOP_LIMIT})
_SPACING: Final = 1e-9
"""Relative difference of the spaces between strikes that counts as none."""


class InvalidRequestError(ValueError):
    """Raised for a request whose fields do not fit together."""

    def __init__(self, fields: Sequence[InvalidField]) -> None:
        super().__init__("; ".join(f"{field}: {reason}" for field, reason in fields))
        self.fields = tuple(fields)


def validated(request: AnyOrderRequest, now_ns: int) -> int | None:
    """Checks a request; returns its valid-until, in nanoseconds. Raises :class:`InvalidRequestError`."""
    problems = [*_prices(request), *_legs(request, now_ns)]
    valid_until_ns = None
    try:
        valid_until_ns = _valid_until(request, now_ns)
    except ValueError as error:
        problems.append(InvalidField("valid_until", str(error)))
    if problems:
        raise InvalidRequestError(problems)
    return valid_until_ns


def _valid_until(request: AnyOrderRequest, now_ns: int) -> int | None:
    value = request.valid_until
    if value is None:
        return None
    try:
        until_ns = value if isinstance(value, int) else parse_time(value)
    except TimeFormatError as error:
        raise ValueError(str(error)) from error
    if until_ns <= now_ns:
        raise ValueError("is not in the future")
    if until_ns > _LARGEST_NS:
        raise ValueError("lies after 2262")
    return until_ns


def _prices(request: AnyOrderRequest) -> Iterator[InvalidField]:
    kind = request.order_type
    for name, allowed in (("limit_price", _HAS_LIMIT), ("stop_price", _HAS_STOP)):
        price = getattr(request, name)
        if kind in allowed and price is None:
            yield InvalidField(name, f"a {kind.value} order needs it")
        elif kind not in allowed and price is not None:
            yield InvalidField(name, f"a {kind.value} order has none")
        elif price is not None and price <= 0 and isinstance(request, EquityRequest):
            yield InvalidField(name, "must be above 0")


def _legs(request: AnyOrderRequest, now_ns: int) -> Iterator[InvalidField]:
    if isinstance(request, ManualLegsRequest):
        seen: dict[str, int] = {}
        for index, leg in enumerate(request.legs):
            if leg.instrument in seen:
                yield InvalidField(
                    f"legs[{index}].instrument", f"is the same as that of leg {seen[leg.instrument]}"
                )
            seen.setdefault(leg.instrument, index)
    elif isinstance(request, OptionStrategyRequest):
        problems = list(_expiries(request.legs, now_ns)) or list(_ratios(request))
        yield from problems or _FORMS[request.option_strategy](request.legs)


def _expiries(legs: Sequence[OptionLeg], now_ns: int) -> Iterator[InvalidField]:
    for index, leg in enumerate(legs):
        field = f"legs[{index}].expiry"
        try:
            date.fromisoformat(leg.expiry)
            # West of UTC the day of expiry is over up to twelve hours later.
            is_past = parse_time(f"{leg.expiry}T00:00:00-12:00") + _DAY_NS <= now_ns
        except ValueError:
            yield InvalidField(field, f"{leg.expiry} is not a date")
            continue
        if is_past:
            yield InvalidField(field, f"{leg.expiry} is past")


_DAY_NS: Final = 86_400 * 10**9


def _ratios(request: OptionStrategyRequest) -> Iterator[InvalidField]:
    """All legs have one ratio; the body of a butterfly has twice that of its wings."""
    legs = request.legs
    if request.option_strategy is OptionStrategyName.BUTTERFLY:
        return
    for index, leg in enumerate(legs):
        if leg.ratio != legs[0].ratio:
            yield InvalidField(
                f"legs[{index}].ratio", f"is {leg.ratio}, not {legs[0].ratio} as that of the first leg"
            )


def _number(legs: Sequence[OptionLeg], number: int, what: str) -> Iterator[InvalidField]:
    if len(legs) != number:
        yield InvalidField("legs", f"{what} has {number} legs, not {len(legs)}")


def _same(legs: Sequence[OptionLeg], name: str, what: str) -> Iterator[InvalidField]:
    for index, leg in enumerate(legs):
        if getattr(leg, name) != getattr(legs[0], name):
            yield InvalidField(f"legs[{index}].{name}", f"the legs of {what} have one {name}")


def _different(legs: Sequence[OptionLeg], name: str, what: str) -> Iterator[InvalidField]:
    if getattr(legs[0], name) == getattr(legs[1], name):
        yield InvalidField(f"legs[1].{name}", f"the legs of {what} differ in {name}")


def _two(
    what: str, same: Sequence[str], different: Sequence[str]
) -> Callable[[Sequence[OptionLeg]], Iterator[InvalidField]]:
    """A strategy of two legs that have some fields in common and differ in others."""

    def check(legs: Sequence[OptionLeg]) -> Iterator[InvalidField]:
        wrong = list(_number(legs, 2, what))
        yield from wrong
        if wrong:
            return
        for name in same:
            yield from _same(legs, name, what)
        for name in different:
            yield from _different(legs, name, what)

    return check


def _strangle(legs: Sequence[OptionLeg]) -> Iterator[InvalidField]:
    found = list(_two("a strangle", ("expiry", "side"), ("right", "strike"))(legs))
    yield from found
    if not found:
        put, call = sorted(legs, key=lambda leg: leg.right is OptionRight.CALL)
        if put.strike > call.strike:
            yield InvalidField("legs", "the put of a strangle has the lower strike")


def _butterfly(legs: Sequence[OptionLeg]) -> Iterator[InvalidField]:
    what = "a butterfly"
    wrong = [*_number(legs, 3, what)] or [*_same(legs, "expiry", what), *_same(legs, "right", what)]
    yield from wrong
    if wrong:
        return
    low, body, high = sorted(legs, key=lambda leg: leg.strike)
    lower, upper = body.strike - low.strike, high.strike - body.strike
    if not lower > 0 or not upper > 0 or abs(lower - upper) > _SPACING * high.strike:
        yield InvalidField("legs", "the strikes of a butterfly are equally far apart")
    if low.ratio != high.ratio or body.ratio != 2 * low.ratio:
        yield InvalidField("legs", "the ratios of a butterfly are 1, 2, 1")
    if low.side is not high.side or body.side is low.side:
        yield InvalidField("legs", "the wings of a butterfly have one side, its body the other")


def _iron(*, is_butterfly: bool) -> Callable[[Sequence[OptionLeg]], Iterator[InvalidField]]:
    """Two puts below two calls: the inner ones on one side, the outer ones on the other."""
    what = "an iron butterfly" if is_butterfly else "an iron condor"

    def check(legs: Sequence[OptionLeg]) -> Iterator[InvalidField]:
        wrong = [*_number(legs, 4, what)] or [*_same(legs, "expiry", what)]
        yield from wrong
        if wrong:
            return
        puts = sorted((leg for leg in legs if leg.right is OptionRight.PUT), key=_strike)
        calls = sorted((leg for leg in legs if leg.right is OptionRight.CALL), key=_strike)
        if len(puts) != len(calls):
            yield InvalidField("legs", f"{what} has two puts and two calls")
            return
        inner_put, inner_call = puts[1].strike, calls[0].strike
        fits = inner_put == inner_call if is_butterfly else inner_put < inner_call
        if not (puts[0].strike < inner_put and inner_call < calls[1].strike and fits):
            relation = "at the same strike as" if is_butterfly else "below"
            yield InvalidField(
                "legs", f"the strikes of {what} ascend, the inner put {relation} the inner call"
            )
        outer, inner = {puts[0].side, calls[1].side}, {puts[1].side, calls[0].side}
        if len(outer) != 1 or len(inner) != 1 or outer == inner:
            yield InvalidField("legs", f"the inner legs of {what} have one side, the outer ones the other")

    return check


def _strike(leg: OptionLeg) -> float:
    return leg.strike


_FORMS: Final[dict[OptionStrategyName, Callable[[Sequence[OptionLeg]], Iterator[InvalidField]]]] = {
    OptionStrategyName.VERTICAL: _two("a vertical", ("expiry", "right"), ("strike", "side")),
    OptionStrategyName.STRADDLE: _two("a straddle", ("expiry", "strike", "side"), ("right",)),
    OptionStrategyName.STRANGLE: _strangle,
    OptionStrategyName.BUTTERFLY: _butterfly,
    OptionStrategyName.IRON_CONDOR: _iron(is_butterfly=False),
    OptionStrategyName.IRON_BUTTERFLY: _iron(is_butterfly=True),
    OptionStrategyName.CALENDAR: _two("a calendar", ("right", "strike"), ("expiry", "side")),
    OptionStrategyName.DIAGONAL: _two("a diagonal", ("right",), ("expiry", "strike", "side")),
}
