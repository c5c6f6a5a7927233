"""Typed settings, with one name everywhere.

``api.port`` in ``decahertz.toml`` is ``DECAHERTZ_API_PORT`` in the environment and ``--api-port`` on the
command line. Later sources win: defaults < file < environment < command line. A setting that does not
exist or a value of the wrong kind raises :class:`SettingsError`, which names key, source and reason.

Plugins have tables of their own, ``[collectors.NAME]`` and ``[feeds.NAME]``; the plugin declares a struct
and :meth:`Settings.plugin_options` fills it from the same sources under the same rules.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

FILE_NAME = "decahertz.toml"
ENVIRONMENT_PREFIX = "DECAHERTZ_"
PLUGIN_TABLES = ("collectors", "feeds")
_OTHER_VARIABLES = (
    *(f"{ENVIRONMENT_PREFIX}{table.upper()}_" for table in PLUGIN_TABLES),
    f"{ENVIRONMENT_PREFIX}URL",  # tells a companion where the API is
    f"{ENVIRONMENT_PREFIX}TEST_",
    f"{ENVIRONMENT_PREFIX}SOAK_",
)

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
T = TypeVar("T", bound=Struct)


class SettingsError(ValueError):
    """A setting is wrong. ``str()`` of it is one line: key, where it was set, why it is refused."""

    def __init__(self, key: str, reason: str, origin: str = "") -> None:
        """Keep the parts."""
        super().__init__(f"{key}: {reason}" + (f" (from {origin})" if origin else ""))
        self.key = key
        self.reason = reason
        self.origin = origin


class ApiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """REST and WebSocket."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port of REST and WebSocket; 0 takes a free one.")] = 8000
    max_body_bytes: Annotated[
        int,
        Meta(ge=1024, description="Largest request body taken."),
    ] = 8 * 1024 * 1024


class ExporterSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The Prometheus exposition."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port of /metrics; 0 takes a free one.")] = 9464


class SamplerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The 10 Hz sampler."""

    budget_seconds: Annotated[
        float,
        Meta(gt=0, le=0.1, description="Time one collector may take per tick."),
    ] = 0.02
    step_seconds: Annotated[
        Seconds,
        Meta(description="A jump of the wall clock beyond this is a step, not drift."),
    ] = 0.05


class IngestSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Events in."""

    max_future_seconds: Annotated[
        Seconds,
        Meta(description="How far ahead of this machine's clock an event's time may be."),
    ] = 60.0
    timeout_seconds: Annotated[
        Seconds,
        Meta(description="How long a batch may wait to become durable before it is refused with 503."),
    ] = 10.0


class StorageSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The writer and its queue."""

    flush_seconds: Annotated[
        Seconds,
        Meta(description="How long samples may wait for others to share a transaction with."),
    ] = 0.2
    queue_rows: Annotated[
        int,
        Meta(ge=1000, description="Rows kept in memory on their way; what is beyond waits in the spool."),
    ] = 200_000
    connect_timeout_seconds: Annotated[Seconds, Meta(description="Limit for a connection.")] = 10.0
    statement_timeout_seconds: Annotated[Seconds, Meta(description="Limit for one statement.")] = 30.0


class SpoolSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What waits on this machine's disk for the database."""

    commit_seconds: Annotated[
        float,
        Meta(gt=0, le=0.1, description="How long samples may wait for others to be written to disk with."),
    ] = 0.05
    max_bytes: Annotated[
        int,
        Meta(ge=100_000, description="Bytes that may wait; then the oldest samples go, and events last."),
    ] = 4 * 1024**3
    max_age_hours: Annotated[
        float,
        Meta(gt=0, le=87_600, description="Age at which what waits is given up."),
    ] = 72.0
    backlog_rows_per_second: Annotated[
        int,
        Meta(ge=100, description="Pace at which a backlog goes into the database beside what is new."),
    ] = 50_000


class TiersSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How samples are laid out on disk and rolled up to buckets of 1 s, 1 m and 1 h."""

    engine: Annotated[
        str,
        Meta(
            pattern="^(auto|plain|timescaledb)$",
            description="plain, timescaledb, or auto: timescaledb where it can be used, kept from then on.",
        ),
    ] = "auto"
    chunk_hours: Annotated[
        int,
        Meta(ge=1, le=720, description="TimescaleDB: width of a chunk of raw samples, quotes and ticks."),
    ] = 6
    compress_after_hours: Annotated[
        int,
        Meta(ge=1, description="TimescaleDB: age at which raw samples, quotes and ticks are compressed."),
    ] = 72
    late_hours: Annotated[
        int,
        Meta(ge=4, description="How late a sample may be stored and still reach every tier."),
    ] = 144
    lag_seconds: Annotated[
        Seconds,
        Meta(
            description="How long after its end a bucket is rolled up; until then it is computed when asked."
        ),
    ] = 5.0
    interval_seconds: Annotated[
        Seconds,
        Meta(description="How often changed buckets are rolled up; on TimescaleDB at every third time."),
    ] = 2.0


Days = Annotated[int, Meta(ge=0, le=36_500)]


class RetentionSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How long rows are kept, by the time they speak of. 0 keeps them for ever."""

    raw_days: Annotated[Days, Meta(description="Days raw samples are kept.")] = 7
    one_second_days: Annotated[Days, Meta(description="Days the 1 s tier is kept.")] = 30
    one_minute_days: Annotated[Days, Meta(description="Days the 1 m tier is kept.")] = 730
    one_hour_days: Annotated[Days, Meta(description="Days the 1 h tier is kept.")] = 0
    quotes_days: Annotated[Days, Meta(description="Days quotes are kept.")] = 0
    ticks_days: Annotated[Days, Meta(description="Days prints of the market are kept.")] = 0


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Logs, on standard error."""

    level: Annotated[
        str,
        Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning or error."),
    ] = "info"
    format: Annotated[
        str,
        Meta(pattern="^(auto|console|json)$", description="console, json, or auto: console on a terminal."),
    ] = "auto"


class CollectorsSettings(Struct, frozen=True):
    """Which collectors run. Each has a table of its own beside this."""

    enabled: Annotated[
        tuple[str, ...],
        Meta(description="Collectors to run, by entry-point name."),
    ] = ("market", "strategy", "execution", "system")


class FeedsSettings(Struct, frozen=True):
    """Which feeds run. Each has a table of its own beside this."""

    enabled: Annotated[tuple[str, ...], Meta(description="Feeds to run, by entry-point name.")] = ()


class Settings(Struct, frozen=True, kw_only=True):
    """All settings of the process. Made by :func:`load`; tests may construct it directly."""

    data_dir: Annotated[
        Path,
        Meta(description="Where the embedded database and the spool live."),
    ] = Path()
    database_url: Annotated[
        str,
        Meta(description="PostgreSQL of your own; empty: the embedded one."),
    ] = ""
    api: ApiSettings = ApiSettings()
    exporter: ExporterSettings = ExporterSettings()
    sampler: SamplerSettings = SamplerSettings()
    ingest: IngestSettings = IngestSettings()
    storage: StorageSettings = StorageSettings()
    spool: SpoolSettings = SpoolSettings()
    tiers: TiersSettings = TiersSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()
    collectors: CollectorsSettings = CollectorsSettings()
    feeds: FeedsSettings = FeedsSettings()
    sources: tuple[Source, ...] = ()

    def plugin_options(self, table: str, name: str, options_type: type[T]) -> T:
        """The options of the plugin ``name``; ``table`` is ``collectors`` or ``feeds``.

        Raises :class:`SettingsError` for an unknown option in file or command line, or a bad value.
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


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: its dotted key, its type, its default and one line of help."""

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
    """Values from one place. ``values`` is flat: by dotted key, or by variable for the environment."""

    origin: str
    values: Mapping[str, Any]
    is_environment: bool = False

    def get(self, key: str) -> Any:  # noqa: ANN401 - not converted yet
        """The raw value of a key."""
        return self.values[environment_name(key) if self.is_environment else key]

    def keys_below(self, prefix: str, declared: Mapping[str, Key]) -> list[str]:
        """Keys under ``prefix`` that this source sets, those that are not declared included."""
        if self.is_environment:
            names = {environment_name(key): key for key in declared}
            start = environment_name(prefix) + "_"
            return [names.get(name, name) for name in self.values if name.startswith(start)]
        return [key for key in self.values if key.startswith(prefix + ".")]


def environment_name(key: str) -> str:
    """``api.port`` → ``DECAHERTZ_API_PORT``."""
    return ENVIRONMENT_PREFIX + key.replace(".", "_").replace("-", "_").upper()


def keys_of(type_: type[Struct] = Settings, prefix: str = "") -> list[Key]:
    """All settings of a struct, nested ones by dotted key, in declaration order."""
    return list(_walk(type_, prefix))


def _walk(type_: type[Struct], prefix: str) -> Iterator[Key]:
    hints = get_type_hints(type_, include_extras=True)
    for field in msgspec.structs.fields(type_):
        if field.name == "sources":
            continue
        hint = hints[field.name]
        bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        key = f"{prefix}.{field.name}" if prefix else field.name
        if isinstance(bare, type) and issubclass(bare, Struct):
            yield from _walk(bare, key)
            continue
        texts = [m.description for m in get_args(hint)[1:] if isinstance(m, Meta) and m.description]
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        yield Key(key, hint, default, texts[-1] if texts else "")


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """The user's data folder; for root, which has none that other users can reach, ``/var/lib``."""
    if os.geteuid() == 0:
        return Path("/var/lib/decahertz")
    base = environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "share") / "decahertz"


