"""Plugins, loaded from real distributions that are written into a folder of the test's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, distributions, entry_points
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from collectors.host.plugins import (
    GROUPS,
    Available,
    Loaded,
    LoadedCollector,
    PluginFailure,
    available,
    builtin_classes,
    load_collectors,
    load_feeds,
)
from decahertz.accounting import AccountingSettings
from decahertz.app.settings import Settings, load
from decahertz.clock import SystemClock
from decahertz.settings import PLUGIN_TABLES, SettingsError, Sources

COLLECTOR = """
from typing import Annotated, ClassVar
import msgspec
from decahertz.collector import BaseCollector
from decahertz.event import Quote
from decahertz.metric import Metric
from decahertz.sample import Sample

class DepthSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "depth"
    levels: Annotated[int, Metric("Levels of the book.")]

class DepthOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    levels: int = 5

class DepthCollector(BaseCollector[DepthOptions]):
    sample_type = DepthSample
    events = frozenset({Quote})
    options_type = DepthOptions

    def sample(self, now_ns):
        return [DepthSample(levels=self.options.levels)]
"""
FEED = """
from decahertz.feed import BaseFeed

class TapeFeed(BaseFeed):
    name = "tape"

    async def run(self, emit):
        pass
"""

Install = Callable[..., list[EntryPoint]]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Writes a distribution; returns the entry points of all that were written so far."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(distribution: str, module: str, source: str, **points: Mapping[str, str]) -> list[EntryPoint]:
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = []
        for table, names in points.items():
            lines += [f"[{GROUPS[table]}]", *(f"{name} = {value}" for name, value in names.items())]
        (info / "entry_points.txt").write_text("\n".join(lines))
        return [p for d in distributions(path=[str(tmp_path)]) for p in d.entry_points]

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def depth(install: Install) -> list[EntryPoint]:
    """A distribution with one collector."""
    return install("depth-plugin", "depth", COLLECTOR, collectors={"depth": "depth:DepthCollector"})


def test_a_collector_is_loaded_by_its_entry_point_name(depth: list[EntryPoint]) -> None:
    loaded = load_collectors(["depth"], Sources(), SystemClock(), depth)
    assert loaded.failures == ()
    [plugin] = loaded.plugins
    assert (plugin.name, plugin.distribution) == ("depth", "depth-plugin")
    assert [field.name for field in plugin.schema.metrics] == ["levels"]


def load_from(file: Path, table: str, points: list[EntryPoint]) -> Loaded[LoadedCollector]:
    """Loads the collector with a table of the settings file."""
    file.write_text(f'[collectors]\nenabled = ["depth"]\n{table}\n')
    settings = load(file=file, environ={})
    return load_collectors(settings.collectors.enabled, settings.sources, SystemClock(), points)


def test_a_collector_gets_its_options_from_its_own_table(depth: list[EntryPoint], tmp_path: Path) -> None:
    [plugin] = load_from(tmp_path / "decahertz.toml", "[collectors.depth]\nlevels = 9", depth).plugins
    assert plugin.collector.options.levels == 9  # type: ignore[attr-defined] # its own attribute


@pytest.mark.usefixtures("depth")
def test_a_collector_that_asks_for_it_gets_the_accounting_section(install: Install) -> None:
    source = (
        COLLECTOR.replace("depth", "desk")
        + """
    def __init__(self, clock, options, accounting):
        super().__init__(clock, options)
        self.accounting = accounting
