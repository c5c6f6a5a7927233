"""Settings have one name in all sources, later sources win, and errors name the setting."""

from __future__ import annotations

import math
import os
import socket
from dataclasses import replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct, convert

from decahertz.app.database import database_url
from decahertz.app.settings import Settings, load
from decahertz.event import Name
from decahertz.settings import FILE_NAME, Key, SettingsError, default_data_dir, environment_name, keys_of

KEYS = {key.key: key for key in keys_of(Settings)}
_TEXTS = {
    "recorder": ["desk-1", "Zürich 2", "r"],
    "log.level": ["debug", "info", "warning", "error"],
    "log.format": ["auto", "console", "json"],
    "accounting.cost": ["average", "fifo", "lifo"],
    "accounting.currency": ["USD", "EUR", "BTC"],
    "accounting.day_start": ["00:00", "17:00", "23:59"],
    "tiers.engine": ["auto", "plain", "timescaledb"],
    "database_url": ["", "postgresql://me:p%23ss@db:5432/decahertz?sslmode=require"],
    "storage.read_url": ["", "postgresql://me:p%23ss@replica:5432/decahertz"],
    "alerts.alertmanager_url": ["", "http://127.0.0.1:9093", "https://alerts.example/am/"],
    "alertmanager.recorder_url": ["", "http://127.0.0.1:8000"],
    "alertmanager.dead_mans_switch_url": ["", "https://alerts.example/ping"],
    "alertmanager.smtp_host": ["", "smtp.example.com:587"],
}


def values_of(key: Key) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911, PLR0912 - one for each type
    """Any value that the declaration of a setting allows."""
    bare, *extras = get_args(key.type) if get_origin(key.type) is Annotated else (key.type,)
    is_limit = key.key.startswith("risk.") and not key.key.startswith("risk.orders.")
    if not is_limit and get_origin(bare) in {Union, UnionType}:
        return values_of(replace(key, type=next(kind for kind in get_args(bare) if kind is not NoneType)))
    meta = [extra for extra in extras if isinstance(extra, Meta)]
    lows = [bound for m in meta for bound in (m.ge, m.gt) if bound is not None]
    highs = [bound for m in meta for bound in (m.le, m.lt) if bound is not None]
    low, high = max(lows, default=None), min(highs, default=None)
    name = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
    if key.key == "api.cors_origins":
        return st.lists(st.sampled_from(["https://desk.example", "http://[::1]:3000"]), max_size=2).map(tuple)
    if key.key == "accounting.pegs":
        return st.lists(st.sampled_from(["USDT=USD", "EURC=EUR"]), max_size=2).map(tuple)
    if key.key == "accounting.aliases":
        return st.lists(st.sampled_from(["BCC=BCH", "SATS=BTC"]), max_size=2).map(tuple)
    if is_limit:
        amount = st.floats(0, 1e300, exclude_min=True, exclude_max=True)
        return st.lists(amount, max_size=2).map(tuple)
    if key.key in _TEXTS:
        return st.sampled_from(_TEXTS[key.key])
    if any(m.pattern for m in meta):
        pytest.fail(f"{key.key} has a pattern: list texts that match it in this test")
    if bare is bool:
        return st.booleans()
    if bare is int:
        return st.integers(
            None if low is None else math.ceil(low), None if high is None else math.floor(high)
        ).filter(lambda n: abs(n) < 2**53)
    if bare is float:
        is_open = any(m.gt is not None for m in meta)
        is_below = any(m.lt is not None for m in meta)
        return st.floats(
            low, high, exclude_min=is_open, exclude_max=is_below, allow_nan=False, allow_infinity=False
        )
    if bare is str:
        return name
    if bare is Path:
        return name.map(lambda text: Path("/tmp") / text)  # noqa: S108 - never opened
    if get_origin(bare) is tuple:
        return st.lists(name, max_size=3).map(tuple)
    return pytest.fail(f"{key.key} is a {bare}: say in this test how its values look")


