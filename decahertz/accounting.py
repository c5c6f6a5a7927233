"""How results are computed: the account currency, the cost of a position, and where a trading day ends."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from decahertz.event import Name
from decahertz.settings import Seconds


class CostMethod(StrEnum):
    """Which purchases a sale closes."""

    AVERAGE = "average"
    """All in proportion, at average cost."""
    FIFO = "fifo"
    """The first ones first."""
    LIFO = "lifo"
    """The last ones first."""


class AccountingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section ``[accounting]``."""

    currency: Annotated[
        Name, Meta(description="Account currency: results of all strategies are converted to it.")
    ] = "USD"
    pegs: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[^=\s]+=[^=\s]+$")], ...],
        Meta(
            description="Currencies counted one to one where no quote of the pair is recorded, such as"
            " stablecoins."
        ),
    ] = ("USDT=USD", "USDC=USD")
    aliases: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[^=\s]+=[^=\s]+$")], ...],
        Meta(
            description="Other codes of currencies, such as XBT=BTC, besides the well-known ones: quotes of"
            " XBT/USD mark a position in BTC/USD."
        ),
    ] = ()
    rate_seconds: Annotated[
        Seconds,
        Meta(description="How old a mid may be at which an amount is converted to another currency."),
    ] = 3600.0
    cost: Annotated[CostMethod, Meta(description="Which purchases a sale closes.")] = CostMethod.AVERAGE
    minor_unit: Annotated[
        float,
        Meta(gt=0, description="Smallest amount of the account currency; a result below half of it is zero."),
    ] = 0.01
    timezone: Annotated[str, Meta(description="Time zone of the trading day, such as America/New_York.")] = (
        "UTC"
    )
    day_start: Annotated[
        str,
        Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="When the trading day starts, in that zone."),
    ] = "00:00"
    week_start: Annotated[int, Meta(ge=0, le=6, description="Day on which a week starts; 0 is Monday.")] = 0
