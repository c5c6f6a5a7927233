"""Discovers, validates and constructs plugins: collectors, feeds, providers, signal generators and scorers.

A plugin is a class behind an entry point of the group ``decahertz.collectors``, ``decahertz.feeds``,
``decahertz.providers``, ``decahertz.signals`` or ``decahertz.scorers``; the built-in ones are registered the
same way. Plugins of other distributions are imported when the settings or the command line name them; help
and ``decahertz settings`` import all of those that have options. Invalid settings stop the start with a
:class:`~decahertz.settings.SettingsError`; a plugin that cannot be imported or whose declaration is invalid
is reported as a failure and does not affect the others.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from decahertz import collector as collector_module
from decahertz import feed as feed_module
from decahertz import provider as provider_module
from decahertz.accounting import AccountingSettings
from decahertz.clock import Clock
from decahertz.collector import Collector, NoOptions
from decahertz.event import EVENT_TYPES
from decahertz.feed import Feed
from decahertz.news_scorer import ENTRY_POINT_GROUP as SCORERS
from decahertz.news_scorer import NewsScorer
from decahertz.provider import Provider, ProviderOptions
from decahertz.sample import SampleDeclarationError, SampleSchema, schema_of
from decahertz.settings import SettingsError, Sources
from decahertz.signal_generator import ENTRY_POINT_GROUP as GENERATORS
from decahertz.signal_generator import SignalGenerator

BUILTIN_DISTRIBUTION = "decahertz"
GROUPS = {
    "collectors": collector_module.ENTRY_POINT_GROUP,
    "feeds": feed_module.ENTRY_POINT_GROUP,
    "providers": provider_module.ENTRY_POINT_GROUP,
}
"""Settings table → entry-point group."""

PluginT = TypeVar("PluginT")


class PluginError(Exception):
    """A plugin cannot be used; the text is the reason in one line."""


@dataclass(frozen=True, slots=True)
class Available:
    """An installed plugin; not imported."""

    name: str
    distribution: str
    """The distribution that provides it; ``decahertz`` for the built-in ones."""
    value: str
    """``module:Class``."""


@dataclass(frozen=True, slots=True)
class LoadedCollector:
    """A collector that is ready to start."""

    name: str
    distribution: str
    collector: Collector
    schema: SampleSchema
    make: Callable[[], Collector] | None = None
    """Constructs another one; ``None``: it cannot be restored a second time."""


@dataclass(frozen=True, slots=True)
class LoadedFeed:
    """A feed that is ready to run."""

    name: str
    distribution: str
    feed: Feed


@dataclass(frozen=True, slots=True)
class LoadedGenerator:
    """A signal generator that can be constructed."""

    name: str
    distribution: str
    type: type[SignalGenerator[Any]]


@dataclass(frozen=True, slots=True)
class LoadedScorer:
    """A scorer of headlines that is ready."""

    name: str
    distribution: str
    scorer: NewsScorer


@dataclass(frozen=True, slots=True)
class PluginFailure:
    """A plugin that is enabled but cannot be used."""

    name: str
    distribution: str
    reason: str
    """One line."""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[PluginT]):
    """The enabled plugins, in the order of the settings."""

    plugins: tuple[PluginT, ...]
    failures: tuple[PluginFailure, ...]


def available(group: str, points: Iterable[EntryPoint] | None = None) -> list[Available]:
    """Returns the plugins installed in an entry-point group, by name, without importing them."""
    found = [Available(p.name, _distribution(p), p.value) for p in _points(group, points)]
    return sorted(found, key=lambda plugin: (plugin.name, plugin.distribution))


def builtin_classes(table: str, points: Iterable[EntryPoint] | None = None) -> dict[str, type[Any]]:
    """Imports the built-in plugins and returns their classes by name.

    ``table`` is ``collectors``, ``feeds`` or ``providers``.
    """
    return {
        point.name: point.load()
        for point in _points(GROUPS[table], points)
        if _distribution(point) == BUILTIN_DISTRIBUTION
    }


def points_of_others(table: str, points: Iterable[EntryPoint] | None = None) -> list[EntryPoint]:
    """Returns the plugins of other distributions, without importing them.

    ``table`` is ``collectors``, ``feeds`` or ``providers``.
    """
    return [point for point in _points(GROUPS[table], points) if _distribution(point) != BUILTIN_DISTRIBUTION]


def options_type_of(point: EntryPoint) -> type[msgspec.Struct]:
    """Imports a plugin and returns the type of its options. Raises :class:`PluginError`."""
    return _options_type(_load(point))


def load_collectors(
    enabled: Sequence[str],
    sources: Sources,
    clock: Clock,
    points: Iterable[EntryPoint] | None = None,
    *,
    accounting: AccountingSettings | None = None,
) -> Loaded[LoadedCollector]:
    """Imports, checks and constructs the collectors named in ``enabled``; ``sources`` has their options.

    A collector whose constructor has a parameter ``accounting`` gets that section of the settings. ``points``
    are the entry points to choose from; by default those of the installed distributions. Raises
    :class:`~decahertz.settings.SettingsError` for an unknown name or option, an invalid value, and a name
    that two distributions provide.
    """

    def make(point: EntryPoint) -> LoadedCollector:
        class_ = _load(point)
        schema = _check_collector(point.name, class_)
        parts = {} if accounting is None else {"accounting": accounting}
        construct = partial(_construct, class_, sources, "collectors", point.name, clock, parts)
        return LoadedCollector(point.name, _distribution(point), construct(), schema, construct)

    return _load_all(sources, "collectors", enabled, points, make)


def load_feeds(
    enabled: Sequence[str],
    sources: Sources,
    clock: Clock,
    points: Iterable[EntryPoint] | None = None,
    *,
    data_dir: Path | None = None,
) -> Loaded[LoadedFeed]:
    """Imports, checks and constructs the feeds named in ``enabled``; see :func:`load_collectors`.

    A feed whose constructor has a parameter ``folder`` gets one of its own in ``data_dir``, to keep what it
    has seen; the folder may not exist yet.
    """

    def make(point: EntryPoint) -> LoadedFeed:
        class_ = _load(point)
        _check_feed(point.name, class_)
        parts = {} if data_dir is None else {"folder": data_dir / "feeds" / point.name}
        feed: Feed = _construct(class_, sources, "feeds", point.name, clock, parts)
        return LoadedFeed(point.name, _distribution(point), feed)

    return _load_all(sources, "feeds", enabled, points, make)


def load_providers(
    enabled: Sequence[str],
    sources: Sources,
    clock: Clock,
    parts: Mapping[str, object],
    points: Iterable[EntryPoint] | None = None,
) -> Loaded[Provider]:
    """Imports, checks and constructs the providers named in ``enabled``; see :func:`load_collectors`.

    A provider whose constructor has a parameter with the name of one of ``parts`` gets it.
    """

    def make(point: EntryPoint) -> Provider:
        class_ = _load(point)
        _check_provider(point.name, class_)
        provider: Provider = _construct(class_, sources, "providers", point.name, clock, parts)
        return provider

    return _load_all(sources, "providers", enabled, points, make)


def load_generators(
    enabled: Sequence[str], points: Iterable[EntryPoint] | None = None
) -> Loaded[LoadedGenerator]:
    """Imports and checks the signal generators named in ``enabled``; see :func:`load_collectors`."""

    def make(point: EntryPoint) -> LoadedGenerator:
        class_ = _load(point)
        if not issubclass(class_, SignalGenerator):
            raise PluginError(f"{class_.__name__} does not derive from SignalGenerator")
        _options_type(class_, "parameters_type")
        return LoadedGenerator(point.name, _distribution(point), class_)

    return _load_chosen("signals.enabled", enabled, _by_name(GENERATORS, points), make)


def load_scorer(name: str, points: Iterable[EntryPoint] | None = None) -> Loaded[LoadedScorer]:
    """Imports and constructs the scorer of headlines with this name; none for an empty name."""

    def make(point: EntryPoint) -> LoadedScorer:
        class_ = _load(point)
        if not issubclass(class_, NewsScorer):
            raise PluginError(f"{class_.__name__} does not derive from NewsScorer")
        try:
            return LoadedScorer(point.name, _distribution(point), class_())
        except Exception as error:
            raise PluginError(f"{class_.__name__}() raised {describe(error)}") from error

    return _load_chosen("news.scorer", (name,) if name else (), _by_name(SCORERS, points), make)


def _load_all(
    sources: Sources,
    table: str,
    enabled: Sequence[str],
    points: Iterable[EntryPoint] | None,
    make: Callable[[EntryPoint], PluginT],
) -> Loaded[PluginT]:
    by_name = _by_name(GROUPS[table], points)
    _refuse_unknown_plugins(sources, table, by_name)
    return _load_chosen(f"{table}.enabled", enabled, by_name, make)


def _by_name(group: str, points: Iterable[EntryPoint] | None) -> dict[str, list[EntryPoint]]:
    by_name: dict[str, list[EntryPoint]] = {}
    for point in _points(group, points):
        by_name.setdefault(point.name, []).append(point)
    return by_name


def _load_chosen(
    key: str,
    enabled: Sequence[str],
    by_name: dict[str, list[EntryPoint]],
    make: Callable[[EntryPoint], PluginT],
) -> Loaded[PluginT]:
    log = structlog.get_logger(part="plugins")
    chosen = [_choose(key, name, by_name) for name in dict.fromkeys(enabled)]
    plugins: list[PluginT] = []
    failures: list[PluginFailure] = []
    for point in chosen:
        try:
            plugins.append(make(point))
        except PluginError as error:
            failures.append(PluginFailure(point.name, _distribution(point), str(error)))
            log.exception("plugin_failed", table=key.partition(".")[0], name=point.name)
    return Loaded(tuple(plugins), tuple(failures))


def _choose(key: str, name: str, by_name: dict[str, list[EntryPoint]]) -> EntryPoint:
    found = by_name.get(name)
    if found is None:
        raise SettingsError(key, _no_such(name, by_name))
    if len(found) > 1:
        names = " and ".join(sorted(f"{_distribution(p)} ({p.value})" for p in found))
        raise SettingsError(key, f"{name!r} is provided by both {names}; uninstall one")
    return found[0]


def _refuse_unknown_plugins(sources: Sources, table: str, by_name: dict[str, list[EntryPoint]]) -> None:
    for name, origin in sources.plugin_names(table):
        if name not in by_name:
            raise SettingsError(f"{table}.{name}", _no_such(name, by_name), origin)


def _no_such(name: str, by_name: dict[str, list[EntryPoint]]) -> str:
    close = difflib.get_close_matches(name, by_name, n=3)
    if close:
        return f"no plugin is named {name!r}; did you mean {' or '.join(close)}?"
    if not by_name:
        return f"no plugin is named {name!r}, and none is installed: install Decahertz again"
    return f"no plugin is named {name!r}; installed are: {', '.join(sorted(by_name))}"


def _points(group: str, points: Iterable[EntryPoint] | None) -> list[EntryPoint]:
    found = [p for p in (_installed(tuple(sys.path)) if points is None else points) if p.group == group]
    # A distribution can be found twice, for example installed and in its build folder.
    return list({(_distribution(p), p.name, p.value): p for p in found}.values())


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:  # noqa: ARG001 - the key
    """The entry points below ``path``; to find them, the files of every distribution are read."""
    found = entry_points()
    return tuple(point for group in found.groups for point in found.select(group=group))


def _distribution(point: EntryPoint) -> str:
    return _name(point.dist) if point.dist is not None else "?"


@lru_cache(maxsize=64)
def _name(distribution: Distribution) -> str:
    """The name of a distribution, for which all its metadata are parsed."""
    return distribution.name


def _load(point: EntryPoint) -> type[Any]:
    try:
        class_ = point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"{point.value} cannot be imported: {describe(error)}") from error
    if not isinstance(class_, type):
        raise PluginError(f"{point.value} is not a class")
    return class_


def _construct(
    class_: type[Any],
    sources: Sources,
    table: str,
    name: str,
    clock: Clock,
    parts: Mapping[str, object] = MappingProxyType({}),
) -> Any:  # noqa: ANN401 - of the class
    """Constructs a plugin with those of the parts that its constructor has a parameter for."""
    try:
        options = sources.plugin_options(table, name, _options_type(class_))
        wanted = inspect.signature(class_).parameters if parts else {}
        return class_(clock, options, **{key: part for key, part in parts.items() if key in wanted})
    except (SettingsError, PluginError):
        raise
    except Exception as error:
        raise PluginError(f"{class_.__name__}(clock, options) raised {describe(error)}") from error


def _options_type(class_: type[Any], name: str = "options_type") -> type[msgspec.Struct]:
    options_type = getattr(class_, name, NoOptions)
    if not (isinstance(options_type, type) and issubclass(options_type, msgspec.Struct)):
        raise PluginError(f"{class_.__name__}.{name} is not a msgspec.Struct")
    return options_type


def _check_collector(name: str, class_: type[Any]) -> SampleSchema:
    where = class_.__name__
    sample_type = getattr(class_, "sample_type", None)
    if not isinstance(sample_type, type):
        raise PluginError(f"{where}.sample_type is missing")
    try:
        schema = schema_of(sample_type)
    except SampleDeclarationError as error:
        raise PluginError(str(error)) from error
    except Exception as error:  # Evaluating an annotation may raise anything.
        raise PluginError(f"{sample_type.__name__} cannot be read: {describe(error)}") from error
    if schema.collector != name:
        raise PluginError(
            f"the entry point is named {name!r} but {sample_type.__name__}.collector is {schema.collector!r}",
        )
    every = getattr(class_, "every", None)
    if type(every) is not int or every < 1:
        raise PluginError(f"{where}.every is {every!r}; it must be a number of cycles, at least 1")
    events = getattr(class_, "events", None)
    if not isinstance(events, frozenset):
        raise PluginError(f"{where}.events is not a frozenset of event types")
    unknown = sorted(getattr(type_, "__name__", repr(type_)) for type_ in events - set(EVENT_TYPES))
    if unknown:
        raise PluginError(f"{where}.events contains types that are not event types: {', '.join(unknown)}")
    _check_restored(where, getattr(class_, "restored", {}), events)
    _check_methods(class_, synchronous=("on_event", "sample"), asynchronous=("start", "stop"))
    return schema


def _check_restored(where: str, restored: object, events: frozenset[Any]) -> None:
    if not isinstance(restored, Mapping):
        raise PluginError(f"{where}.restored is not a mapping of event types to seconds")
    for event_type, seconds in restored.items():
        name = getattr(event_type, "__name__", repr(event_type))
        if event_type not in events:
            raise PluginError(f"{where}.restored names {name}, which is not in its events")
        if not (isinstance(seconds, int | float) and seconds > 0):
            raise PluginError(
                f"{where}.restored[{name}] is {seconds!r}; it must be a positive number of seconds"
            )


def _check_feed(name: str, class_: type[Any]) -> None:
    own = getattr(class_, "name", None)
    if own != name:
        raise PluginError(f"the entry point is named {name!r} but {class_.__name__}.name is {own!r}")
    _check_methods(class_, synchronous=(), asynchronous=("run",))


def _check_provider(name: str, class_: type[Any]) -> None:
    own = getattr(class_, "name", None)
    if own != name:
        raise PluginError(f"the entry point is named {name!r} but {class_.__name__}.name is {own!r}")
    if not issubclass(_options_type(class_), ProviderOptions):
        raise PluginError(f"{class_.__name__}.options_type does not derive from ProviderOptions")
    _check_methods(class_, synchronous=("is_symbol",), asynchronous=("start", "fetch", "stop"))


def _check_methods(class_: type[Any], *, synchronous: Sequence[str], asynchronous: Sequence[str]) -> None:
    for method in (*synchronous, *asynchronous):
        found = getattr(class_, method, None)
        if not callable(found):
            raise PluginError(f"{class_.__name__}.{method} is missing")
        is_async = inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found)
        if is_async != (method in asynchronous):
            kind = "async" if method in asynchronous else "synchronous"
            raise PluginError(f"{class_.__name__}.{method} must be {kind}")


def describe(error: BaseException) -> str:
    """Returns the type and the first line of an exception."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