def value_at(of: Settings, key: str) -> Any:  # noqa: ANN401 - any setting
    value: Any = of
    for part in key.split("."):
        value = getattr(value, part)
    return value


def as_toml(key: str, value: Any) -> str:  # noqa: ANN401 - any setting
    def written(value: Any) -> str:  # noqa: ANN401 - any setting
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, tuple):
            return f"[{', '.join(map(written, value))}]"
        return f"'{value}'" if isinstance(value, str | Path) else repr(value)

    table, _, name = key.rpartition(".")
    return (f"[{table}]\n" if table else "") + f"{name} = {written(value)}\n"


def as_text(value: Any) -> str:  # noqa: ANN401 - any setting
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def of_file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "some.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", sorted(KEYS))
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_setting_works_from_file_environment_and_command_line_alike(
    name: str,
    data: st.DataObject,
    tmp_path: Path,
) -> None:
    key = KEYS[name]
    value = data.draw(values_of(key))
    no_file = of_file(tmp_path, "")
    loaded = [
        load(file=of_file(tmp_path, as_toml(name, value)), environ={}),
        load(file=no_file, environ={key.environment: as_text(value)}),
        load(file=no_file, environ={}, arguments={name: as_text(value)}),
        load(file=no_file, environ={}, arguments={name: value}),
    ]
    assert [value_at(each, name) for each in loaded] == [value] * 4
    defaults = load(file=no_file, environ={})
    others = [other for other in KEYS if other != name]
    for each in loaded:
        assert [value_at(each, o) for o in others] == [value_at(defaults, o) for o in others]


@pytest.mark.parametrize("name", sorted(KEYS))
def test_every_setting_has_its_declared_default_and_a_line_of_help(name: str, tmp_path: Path) -> None:
    loaded = load(file=of_file(tmp_path, ""), environ={"XDG_DATA_HOME": "/data"})
    if name != "data_dir":
        assert value_at(loaded, name) == KEYS[name].default
    assert KEYS[name].help.endswith(".")
    assert "\n" not in KEYS[name].help


def test_names_are_what_is_promised_and_no_two_settings_share_one() -> None:
    assert KEYS["api.port"].environment == "DECAHERTZ_API_PORT"
    assert environment_name("feeds.my-feed.url") == "DECAHERTZ_FEEDS_MY_FEED_URL"
    assert KEYS["api.port"].option == "--api-port"
    assert {"exporter.port", "data_dir", "database_url"} <= set(KEYS)
    assert len({key.environment for key in KEYS.values()}) == len(KEYS)
    assert len({key.option for key in KEYS.values()}) == len(KEYS)


def test_later_sources_win(tmp_path: Path) -> None:
    file = of_file(tmp_path, "[api]\nport = 1\n[exporter]\nport = 1\n[storage]\nqueue_rows = 1001\n")
    environ = {"DECAHERTZ_API_PORT": "2", "DECAHERTZ_EXPORTER_PORT": "2"}
    loaded = load(file=file, environ=environ, arguments={"api.port": "3"})
    assert (loaded.api.port, loaded.exporter.port, loaded.storage.queue_rows) == (3, 2, 1001)


def test_a_value_that_a_later_source_overrides_must_be_good_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"api\.port"):
        load(file=of_file(tmp_path, "[api]\nport = -1\n"), environ={}, arguments={"api.port": 3})


def test_a_table_by_name_belongs_to_that_name(tmp_path: Path) -> None:
    text = "[risk]\ndaily_loss = 500\n[risk.strategies.'a.b c']\ndaily_loss = [4, 5]\ndrawdown = 6\n"
    loaded = load(file=of_file(tmp_path, text), environ={}, arguments={"risk.strategies.x.red_days": "3"})
    assert loaded.risk.daily_loss == (500.0,)
    assert {name: (t.daily_loss, t.drawdown, t.red_days) for name, t in loaded.risk.strategies.items()} == {
        "a.b c": ((4.0, 5.0), (6.0,), None),
        "x": (None, None, (3.0,)),
    }


