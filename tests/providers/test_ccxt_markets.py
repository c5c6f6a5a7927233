"""Definitions of instruments from the markets of ccxt, and the command that writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from decahertz.app.definitions import csv_of, run_definitions
from decahertz.app.start_error import StartError
from decahertz.event import Instrument, InstrumentKind
from decahertz.instruments_file import read_instruments
from providers.ccxt import CcxtOptions
from providers.ccxt_markets import definition_of
from tests.providers.test_ccxt import PAIR, asset
from tests.providers.venue import Venue, venue

DECIMAL_PLACES, SIGNIFICANT_DIGITS, TICK_SIZE = 2, 3, 4  # ccxt.base.decimal_to_precision
SPOT: dict[str, Any] = {
    "id": "BTCUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "settle": None, "type": "spot",
    "contract": False, "linear": None, "inverse": None, "contractSize": None, "expiry": None,
    "precision": {"price": 0.01, "amount": 0.00001},
}  # fmt: skip
SWAP = SPOT | {
    "id": "BTC-USDT-SWAP", "symbol": "BTC/USDT:USDT", "settle": "USDT", "type": "swap", "contract": True,
    "linear": True, "inverse": False, "contractSize": 0.01, "precision": {"price": 0.1, "amount": 1.0},
}  # fmt: skip
INVERSE_FUTURE = SWAP | {
    "id": "BTC-USD-260327", "symbol": "BTC/USD:BTC-260327", "quote": "USD", "settle": "BTC", "type": "future",
    "linear": False, "inverse": True, "contractSize": 100.0, "expiry": 1_774_598_400_000,
}  # fmt: skip


def definition(market: dict[str, Any], mode: int = TICK_SIZE) -> Instrument:
    found = definition_of(market, "okx", 5, mode)
    assert found is not None
    return found


def test_a_spot_market() -> None:
    assert definition(SPOT) == Instrument(
        time_ns=5, venue="okx", instrument="BTC/USDT", kind=InstrumentKind.SPOT, base_currency="BTC",
        quote_currency="USDT", tick_size=0.01, lot_size=0.00001, aliases=("BTCUSDT",),
    )  # fmt: skip


def test_a_linear_swap_counts_by_its_contract_size() -> None:
    found = definition(SWAP)
    assert (found.kind, found.multiplier, found.inverse) == (InstrumentKind.PERPETUAL, 0.01, False)
    assert (found.settlement_currency, found.tick_size, found.lot_size) == ("USDT", 0.1, 1.0)


def test_an_inverse_future_settles_in_its_base_currency_and_expires() -> None:
    found = definition(INVERSE_FUTURE)
    assert (found.kind, found.multiplier, found.inverse) == (InstrumentKind.FUTURE, 100.0, True)
    assert (found.settlement_currency, found.expiry_ns) == ("BTC", 1_774_598_400_000_000_000)


@pytest.mark.parametrize(
    ("precision", "mode", "increments"),
    [
        ({"price": 2, "amount": 8}, DECIMAL_PLACES, (0.01, 1e-8)),
        ({"price": 0, "amount": -1}, DECIMAL_PLACES, (1.0, 10.0)),
        ({"price": 5, "amount": 5}, SIGNIFICANT_DIGITS, (None, None)),
        ({"price": None, "amount": 0.5}, TICK_SIZE, (None, 0.5)),
        (None, TICK_SIZE, (None, None)),
    ],
)
def test_precision_is_an_increment_where_it_is_one(
    precision: object, mode: int, increments: tuple[float | None, float | None]
) -> None:
    found = definition(SPOT | {"precision": precision}, mode)
    assert (found.tick_size, found.lot_size) == increments


@pytest.mark.parametrize(
    "other",
    [
        SPOT | {"type": "index"},
        SPOT | {"type": None},
        SPOT | {"symbol": ""},
        SWAP | {"contractSize": None},
        SWAP | {"contractSize": 0},
        SWAP | {"expiry": "soon"},
    ],
)
def test_what_is_no_definition_is_left_out(other: dict[str, Any]) -> None:
    assert definition_of(other, "okx", 5, TICK_SIZE) is None


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = [definition(market) for market in (SPOT, SWAP, INVERSE_FUTURE)]
    file = tmp_path / "instruments.csv"
    file.write_text(csv_of(made), encoding="utf-8")
    assert read_instruments(file, 5) == made


def answers(running: Venue) -> CcxtOptions:
    """Plays Kraken with one pair; returns the options that call it."""
    running.bodies = {
        "/0/public/Assets": {"error": [], "result": {"XXBT": asset("XBT"), "ZUSD": asset("USD")}},
        "/0/public/AssetPairs": {"error": [], "result": {"XXBTZUSD": PAIR}},
    }
    return CcxtOptions(exchange="kraken", url=running.url)


async def test_the_command_writes_what_the_library_knows_of_an_exchange(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "instruments.csv"
    async with venue() as running:
        options = answers(running)
        assert await run_definitions(options, ["BTC/USD"], venue="kraken-spot", output=file) == 0
        with pytest.raises(StartError, match="kraken defines no ETH/USD"):
            await run_definitions(options, ["BTC/USD", "ETH/USD"], output=file)
        capsys.readouterr()
        assert await run_definitions(options, []) == 0
    (found,) = read_instruments(file, 5)
    assert (found.venue, found.instrument, found.aliases) == ("kraken-spot", "BTC/USD", ("XXBTZUSD",))
    assert (found.tick_size, found.lot_size) == (0.1, 1e-8)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].startswith(
        "kraken,BTC/USD,spot,BTC,USD,,1.0,false,0.1,1e-08,,XXBTZUSD"
    )
    assert printed.err == "1 definition of kraken\n"


async def test_an_exchange_that_cannot_be_asked_ends_the_command_in_one_line() -> None:
    with pytest.raises(StartError, match="ccxt has no exchange 'nowhere'"):
        await run_definitions(CcxtOptions(exchange="nowhere"), [])
    with pytest.raises(StartError, match=r"^kraken: "):
        await run_definitions(CcxtOptions(exchange="kraken", url="http://127.0.0.1:9"), [])
