"""Options of plugins of other distributions work on the command line, and `settings` lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from decahertz.app import cli
from decahertz.app.cli import build_app, keys_of_others, main

_PLUGIN = '''
"""A feed of somebody else."""

import msgspec


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    symbols: tuple[str, ...] = ("EURUSD",)
    account_token: str = ""
    most_rows: int = 7


class MyFeed:
    name = "my_feed"
    options_type = Options
    progress = None

    def __init__(self, clock, options):
        if options.symbols != ("AAPL", "MSFT"):
            raise ValueError(f"other symbols: {options.symbols}")

    async def run(self, emit):
        pass
'''


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with two feeds, of which one cannot be imported."""
    monkeypatch.setattr(cli, "configure_logs", lambda _: None)  # that of the process stays as it is
    (tmp_path / "feed_of_somebody.py").write_text(_PLUGIN)
    information = tmp_path / "feed_of_somebody-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: feed-of-somebody\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[decahertz.feeds]\nmy_feed = feed_of_somebody:MyFeed\nbroken = nowhere_at_all:Feed\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECAHERTZ_DATA_DIR", str(tmp_path / "data"))


def test_options_of_somebody_elses_feed_are_taken_from_the_command_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            [
                *("check", "--api-port", "0", "--exporter-port", "0", "--feeds-enabled", "my_feed"),
                *("--feeds-my-feed-symbols", "AAPL,MSFT"),
            ]
        )
    written = capfd.readouterr()
    assert ended.value.code == 0, written
    assert "ok     feed my_feed: from feed-of-somebody" in written.out


def test_a_wrong_value_of_such_an_option_names_it(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "--feeds-enabled", "my_feed", "--feeds-my-feed-most-rows", "many"])
    written = capfd.readouterr()
    assert ended.value.code == 2
    assert written.err.startswith("decahertz: feeds.my_feed.most_rows: 'many' is invalid")


def test_settings_lists_options_of_plugins_with_their_values(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DECAHERTZ_FEEDS_MY_FEED_MOST_ROWS", "9")
    with pytest.raises(SystemExit) as ended:
        main(["settings", "--feeds-my-feed-account-token", "hunter2"])
    lines = capfd.readouterr().out.splitlines()
    assert ended.value.code == 0
    name = "DECAHERTZ_FEEDS_MY_FEED_"
    assert f"feeds.my_feed.symbols = EURUSD    # {name}SYMBOLS  --feeds-my-feed-symbols" in lines
    assert f"feeds.my_feed.most_rows = 9    # {name}MOST_ROWS  --feeds-my-feed-most-rows" in lines
    assert (
        f"feeds.my_feed.account_token = (set)    # {name}ACCOUNT_TOKEN  --feeds-my-feed-account-token"
        in lines
    )
    assert any(line.startswith("feeds.replay.file = (not set) ") for line in lines)
    assert any(line.startswith("feeds.coinbase.products = ") for line in lines)
    assert any(line.startswith("api.port = ") for line in lines)
    assert any(line.startswith("database_password_file =     # ") for line in lines)


def test_a_plugin_that_nobody_names_is_not_imported() -> None:
    assert list(keys_of_others(["up", "--feeds-enabled", "my_feed"])) == []


def test_options_of_a_plugin_that_cannot_be_imported_name_the_plugin(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "--feeds-broken-symbols", "AAPL"])
    written = capfd.readouterr()
    assert ended.value.code == 2
    assert written.err.startswith("decahertz: feeds.broken: nowhere_at_all:Feed cannot be imported")


def test_only_options_that_are_named_are_declared_and_all_where_one_is_unknown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def declared(*tokens: str) -> set[str]:
        arguments = build_app(["check", *tokens])["check"].assemble_argument_collection()
        return {name for argument in arguments for name in argument.names}

    assert declared("--api-port=0", "--feeds-enabled", "") == {"--api-port", "--feeds-enabled", "--config"}
    few = declared("--feeds-my-feed-most-rows", "8", "--config", "x")
    assert few == {"--feeds-my-feed-most-rows", "--config"}
    assert declared("--api-prt", "0") > {"--api-port", "--api-host", "--feeds-synthetic-seed"}
    with pytest.raises(SystemExit) as ended:
        main(["check", "--api-prt", "0"])
    assert ended.value.code
    assert "Did you mean --api-port?" in capfd.readouterr().err


def test_help_shows_the_options_of_every_plugin(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "--help"])
    assert not ended.value.code
    assert "--feeds-my-feed-symbols" in capfd.readouterr().out