def load(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Settings:
    """Gather the settings.

    ``file`` is the TOML file (none: ``decahertz.toml`` in the working folder, if it is there),
    ``environ`` the environment (none: the process's), ``arguments`` values from the command line by
    dotted key. Raises :class:`SettingsError`.
    """
    environ = os.environ if environ is None else environ
    variables = {k: v for k, v in environ.items() if k.startswith(ENVIRONMENT_PREFIX)}
    sources = (
        _read_file(file),
        Source("the environment", variables, is_environment=True),
        Source("the command line", dict(arguments or {})),
    )
    declared = {key.key: key for key in keys_of()}
    _refuse_unknown(variables, declared)
    values: dict[str, Any] = {"data_dir": default_data_dir(environ)}
    for source in sources:
        for key in _core_keys(source, declared):
            if key not in declared:
                raise SettingsError(key, _unknown(key, declared), source.origin)
            values[key] = _convert(declared[key], source.get(key), source.origin)
    values["sources"] = sources
    return _build(Settings, "", values)


def _refuse_unknown(variables: Mapping[str, str], declared: Mapping[str, Key]) -> None:
    """A variable of ours that is no setting is a mistyped one; those of plugins are looked at by them."""
    known = {key.environment: key for key in declared.values()}
    for name in variables:
        if name not in known and not name.startswith(_OTHER_VARIABLES):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SettingsError(name, f"no such setting{hint}", "the environment")


def _read_file(file: Path | None) -> Source:
    path = file or Path(FILE_NAME)
    try:
        with path.open("rb") as stream:
            table = tomllib.load(stream)
    except FileNotFoundError:
        if file is not None:
            raise SettingsError("config", "no such file", str(path)) from None
        return Source(str(path), {})
    except (OSError, ValueError) as error:  # not TOML, or not even text
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
    bare = get_args(key.type)[0] if get_origin(key.type) is Annotated else key.type
    if isinstance(value, str) and get_origin(bare) is tuple:
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, key.type, strict=False, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        shown = "it" if "url" in key.key or "secret" in key.key else repr(value)
        raise SettingsError(key.key, f"{shown} is refused: {error}", origin) from error


def _decode(type_: type, value: Any) -> Any:  # noqa: ANN401 - msgspec's hook
    if type_ is Path and isinstance(value, str | Path) and value != "":
        try:
            return Path(value).expanduser()
        except RuntimeError as error:
            raise ValueError(str(error)) from error
    raise ValueError(f"expected {type_.__name__}")


def _build(type_: type[T], prefix: str, values: Mapping[str, Any]) -> T:
    hints = get_type_hints(type_)
    given: dict[str, Any] = {}
    for field in msgspec.structs.fields(type_):
        key = f"{prefix}.{field.name}" if prefix else field.name
        kind = hints[field.name]
        if isinstance(kind, type) and issubclass(kind, Struct):
            given[field.name] = _build(kind, key, values)
        elif key in values:
            given[field.name] = values[key]
        elif field.required:
            raise SettingsError(key, "is not set and has no default")
    return type_(**given)