@pytest.mark.parametrize("key", ["alertmanager.slack_url_file", "database_password_file"])
def test_an_empty_text_names_no_file(key: str, tmp_path: Path) -> None:
    loaded = load(file=of_file(tmp_path, ""), environ={environment_name(key): ""})
    assert (loaded.alertmanager.slack_url_file, loaded.database_password_file) == (Path(), Path())
    assert not loaded.alertmanager.has_slack


@pytest.mark.parametrize(
    ("toml", "key", "reason"),
    [
        ("[api]\nport = 65536\n", "api.port", "65535"),
        ("[api]\nport = -1\n", "api.port", "0"),
        ("[api]\nport = 'http'\n", "api.port", "must be a whole number, not a text"),
        ("[api]\nport = true\n", "api.port", "not true or false"),
        ("[api]\nport = 1.5\n", "api.port", "whole number"),
        ("[api]\nport = 2026-01-02\n", "api.port", "whole number"),
        ("[api]\nport = []\n", "api.port", "whole number"),
        ("[api]\nprt = 1\n", "api.prt", "did you mean api.port?"),
        ("[apii]\nport = 1\n", "apii.port", "did you mean api.port?"),
        ("api = 1\n", "api", "no such setting"),
        ("zebra = 1\n", "zebra", "no such setting"),
        ("[risk]\ndaily_los = 1\n", "risk.daily_los", "did you mean risk.daily_loss?"),
        ("[risk]\ndaily_loss = [1, 2, 3]\n", "risk.daily_loss", "at most 2 items"),
        ("[risk]\ndaily_loss = 0\n", "risk.daily_loss", "> 0"),
        ("[risk.desk]\nbold = 1\n", "risk.desk.bold", "no such setting"),
        (
            "[risk.strategies.a]\ndaily_los = 1\n",
            "risk.strategies.a.daily_los",
            "risk.strategies.a.daily_loss?",
        ),
        ("[risk.strategies]\ndaily_loss = 1\n", "risk.strategies.daily_loss", "risk.strategies.NAME"),
        ("[database_url]\nhost = 'x'\n", "database_url.host", "no such setting"),
        ("[storage]\nflush_seconds = 0\n", "storage.flush_seconds", "0"),
        ("[storage]\nflush_seconds = nan\n", "storage.flush_seconds", "nan"),
        ("[storage]\nflush_seconds = inf\n", "storage.flush_seconds", "86400"),
        ("[log]\nlevel = 'loud'\n", "log.level", "loud"),
        ("data_dir = ''\n", "data_dir", "Path"),
        ("data_dir = 1\n", "data_dir", "Path"),
        ("data_dir = '~nobody-of-this-name/x'\n", "data_dir", "home"),
        ("[collectors]\nenabled = 1\n", "collectors.enabled", "str"),
        ("[collectors]\nenabled = [1]\n", "collectors.enabled", "str"),
        ("[collectors]\nmarket = 1\n", "collectors.market", "no such setting"),
        ("database_url = ['postgresql://me:secret@db']\n", "database_url", "not a list"),
        ("= 1\n", "config", "line 1"),
        ("[api\n", "config", "line 1"),
    ],
)
def test_a_bad_file_is_refused_naming_key_reason_and_file(
    toml: str,
    key: str,
    reason: str,
    tmp_path: Path,
) -> None:
    file = of_file(tmp_path, toml)
    with pytest.raises(SettingsError) as caught:
        load(file=file, environ={})
    assert caught.value.key == key
    assert reason in caught.value.reason
    assert caught.value.origin == str(file)
    text = str(caught.value)
    assert text.startswith(f"{key}: ")
    assert str(file) in text
    assert "secret" not in text, "a database's URL has a password"


