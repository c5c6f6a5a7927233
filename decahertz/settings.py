"""Loads typed settings from a file, the environment and the command line.

A setting has one name everywhere: ``api.port`` in ``decahertz.toml`` is ``DECAHERTZ_API_PORT`` in the
environment and ``--api-port`` on the command line. Later sources override earlier ones: defaults < file <
environment < command line. An unknown setting or an invalid value raises :class:`SettingsError`, which
names the key, the source and the reason.

Each part declares its settings as a struct of its own. So do plugins, whose options stand in the sections
``[collectors.NAME]``, ``[feeds.NAME]`` and ``[providers.NAME]``: :meth:`Sources.plugin_options` reads them by
the same rules.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo

from decahertz.decode_errors import reason_in_words

FILE_NAME = "decahertz.toml"
ENVIRONMENT_PREFIX = "DECAHERTZ_"
PLUGIN_TABLES = ("collectors", "feeds", "providers")
_OTHER_VARIABLES = (
    *(f"{ENVIRONMENT_PREFIX}{table.upper()}_" for table in PLUGIN_TABLES),
    f"{ENVIRONMENT_PREFIX}URL",  # the API's address, for companion programs
    f"{ENVIRONMENT_PREFIX}KEY",  # the key that clients send
    f"{ENVIRONMENT_PREFIX}TEST_",
    f"{ENVIRONMENT_PREFIX}SOAK_",
)

_SECRET_WORDS = ("password", "secret", "token", "api_key")

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
T = TypeVar("T", bound=Struct)


class SettingsError(ValueError):
    """Raised for an invalid setting. ``str()`` gives one line: the key, the reason, the source."""

    def __init__(self, key: str, reason: str, origin: str = "") -> None:
        super().__init__(f"{key}: {reason}" + (f" (from {origin})" if origin else ""))
        self.key = key
        self.reason = reason
        self.origin = origin


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: dotted key, type, default and a line of help."""

    key: str
    type: Any
    default: Any
    help: str

    @property
    def environment(self) -> str:
        """The environment variable: ``DECAHERTZ_API_PORT``."""
        return environment_name(self.key)

    @property
    def option(self) -> str:
        """The command-line option: ``--api-port``."""
        return "--" + self.key.replace(".", "-").replace("_", "-")


@dataclass(frozen=True, slots=True)
class Source:
    """Values from one place, by dotted key; those of the environment by variable."""

    origin: str
    values: Mapping[str, Any]
    is_environment: bool = False

    def get(self, key: str) -> Any:  # noqa: ANN401 - not converted yet
        """The raw value of a key."""
        return self.values[environment_name(key) if self.is_environment else key]

    def keys_below(self, prefix: str, declared: Mapping[str, Key]) -> list[str]:
        """Keys under ``prefix`` that this source sets, declared or not."""
        if self.is_environment:
            names = {environment_name(key): key for key in declared}
            start = environment_name(prefix) + "_"
            return [names.get(name, name) for name in self.values if name.startswith(start)]
        return [key for key in self.values if key.startswith(prefix + ".")]


@dataclass(frozen=True, slots=True)
class Sources:
    """All sources, weakest first. They hold the options of plugins too."""

    sources: tuple[Source, ...] = ()

    def plugin_options(self, table: str, name: str, options_type: type[T]) -> T:
        """Builds the options of the plugin ``name``; ``table`` is ``collectors``, ``feeds`` or ``providers``.

        Raises :class:`SettingsError` for an invalid value, and for an unknown option in the file or on the
        command line.
        """
        prefix = f"{table}.{name}"
        declared = {key.key: key for key in keys_of(options_type, prefix)}
        values: dict[str, Any] = {}
        for source in self.sources:
            for key in source.keys_below(prefix, declared):
                if key not in declared:
                    raise SettingsError(key, _unknown(key, declared), source.origin)
                values[key] = _convert(declared[key], source.get(key), source.origin)
        return _build(options_type, prefix, values)

    def value(self, key: Key) -> Any:  # noqa: ANN401 - any setting
        """The value of one option of a plugin: that of the strongest source, or the default."""
        for source in reversed(self.sources):
            if key.key in source.keys_below(key.key.rpartition(".")[0], {key.key: key}):
                return _convert(key, source.get(key.key), source.origin)
        return key.default

    def plugin_names(self, table: str) -> Iterator[tuple[str, str]]:
        """Yields each plugin that a file or the command line sets options of, and the source's name."""
        for source in self.sources:
            for key in () if source.is_environment else source.values:
                head, _, rest = key.partition(".")
                name, dot, _ = rest.partition(".")
                if head == table and dot:
                    yield name, source.origin


