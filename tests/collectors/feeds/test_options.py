from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from collectors import feeds
from collectors.feeds.binance.feed import BinanceFeed
from collectors.feeds.coinbase.feed import CoinbaseFeed
from collectors.feeds.kraken.feed import KrakenFeed
from collectors.feeds.recordings.replay import ReplayFeed
from collectors.feeds.synthetic.feed import SyntheticFeed
from collectors.feeds.websocket import WebSocketFeed
from decahertz.feed import BaseFeed
from decahertz.settings import SettingsError, Source, Sources

README = Path(feeds.__file__).with_name("README.md")


@pytest.mark.parametrize("feed", [SyntheticFeed, ReplayFeed, CoinbaseFeed, KrakenFeed, BinanceFeed])
def test_the_readme_lists_every_option_with_its_default(feed: type[BaseFeed[msgspec.Struct]]) -> None:
    rows = option_rows(f"`{feed.name}`")
    if issubclass(feed, WebSocketFeed):
        rows += option_rows("Live feeds")
    documented = {
        name for row in rows for name in row.split("|")[1].replace("`", "").replace(" ", "").split(",")
    }
    assert documented == {field.name for field in msgspec.structs.fields(feed.options_type)}
    for field in msgspec.structs.fields(feed.options_type):
        row = next(row for row in rows if f"`{field.name}`" in row.split("|")[1])
        for value in field.default if isinstance(field.default, tuple) else (field.default,):
            if value not in (msgspec.NODEFAULT, ""):
                shown = f"{value:g}" if isinstance(value, float) else str(value)
                assert shown in row.split("|")[2], field.name


def option_rows(heading: str) -> list[str]:
    """The rows of the table of options in a section."""
    section = README.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    table = section.partition("| option")[2].partition("\n\n")[0]
    return [line for line in table.splitlines() if line.startswith("| `")]


def test_the_readme_names_every_module() -> None:
    text = README.read_text()
    for module in README.parent.glob("*.py"):
        if module.name != "__init__.py":
            assert f"`{module.name}`" in text, module.name


@pytest.mark.parametrize(
    ("feed", "key", "value"),
    [
        (CoinbaseFeed, "url", "https://example.com"),
        (CoinbaseFeed, "products", ""),
        (CoinbaseFeed, "channels", "level3"),
        (CoinbaseFeed, "stale_seconds", 0),
        (CoinbaseFeed, "max_message_bytes", 10),
        (SyntheticFeed, "instruments", -1),
        (SyntheticFeed, "venues", ""),
        (SyntheticFeed, "venues", "a\tb"),
        (SyntheticFeed, "pause_kind", "loud"),
        (SyntheticFeed, "pause_interval_seconds", 0.5),
        (SyntheticFeed, "burst_factor", 0),
        (SyntheticFeed, "gap_probability", 2),
        (SyntheticFeed, "batch_seconds", 0),
        *((ReplayFeed, "speed", text) for text in ("", "fast", "0", "0.0", "-1", "nan", "inf", "1e9", "1\n")),
    ],
)
def test_a_bad_option_is_refused_by_its_key(
    feed: type[BaseFeed[msgspec.Struct]], key: str, value: object
) -> None:
    given = {f"feeds.{feed.name}.{key}": value, "feeds.replay.file": "x"}
    sources = Sources((Source("the command line", given),))
    with pytest.raises(SettingsError, match=rf"feeds\.{feed.name}\.{key}"):
        sources.plugin_options("feeds", feed.name, feed.options_type)