@pytest.mark.parametrize("name", sorted(KEYS))
def test_a_bad_value_names_its_setting_whatever_the_source(name: str, tmp_path: Path) -> None:
    no_file = of_file(tmp_path, "")
    for bad in (object(), [object()], b"\xff"):
        with pytest.raises(SettingsError) as caught:
            load(file=no_file, environ={}, arguments={name: bad})
        assert (caught.value.key, caught.value.origin) == (name, "the command line")
    if get_args(KEYS[name].type)[0] in (int, float, bool):
        with pytest.raises(SettingsError) as caught:
            load(file=no_file, environ={KEYS[name].environment: "many"})
        assert (caught.value.key, caught.value.origin) == (name, "the environment")


def test_a_value_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    variable = {"DECAHERTZ_RECORDER": os.fsdecode(b"desk-\xff")}
    with pytest.raises(SettingsError, match=r"recorder.*surrogates not allowed"):
        load(file=of_file(tmp_path, ""), environ=variable)


def test_an_unknown_argument_is_refused_and_an_unknown_variable_is_not_ours(tmp_path: Path) -> None:
    no_file = of_file(tmp_path, "")
    with pytest.raises(SettingsError, match=r"api\.prt"):
        load(file=no_file, environ={}, arguments={"api.prt": 1})
    loaded = load(file=no_file, environ={}, arguments={"feeds.mine.ur": "x"})
    with pytest.raises(SettingsError, match=r"feeds\.mine\.ur"):
        loaded.sources.plugin_options("feeds", "mine", Options)
    load(file=no_file, environ={"DECAHERTZ_URL": "http://127.0.0.1:8000", "PATH": "/bin"})


def test_the_password_of_the_database_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss/word\n")
    url, file = "postgresql://me@db:5432/d?sslmode=prefer", str(tmp_path / "password")
    settings = load(
        file=of_file(tmp_path, ""),
        environ={"DECAHERTZ_DATABASE_URL": url, "DECAHERTZ_DATABASE_PASSWORD_FILE": file},
    )
    assert database_url(settings) == "postgresql://me:p%40ss%2Fword@db:5432/d?sslmode=prefer"


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://me@db/d", None),
        ("postgresql://me@db/d", " "),
        ("postgresql://me:secret@db/d", "other"),
        ("postgresql://db/d", "other"),
        ("", "other"),
    ],
)
def test_a_password_file_that_cannot_be_used_is_refused(
    tmp_path: Path, url: str, password: str | None
) -> None:
    if password is not None:
        (tmp_path / "password").write_text(password)
    values = {"database_url": url, "database_password_file": str(tmp_path / "password")}
    with pytest.raises(SettingsError) as caught:
        database_url(load(file=of_file(tmp_path, ""), environ={}, arguments=values))
    assert caught.value.key == "database_password_file"
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_or_cannot_be_read_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load(file=tmp_path / "none.toml", environ={})
    folder, text = tmp_path / "folder", tmp_path / "odd.toml"
    folder.mkdir()
    text.write_bytes(b"\xff\xfe\x00")
    for file in (folder, text):
        with pytest.raises(SettingsError) as caught:
            load(file=file, environ={})
        assert caught.value.origin == str(file)


def test_the_file_of_the_working_folder_and_the_environment_are_taken_when_none_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(environ={}).api.port == 8000
    Path(FILE_NAME).write_text("data_dir = '~/d'\n[api]\nport = 1\n")
    loaded = load(environ={})
    assert (loaded.api.port, loaded.data_dir) == (1, Path.home() / "d")
    monkeypatch.setenv("DECAHERTZ_API_PORT", "7")
    assert load().api.port == 7


def test_data_lives_with_the_user_and_roots_where_others_can_reach_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_data_dir({"XDG_DATA_HOME": "/data"}) == Path("/data/decahertz")
    assert default_data_dir({}) == Path.home() / ".local" / "share" / "decahertz"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir({"XDG_DATA_HOME": "/data"}) == Path("/var/lib/decahertz")