"""
    )
    asking = install("desk-plugin", "desk", source, collectors={"desk": "desk:DepthCollector"})
    accounting = AccountingSettings(timezone="Asia/Tokyo")
    names = ["depth", "desk"]
    loaded = load_collectors(names, Sources(), SystemClock(), asking, accounting=accounting)
    assert loaded.failures == ()
    assert not hasattr(loaded.plugins[0].collector, "accounting")
    assert loaded.plugins[1].collector.accounting is accounting  # type: ignore[attr-defined] # its own


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("[collectors.depth]\nlevls = 9", "collectors.depth.levls"),
        ("[collectors.depth]\nlevels = 'many'", "collectors.depth.levels"),
        ("[collectors.dept]\nlevels = 9", "collectors.dept"),
    ],
)
def test_wrong_options_stop_the_start_and_name_the_key(
    depth: list[EntryPoint], tmp_path: Path, table: str, key: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_from(tmp_path / "decahertz.toml", table, depth)
    assert caught.value.key == key
    assert "depth" in caught.value.reason or caught.value.key.startswith("collectors.depth.")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dept", r"collectors\.enabled: .*'dept'.*did you mean depth\?"),
        ("zzz", "installed are: depth"),
    ],
)
def test_an_unknown_name_stops_the_start_and_offers_others(
    depth: list[EntryPoint], name: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        load_collectors([name], Sources(), SystemClock(), depth)


def test_one_name_from_two_distributions_is_refused_naming_both(install: Install) -> None:
    install("one", "depth_one", COLLECTOR, collectors={"depth": "depth_one:DepthCollector"})
    points = install("two", "depth_two", COLLECTOR, collectors={"depth": "depth_two:DepthCollector"})
    with pytest.raises(SettingsError, match=r"one .*and two"):
        load_collectors(["depth"], Sources(), SystemClock(), points)


def test_a_plugin_that_nobody_enabled_is_told_and_not_imported(install: Install) -> None:
    points = install("bomb", "bomb", "raise RuntimeError", collectors={"bomb": "bomb:Bomb"})
    assert available(GROUPS["collectors"], points) == [Available("bomb", "bomb", "bomb:Bomb")]
    assert load_collectors([], Sources(), SystemClock(), points).plugins == ()
    assert "bomb" not in sys.modules


def with_attribute(line: str) -> str:
    return COLLECTOR.replace("    options_type", f"    {line}\n    options_type")


BREAKAGES = {
    "cannot be imported: ZeroDivisionError": COLLECTOR + "\n1 / 0",
    "cannot be imported: SystemExit": COLLECTOR + "\nraise SystemExit(1)",
    "cannot be imported: AttributeError": COLLECTOR.replace("class DepthCollector", "class Other"),
    "is not a class": COLLECTOR + "\nDepthCollector = 5",
    "sample_type is missing": COLLECTOR.replace("    sample_type = DepthSample", ""),
    "DepthSample declares no metric": COLLECTOR.replace(
        '    levels: Annotated[int, Metric("Levels of the book.")]', ""
    ),
    "entry point is named 'depth' but DepthSample.collector is 'width'": COLLECTOR.replace(
        '"depth"', '"width"'
    ),
    "every is 0": with_attribute("every = 0"),
    "every is 2.5": with_attribute("every = 2.5"),
    "not event types: int": COLLECTOR.replace("{Quote}", "{Quote, int}"),
    "not a frozenset": COLLECTOR.replace("frozenset({Quote})", "[Quote]"),
    "restored names Tick, which is not in its events": with_attribute("restored = {Tick: 60.0}").replace(
        "import Quote", "import Quote, Tick"
    ),
    "restored[Quote] is nan": with_attribute("restored = {Quote: float('nan')}"),
    "restored is not a mapping": with_attribute("restored = {Quote}"),
    "sample must be synchronous": COLLECTOR.replace("def sample", "async def sample"),
    "stop must be async": COLLECTOR + "\n    def stop(self): pass",
    "options_type is not a msgspec.Struct": COLLECTOR.replace("= DepthOptions", "= dict"),
    "DepthCollector(clock, options) raised TypeError": COLLECTOR + "\n    def __init__(self): pass",
}


@pytest.mark.parametrize("reason", BREAKAGES)
def test_an_unsound_plugin_is_reported_and_the_others_are_loaded(install: Install, reason: str) -> None:
    install("broken", "broken", BREAKAGES[reason], collectors={"depth": "broken:DepthCollector"})
    good = COLLECTOR.replace('"depth"', '"good"')
    points = install("fine", "fine", good, collectors={"good": "fine:DepthCollector"})
    with capture_logs() as logs:
        loaded = load_collectors(["depth", "good"], Sources(), SystemClock(), points)
    assert [plugin.name for plugin in loaded.plugins] == ["good"]
    [failure] = loaded.failures
    assert (failure.name, failure.distribution) == ("depth", "broken")
    assert reason in failure.reason
    assert "\n" not in failure.reason
    assert [log["event"] for log in logs] == ["plugin_failed"]


def test_a_feed_is_loaded_by_its_entry_point_name(install: Install) -> None:
    points = install("tapes", "tape", FEED, feeds={"tape": "tape:TapeFeed"})
    loaded = load_feeds(["tape"], Sources(), SystemClock(), points)
    assert [(plugin.name, plugin.distribution) for plugin in loaded.plugins] == [("tape", "tapes")]


@pytest.mark.parametrize(
    ("reason", "source"),
    [
        ("TapeFeed.name is 'disc'", FEED.replace('"tape"', '"disc"')),
        ("run must be async", FEED.replace("async def", "def")),
        ("TypeError", FEED.replace("async def run", "async def walk")),
    ],
)
def test_an_unsound_feed_is_reported(install: Install, reason: str, source: str) -> None:
    points = install("tapes", "tape", source, feeds={"tape": "tape:TapeFeed"})
    loaded = load_feeds(["tape"], Sources(), SystemClock(), points)
    assert loaded.plugins == ()
    [failure] = loaded.failures
    assert isinstance(failure, PluginFailure)
    assert reason in failure.reason


def test_only_plugins_of_our_own_distribution_are_built_in(depth: list[EntryPoint]) -> None:
    assert builtin_classes("collectors", depth) == {}


def test_the_settings_know_the_same_tables() -> None:
    assert tuple(GROUPS) == PLUGIN_TABLES


def test_the_default_settings_name_collectors_that_are_installed() -> None:
    installed = {point.name for point in entry_points(group=GROUPS["collectors"])}
    assert set(Settings().collectors.enabled) <= installed
