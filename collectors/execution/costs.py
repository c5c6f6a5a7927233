"""The cost of one order against reference prices.

With the sign s (1 for a buy, -1 for a sell), the quantity ordered Q, the fills q_i at the prices p_i, F = sum
of q_i, and the mids P_d at the decision, P_a at the submission (arrival) and P_e at the end of the order:

* slippage against P in basis points: s * (sum of q_i * p_i - F * P) / (F * P) * 10,000
* implementation shortfall = delay + trading + opportunity + fees, with

  - delay = s * F * (P_a - P_d): what the market did while the order was not at the venue
  - trading = s * sum of q_i * (p_i - P_a): what it cost to fill it once it was there
  - opportunity = s * (Q - F) * (P_e - P_d): what the unfilled part missed
  - fees: paid minus rebates

The first three add up to s * (sum of q_i * p_i - F * P_d) + s * (Q - F) * (P_e - P_d): the gain of the paper
portfolio, which trades Q at P_d, less that of the real one. A. F. Perold, "The Implementation Shortfall:
Paper versus Reality", Journal of Portfolio Management 14 (1988); W. H. Wagner and M. Edwards, "Best
Execution", Financial Analysts Journal 49 (1993), for the parts. Positive is a cost.

Quantities count times the multiplier of the contract and the rate to the account currency. An inverse
contract is worth -1 / price per unit, in its base currency.
"""

from __future__ import annotations

from typing import NamedTuple

from collectors.execution.order import OrderRecord, worth
from decahertz.event import FINAL_ORDER_STATES, OrderState, Side
from decahertz.order_states import is_executed


class Slippage(NamedTuple):
    """Cost against a reference price, and the value at that price, in the account currency."""

    cost: float
    value: float


class Shortfall(NamedTuple):
    """Parts of the shortfall, and the value of the paper portfolio, in the account currency."""

    delay: float
    trading: float
    opportunity: float
    fees: float
    value: float


def slippage(order: OrderRecord, reference: float | None) -> Slippage | None:
    """Slippage of the fills so far; ``None`` without fills, reference price or rates."""
    if reference is None or order.unpriced or not order.amount:
        return None
    unit = worth(reference, order.is_inverse)
    cost = order.value - order.amount * unit
    return Slippage(cost if order.side is Side.BUY else -cost, order.amount * abs(unit))


def shortfall(order: OrderRecord) -> Shortfall | None:
    """Shortfall of an order that has ended; ``None`` before, or without the prices that it needs."""
    if order.state not in FINAL_ORDER_STATES or order.unpriced or order.decision is None:
        return None
    if order.state is OrderState.FILLED and not is_executed(order.quantity, order.executed):
        return None  # some of its fills are missing
    scale = order.amount / order.executed if order.executed > 0 else order.scale
    rest = max(order.quantity - order.executed, 0.0)
    if scale is None or not (rest or order.executed):
        return None
    sign = 1 if order.side is Side.BUY else -1
    decision = worth(order.decision, order.is_inverse)
    delay = trading = opportunity = 0.0
    if order.amount:
        if order.arrival is None:
            return None
        arrival = worth(order.arrival, order.is_inverse)
        delay = sign * order.amount * (arrival - decision)
        trading = sign * (order.value - order.amount * arrival)
    if rest > order.quantity * 1e-9:
        if order.end_mid is None:
            return None
        opportunity = sign * rest * scale * (worth(order.end_mid, order.is_inverse) - decision)
    value = scale * (order.executed + rest) * abs(decision)
    return Shortfall(delay, trading, opportunity, order.fees, value)