class LoadedSettings(Struct, frozen=True, kw_only=True):
    """Base of the root struct: the settings, and the sources that plugins read their options from."""

    sources: Sources = Sources()


SettingsT = TypeVar("SettingsT", bound=LoadedSettings)


def is_secret(key: str) -> bool:
    """Whether the name of a setting says that its value is a secret, rather than the file of one."""
    name = key.rpartition(".")[2]
    return not name.endswith("_file") and any(word in name for word in _SECRET_WORDS)


def environment_name(key: str) -> str:
    """``api.port`` → ``DECAHERTZ_API_PORT``."""
    return ENVIRONMENT_PREFIX + key.replace(".", "_").replace("-", "_").upper()


def keys_of(type_: type[Struct], prefix: str = "") -> list[Key]:
    """Lists the settings of a struct in declaration order; nested ones by dotted key."""
    return list(_walk(type_, prefix))


@cache
def _fields_of(type_: type[Struct]) -> list[tuple[FieldInfo, Any, Any]]:
    """Lists the fields of a struct: each with its type as declared, and that type without annotations."""
    hints = get_type_hints(type_, include_extras=True)
    declared = [(field, hints[field.name]) for field in msgspec.structs.fields(type_)]
    return [(field, hint, _bare(hint)) for field, hint in declared]


def _bare(hint: Any) -> Any:  # noqa: ANN401 - any type
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _named_type(bare: Any) -> type[Struct] | None:  # noqa: ANN401 - any type
    """The struct of a mapping by name, such as ``[risk.strategies.NAME]``; ``None``: it is none."""
    return get_args(bare)[1] if get_origin(bare) is Mapping else None


def _named_tables(type_: type[Struct], prefix: str = "") -> Iterator[tuple[str, type[Struct]]]:
    """Yields the key of each mapping by name, with the struct of its tables."""
    for field, _, bare in _fields_of(type_):
        key = f"{prefix}.{field.name}" if prefix else field.name
        named = _named_type(bare)
        if named is not None:
            yield key, named
        elif isinstance(bare, type) and issubclass(bare, Struct):
            yield from _named_tables(bare, key)


def _named_keys(
    source: Source, tables: Mapping[str, type[Struct]], declared: Mapping[str, Key]
) -> Iterator[Key]:
    """Yields the keys of named tables that a source sets. The environment has none: it cannot tell names."""
    for key in () if source.is_environment else source.values:
        found = next((table for table in tables if key not in declared and key.startswith(f"{table}.")), None)
        if found is not None:
            name, _, _ = key.removeprefix(f"{found}.").rpartition(".")
            keys = {k.key: k for k in keys_of(tables[found], f"{found}.{name}")}
            if not name:
                raise SettingsError(key, f"a name is missing: {found}.NAME", source.origin)
            if key not in keys:
                raise SettingsError(key, _unknown(key, keys), source.origin)
            yield keys[key]


def _walk(type_: type[Struct], prefix: str) -> Iterator[Key]:
    for field, hint, bare in _fields_of(type_):
        if bare is Sources:
            continue
        key = f"{prefix}.{field.name}" if prefix else field.name
        if _named_type(bare) is not None:  # their names are the user's
            continue
        if isinstance(bare, type) and issubclass(bare, Struct):
            yield from _walk(bare, key)
            continue
        texts = [m.description for m in get_args(hint)[1:] if isinstance(m, Meta) and m.description]
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        yield Key(key, hint, default, texts[-1] if texts else "")


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """The user's data folder; ``/var/lib`` for root, whose home folder other users cannot read."""
    if os.geteuid() == 0:
        return Path("/var/lib/decahertz")
    base = environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "share") / "decahertz"