class Limits(Struct, frozen=True):
    depth: Annotated[int, Meta(ge=1, description="How deep.")] = 5


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a plugin of somebody else's."""

    url: Annotated[str, Meta(min_length=1, description="Where.")]
    instruments: Annotated[tuple[str, ...], Meta(description="Which.")] = ("a",)
    idle_seconds: Annotated[float | None, Meta(description="How long.")] = None
    is_shy: Annotated[bool, Meta(description="Whether.")] = False
    limits: Limits = Limits()


def test_options_of_a_plugin_come_from_the_same_sources_by_the_same_rules(tmp_path: Path) -> None:
    loaded = load(
        file=of_file(
            tmp_path,
            "[feeds.mine]\nurl = 'file'\ninstruments = ['x', 'y']\nidle_seconds = 1\n"
            "[feeds.mine.limits]\ndepth = 6\n[feeds.mine2]\nbad = 1\n[collectors.mine]\nbad = 1\n",
        ),
        environ={"DECAHERTZ_FEEDS_MINE_URL": "environment", "DECAHERTZ_FEEDS_MINE_IS_SHY": "true"},
        arguments={"feeds.mine.url": "argument"},
    )
    assert loaded.sources.plugin_options("feeds", "mine", Options) == Options(
        url="argument", instruments=("x", "y"), idle_seconds=1.0, is_shy=True, limits=Limits(6)
    )


@pytest.mark.parametrize(
    ("toml", "key", "reason"),
    [
        ("", "feeds.mine.url", "not set"),
        ("[feeds.mine]\nurl = ''\n", "feeds.mine.url", "at least 1 character"),
        ("[feeds.mine]\nurl = 'u'\nur = 1\n", "feeds.mine.ur", "did you mean feeds.mine.url?"),
        ("[feeds.mine]\nurl = 'u'\nis_shy = 'so'\n", "feeds.mine.is_shy", "so"),
        ("[feeds.mine]\nurl = 'u'\n[feeds.mine.limits]\ndepth = 0\n", "feeds.mine.limits.depth", "0"),
        ("[feeds.mine]\nurl = 'u'\n[feeds.mine.limits]\nwidth = 1\n", "feeds.mine.limits.width", "no such"),
    ],
)
def test_bad_options_of_a_plugin_are_refused_by_name(
    toml: str, key: str, reason: str, tmp_path: Path
) -> None:
    loaded = load(file=of_file(tmp_path, toml), environ={})
    with pytest.raises(SettingsError) as caught:
        loaded.sources.plugin_options("feeds", "mine", Options)
    assert caught.value.key == key
    assert reason in caught.value.reason


def test_settings_of_a_plugin_are_listed_like_the_others_and_have_defaults() -> None:
    assert Settings().sources.plugin_options("feeds", "mine", Limits) == Limits()
    keys = keys_of(Options, "feeds.mine")
    assert [key.key for key in keys] == [
        "feeds.mine.url", "feeds.mine.instruments", "feeds.mine.idle_seconds", "feeds.mine.is_shy",
        "feeds.mine.limits.depth",
    ]  # fmt: skip
    assert [key.help for key in keys] == ["Where.", "Which.", "How long.", "Whether.", "How deep."]


@pytest.mark.parametrize(
    ("host", "recorder"),
    [
        ("desk-1.example", "desk-1.example"),
        ("ho st:*1", "ho-st-1"),
        (" ", "recorder"),
        ("x" * 300, "x" * 128),
    ],
)
def test_a_recorder_is_named_as_its_host(monkeypatch: pytest.MonkeyPatch, host: str, recorder: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert load(environ={}).recorder == recorder
    assert convert(recorder, Name) == recorder
    with pytest.raises(SettingsError, match="recorder"):
        load(environ={}, arguments={"recorder": "a\tb"})
