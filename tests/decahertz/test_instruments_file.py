"""The user's definitions of instruments, from TOML and CSV."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from decahertz.event import Instrument, InstrumentKind
from decahertz.instruments_file import InstrumentsFileError, read_instruments
from decahertz.testing import START_NS
from decahertz_client import Client

FUTURE = Instrument(
    time_ns=START_NS, venue="cme", instrument="ESZ6", kind=InstrumentKind.FUTURE, quote_currency="USD",
    multiplier=50.0, tick_size=0.25, lot_size=1.0, expiry_ns=1_797_604_200_000_000_000, calendar="XNYS",
    aliases=("ES", "E-mini"),
)  # fmt: skip
SWAP = Instrument(
    time_ns=START_NS, venue="bitmex", instrument="XBTUSD", kind=InstrumentKind.PERPETUAL,
    base_currency="BTC", quote_currency="USD", inverse=True,
)  # fmt: skip

TOML = """
[[instrument]]
venue = "cme"
instrument = "ESZ6"
kind = "future"
quote_currency = "USD"
multiplier = 50
tick_size = 0.25
lot_size = 1
expiry = 2026-12-18T14:30:00Z
calendar = "XNYS"
aliases = ["ES", "E-mini"]

[[instrument]]
venue = "bitmex"
instrument = "XBTUSD"
kind = "perpetual"
base_currency = "BTC"
quote_currency = "USD"
inverse = true
"""
_FIELDS = (
    *("venue", "instrument", "kind", "base_currency", "quote_currency"),
    *("multiplier", "inverse", "tick_size", "lot_size"),
)
_HEADER = ";".join((*_FIELDS, "expiry;calendar;aliases"))
CSV = f"""{_HEADER}
cme;ESZ6;future;;USD;50;false;0.25;1;2026-12-18T14:30:00Z;XNYS;ES | E-mini
bitmex; XBTUSD;perpetual;BTC;USD;;true;;;;;
"""


def read(folder: Path, text: str, name: str = "instruments.toml") -> list[Instrument]:
    path = folder / name
    path.write_text(text)
    return read_instruments(path, START_NS)


def test_toml_and_csv_hold_the_same_definitions(tmp_path: Path) -> None:
    assert read(tmp_path, TOML) == [FUTURE, SWAP]
    assert read(tmp_path, CSV, "instruments.csv") == [FUTURE, SWAP]
    assert read(tmp_path, CSV.replace(";", ","), "instruments.CSV") == [FUTURE, SWAP]
    assert read(tmp_path, "") == []


def test_an_expiry_may_be_a_date(tmp_path: Path) -> None:
    (found,) = read(tmp_path, '[[instrument]]\nvenue="v"\ninstrument="i"\nkind="future"\nexpiry=2026-12-18')
    assert found.expiry_ns == 1_797_552_000_000_000_000


ONE = '[[instrument]]\nvenue="v"\ninstrument="i"\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[instrument]\n", "Expected ']]' at the end of an array declaration"),
        ("[instruments]\n", "only tables [[instrument]] are expected, not instruments"),
        ("instrument = 3\n", "only tables [[instrument]] are expected"),
        (
            '[[instrument]]\nvenue="v"\nkind="spot"\n',
            "instrument 1: Object missing required field `instrument`",
        ),
        (
            ONE + 'kind="swap"\n',
            "instrument 1 (i): kind 'swap' is none of spot, future, perpetual, option, fx, index",
        ),
        (
            ONE + 'kind="spot"\nmultipler=5\n',
            "instrument 1 (i): Object contains unknown field `multipler`",
        ),
        (
            ONE + 'kind="spot"\nmultiplier=0\n',
            "instrument 1 (i): Expected `float` > 0.0 (multiplier)",
        ),
        (ONE + 'kind="spot"\nexpiry="soon"\n', "instrument 1 (i): expiry 'soon' is not a time such as"),
        (ONE + 'kind="spot"\ntime_ns=5\n', "instrument 1 (i): time_ns and type are not for this file"),
        (TOML + TOML, "ESZ6 at cme is defined twice"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InstrumentsFileError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/instruments.toml: ")
    assert reason in message
    assert "\n" not in message


def test_a_row_of_another_length_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(InstrumentsFileError, match="line 3 has another number of cells than the header"):
        read(tmp_path, "venue,instrument,kind\nv,i,spot\nv,j\n", "i.csv")
    with pytest.raises(InstrumentsFileError, match=r"line 2 \(i\): Expected `float`"):
        read(tmp_path, "venue,instrument,kind,multiplier\nv,i,spot,many\n", "i.csv")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InstrumentsFileError, match=r"none\.toml: No such file or directory"):
        read_instruments(tmp_path / "none.toml", START_NS)


def test_the_examples_of_the_page_define_what_they_say(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "instruments.md").read_text()
    examples = dict(re.findall(r"^```(toml|csv|python)\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    future, swap = read(tmp_path, examples["toml"])
    assert future == replace(FUTURE, aliases=())
    assert swap == replace(SWAP, aliases=("BTC/USD:BTC",))
    future, swap = read(tmp_path, examples["csv"], "i.csv")
    assert (future.multiplier, future.kind) == (50.0, InstrumentKind.FUTURE)
    assert (swap.inverse, swap.aliases) == (True, ("BTC/USD:BTC", "XBT"))
    recorder = Client("http://127.0.0.1:9", source="docs", strict=True)
    try:
        exec(examples["python"], {"recorder": recorder})  # noqa: S102 - our own page
    finally:
        recorder.close(timeout=0)