def load_settings(
    type_: type[SettingsT],
    *,
    file: Path | None,
    environ: Mapping[str, str],
    arguments: Mapping[str, Any] | None,
    defaults: Mapping[str, Any],
    following: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda _: {},
) -> SettingsT:
    """Loads ``type_`` from all sources.

    ``file`` is the TOML file; ``None`` reads ``decahertz.toml`` in the working folder if it exists.
    ``arguments`` holds the values from the command line by dotted key, ``defaults`` those that depend on
    the machine, and ``following`` returns those that follow from what is given. Raises
    :class:`SettingsError`.
    """
    variables = {k: v for k, v in environ.items() if k.startswith(ENVIRONMENT_PREFIX)}
    sources = (
        _read_file(file),
        Source("the environment", variables, is_environment=True),
        Source("the command line", dict(arguments or {})),
    )
    declared = {key.key: key for key in keys_of(type_)}
    _refuse_unknown(variables, declared)
    tables = dict(_named_tables(type_))
    values = dict(defaults)
    for source in sources:
        named = {key.key: key for key in _named_keys(source, tables, declared)}
        values |= {key: _convert(named[key], source.get(key), source.origin) for key in named}
        for key in _core_keys(source, declared):
            if key in named:
                continue
            if key not in declared:
                raise SettingsError(key, _unknown(key, declared), source.origin)
            value = source.get(key)
            if value == "" and declared[key].default == Path() and key not in defaults:
                values[key] = Path()  # no file
            else:
                values[key] = _convert(declared[key], value, source.origin)
    values = {**following(values), **values}
    return _build(type_, "", {**values, "sources": Sources(sources)})


def _refuse_unknown(variables: Mapping[str, str], declared: Mapping[str, Key]) -> None:
    """Refuses a mistyped variable. Those of plugins are checked when the plugin is loaded."""
    known = {key.environment: key for key in declared.values()}
    for name in variables:
        if name not in known and not name.startswith(_OTHER_VARIABLES):
            raise SettingsError(name, _unknown(name, known), "the environment")


def _read_file(file: Path | None) -> Source:
    path = file or Path(FILE_NAME)
    try:
        with path.open("rb") as stream:
            table = tomllib.load(stream)
    except FileNotFoundError:
        if file is not None:
            raise SettingsError("config", "no such file", str(path)) from None
        return Source(str(path), {})
    except (OSError, ValueError) as error:  # invalid TOML or UTF-8
        raise SettingsError("config", str(error), str(path)) from error
    return Source(str(path), dict(_flatten(table, "")))


def _flatten(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        key = f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping):
            yield from _flatten(value, key)
        else:
            yield key, value


def _core_keys(source: Source, declared: Mapping[str, Key]) -> list[str]:
    if source.is_environment:
        return [key for key in declared if environment_name(key) in source.values]
    return [key for key in source.values if key in declared or not _is_plugin_key(key)]


def _is_plugin_key(key: str) -> bool:
    return key.split(".", maxsplit=1)[0] in PLUGIN_TABLES and key.count(".") > 1


def _unknown(key: str, declared: Mapping[str, Key]) -> str:
    close = difflib.get_close_matches(key, declared, n=1)
    return "no such setting" + (f"; did you mean {close[0]}?" if close else "")


def _convert(key: Key, value: Any, origin: str) -> Any:  # noqa: ANN401 - any setting
    bare = _bare(key.type)
    if any(get_origin(_bare(option)) is tuple for option in (bare, *get_args(bare))):
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        elif isinstance(value, int | float):
            value = [value]
    try:
        if isinstance(value, str) and bare is not Path:
            value.encode()  # refuses bytes of the environment that are not UTF-8
        return msgspec.convert(value, key.type, strict=False, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        shown = "the value" if "url" in key.key or is_secret(key.key) else repr(value)
        reason = reason_in_words(str(error))
        raise SettingsError(key.key, f"{shown} is invalid: {reason}", origin) from error


def _decode(type_: type, value: Any) -> Any:  # noqa: ANN401 - msgspec's hook
    if type_ is Path and isinstance(value, str | Path) and value != "":
        try:
            return Path(value).expanduser()
        except RuntimeError as error:
            raise ValueError(str(error)) from error
    raise ValueError(f"expected {type_.__name__}")


def _build(type_: type[T], prefix: str, values: Mapping[str, Any]) -> T:
    given: dict[str, Any] = {}
    for field, _, bare in _fields_of(type_):
        key = f"{prefix}.{field.name}" if prefix else field.name
        named = _named_type(bare)
        if named is not None:
            names = {k.removeprefix(f"{key}.").rpartition(".")[0] for k in values if k.startswith(f"{key}.")}
            given[field.name] = {name: _build(named, f"{key}.{name}", values) for name in sorted(names)}
        elif isinstance(bare, type) and issubclass(bare, Struct):
            given[field.name] = _build(bare, key, values)
        elif key in values:
            given[field.name] = values[key]
        elif field.required:
            raise SettingsError(key, "is not set and has no default")
    return type_(**given)
