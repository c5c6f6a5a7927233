"""The command ``decahertz``.

Every setting is an option; its name and help derive from the declaration. Invalid settings, a port in use and
an unusable database end the command with one line on standard error and exit code 2.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from decahertz import __version__
from decahertz.app.logs import configure_logs
from decahertz.app.settings import Settings, load
from decahertz.app.start_error import StartError
from decahertz.settings import PLUGIN_TABLES, Key, SettingsError, is_secret, keys_of
from storage.query.export_format import ExportFormat

_HELP = "The flight recorder of a trading system: 10 Hz samples, durable history, live rebroadcast."
_MOST_OF_A_SIZE = 1_000_000_000
_WITH_PASSWORD = ("database_url", "storage.read_url", "api.redis_url", "alertmanager.dead_mans_switch_url")
"""Settings that may have a secret in them."""
_SHOWS_OPTIONS = frozenset({"settings", "--help", "-h"})
_WITH_PLUGINS = ("up", "stack", "check", "settings")
"""Subcommands with the options of plugins."""
_OWN_OPTIONS = frozenset({"--config", "--demo", "--run", "--until-finished"})
"""Options of these subcommands that are not settings."""
_CONFIG = Annotated[
    Path | None,
    Parameter(
        name="--config", help="Settings file. Default: decahertz.toml in the working folder, if it exists."
    ),
]


def main(tokens: Sequence[str] | None = None) -> None:
    """Entry point of the command; ends the process."""
    try:
        given = sys.argv[1:] if tokens is None else list(tokens)
        sys.exit(build_app(given)(given, result_action="return_value"))
    except (SettingsError, StartError) as error:
        sys.stderr.write(f"decahertz: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def all_keys() -> Iterator[Key]:
    """Every setting of the program and of the built-in plugins."""
    from collectors.host.plugins import builtin_classes

    yield from keys_of(Settings)
    for table in PLUGIN_TABLES:
        for name, plugin in builtin_classes(table).items():
            yield from keys_of(plugin.options_type, f"{table}.{name}")


def keys_of_others(tokens: Sequence[str]) -> Iterator[Key]:
    """Options of the plugins of other distributions that ``tokens`` name; of all if these ask for help.

    Raises :class:`~decahertz.settings.SettingsError` for a plugin that is named and cannot be imported.
    """
    from collectors.host.plugins import PluginError, options_type_of, points_of_others

    wants_all = bool(_SHOWS_OPTIONS.intersection(tokens))
    for table in PLUGIN_TABLES:
        for point in points_of_others(table):
            plugin = f"{table}.{point.name}"
            option = Key(plugin, str, "", "").option + "-"
            is_named = any(token.startswith(option) for token in tokens)
            if not is_named and not wants_all:
                continue
            try:
                yield from keys_of(options_type_of(point), plugin)
            except PluginError as error:
                if is_named:
                    raise SettingsError(plugin, str(error)) from error


def build_app(tokens: Sequence[str] | None = None) -> App:
    """Build the command with its subcommands.

    ``tokens`` are the arguments that it will be run with; without them, all subcommands have all their
    options. The hundreds of options that these do not name are left out, which saves half a second, and those
    of plugins, whose import takes time, where none is named.
    """
    named = None if tokens is None else "".join(tokens[:1])
    keys = list(keys_of(Settings))
    if tokens is None or (named in _WITH_PLUGINS and not _are_known(keys, tokens)):
        keys = [*all_keys(), *keys_of_others(tokens or ())]
    taken = _named(keys, tokens) if tokens is not None and _are_known(keys, tokens) else keys
    all_of = {name: taken if named in {None, name} else () for name in _WITH_PLUGINS}
    app = App(name="decahertz", help=_HELP, version=__version__)
    app.command(_with_settings(_up, all_of["up"]), name="up")
    app.command(_with_settings(_stack, all_of["stack"]), name="stack")
    app.command(_with_settings(_check, all_of["check"]), name="check")
    where = _only(keys, ("data_dir", "database_url", "database_password_file"))
    app.command(_with_settings(_import, [*where, *_only(keys, ("recorder",))]), name="import")
    imports = App(name="imports", help="List the files that were imported, and take one back.")
    imports.command(_with_settings(_list_imports, where), name="list")
    imports.default(_with_settings(_list_imports, where))
    imports.command(_with_settings(_undo_import, where), name="undo")
    app.command(imports)
    app.command(_with_settings(_export, [*where, *_only(keys, ("collectors.enabled",))]), name="export")
    app.command(_with_settings(_archive, where), name="archive")
    accounting = [key for key in keys if key.key.startswith("accounting.")]
    app.command(_with_settings(_report, [*where, *accounting]), name="report")
    app.command(_with_settings(_backup, where), name="backup")
    app.command(_with_settings(_restore, where), name="restore")
    reached = ("api.host", "api.port", "api.tls_certificate", "api.tls_key")
    app.command(_with_settings(_health, _only(keys, reached)), name="health")
    receivers = [key for key in keys if key.key.startswith("alertmanager.")]
    app.command(_with_settings(_alertmanager_config, receivers), name="alertmanager-config")
    app.command(_with_settings(_definitions, ()), name="definitions")
    db = App(name="db", help="Inspect the database.")
    db.command(_with_settings(_db_url, where), name="url")
    db.command(_with_settings(_db_status, where), name="status")
    retention = [key for key in keys if key.key.startswith("retention.")]
    sized = [*retention, *_only(keys, ("tiers.pack_after_hours",))]
    db.command(_with_settings(_db_size, sized), name="size")
    db.command(_with_settings(_db_grant_read, where), name="grant-read")
    app.command(db)
    letters = App(name="dead-letters", help="List and replay rows that the database refused.")
    letters.command(_with_settings(_list_letters, where), name="list")
    letters.default(_with_settings(_list_letters, where))
    letters.command(
        _with_settings(_replay_letters, [*where, *_only(keys, ("collectors.enabled",))]), name="replay"
    )
    app.command(letters)
    key_commands = App(name="keys", help="Create, list and revoke keys of the API.")
    key_commands.command(_with_settings(_create_key, where), name="create")
    key_commands.command(_with_settings(_list_keys, where), name="list")
    key_commands.command(_with_settings(_revoke_keys, where), name="revoke")
    app.command(key_commands)
    app.command(_with_settings(_show_settings, all_of["settings"]), name="settings")
    return app


def _options_in(tokens: Sequence[str]) -> set[str]:
    """Arguments that look like options."""
    return {token.partition("=")[0] for token in tokens if token.startswith("-")}


def _are_known(keys: Sequence[Key], tokens: Sequence[str]) -> bool:
    """Whether the arguments name no options but those of ``keys`` and of the subcommand, and no help."""
    known = {key.option for key in keys} | _OWN_OPTIONS
    return "settings" not in tokens and _options_in(tokens) <= known


def _named(keys: Sequence[Key], tokens: Sequence[str]) -> list[Key]:
    options = _options_in(tokens)
    return [key for key in keys if key.option in options]


def _only(keys: Sequence[Key], names: Sequence[str]) -> list[Key]:
    return [key for key in keys if key.key in names]


def _with_settings(command: Callable[..., int], keys: Sequence[Key]) -> Callable[..., int]:
    """Add an option for each of ``keys`` to ``command``, and pass it the resulting settings."""
    taken = inspect.signature(command, eval_str=True).parameters
    own = [parameter for name, parameter in taken.items() if name != "settings"]
    options = {key.key.replace(".", "__"): key for key in keys}

    def run(*arguments: Any, config: Path | None = None, **given: Any) -> int:  # noqa: ANN401 - created below
        chosen = {options[n].key: str(v) for n, v in given.items() if n in options and v is not None}
        rest = {n: v for n, v in given.items() if n not in options}
        settings = load(file=config, arguments=chosen)
        configure_logs(settings.log)
        return command(settings, *arguments, **rest)

    made = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(key))
        for name, key in options.items()
    ]
    config = inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_CONFIG)
    parameters = [*own, config, *made]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # read by cyclopts
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__doc__ = command.__doc__
    return run


def _option(key: Key) -> Any:  # noqa: ANN401 - an annotation
    default = key.default
    if default is msgspec.NODEFAULT or default in ("", None, (), Path()):
        shown = ""
    else:
        text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        shown = f" [default: {text}]"
    group = key.key.rpartition(".")[0] or "general"
    return Annotated[
        bool | None if key.default is False else str | None,  # ``--standby`` takes no value
        Parameter(
            name=key.option,
            help=key.help + shown,
            show_default=False,
            negative="",
            group=f"Settings: {group}",
        ),
    ]


_DEMO = Annotated[bool, Parameter(negative="", help="Run the synthetic market and a demo trading process.")]
_PROGRAMS = Annotated[
    tuple[str, ...],
    Parameter(help="Program to start when Decahertz is ready and to stop with it; repeatable."),
]
_UNTIL_FINISHED = Annotated[
    bool, Parameter(negative="", help="Stop when every feed has ended (recordings end).")
]


def _up(
    settings: Settings,
    *,
    demo: _DEMO = False,
    run: _PROGRAMS = (),
    until_finished: _UNTIL_FINISHED = False,
) -> int:
    """Record until Ctrl-C."""
    from decahertz.app.up import run_up

    return _run(run_up(settings, demo=demo, commands=run, until_finished=until_finished))


def _stack(
    settings: Settings,
    *,
    demo: _DEMO = False,
    run: _PROGRAMS = (),
    until_finished: _UNTIL_FINISHED = False,
) -> int:
    """Record until Ctrl-C, with Prometheus, Alertmanager and Grafana of this machine next to the recorder."""
    from decahertz.app.stack.stack import Stack
    from decahertz.app.up import run_up

    stack = Stack(settings)
    return _run(run_up(stack.settings, demo=demo, commands=run, until_finished=until_finished, stack=stack))


def _check(settings: Settings) -> int:
    """Check settings, plugins, ports and database, and list the problems."""
    from decahertz.app.check import run_check

    return _run(run_check(settings))


def _health(settings: Settings) -> int:
    """Show the health of the running recorder; the exit code is 1 when a component has failed."""
    from decahertz.app.health import run_health

    return run_health(settings)


def _import(
    settings: Settings,
    file: Annotated[
        Path,
        Parameter(help="Recording: a captured WebSocket stream, or CSV of quotes or trades; also .gz."),
    ],
    *,
    venue: Annotated[str, Parameter(help="Venue of a CSV file. Default: its column, or derived.")] = "",
    instrument: Annotated[
        str, Parameter(help="Instrument of a CSV file. Default: its column, or derived from the file name.")
    ] = "",
    timezone: Annotated[
        str,
        Parameter(
            help="Zone of times without one: Europe/Berlin, -05:00. Default: UTC; HistData: -05:00 all year."
        ),
    ] = "",
    strict: Annotated[bool, Parameter(negative="", help="Store nothing if a line is refused.")] = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Show what would be stored.")] = False,
    refused: Annotated[
        Path | None, Parameter(help="CSV file to write: refused lines with numbers and reasons.")
    ] = None,
) -> int:
    """Store a recording under its original times; `decahertz up` may be running.

    Events that are stored already are not stored again, whatever file or feed they came from. Every line of
    the file is accounted for: stored, already there, refused, or without an event.
    """
    from decahertz.app.import_ import ImportOptions, run_import, timezone_option

    options = ImportOptions(
        venue=venue or None,
        instrument=instrument or None,
        zone=timezone_option(timezone),
        is_strict=strict,
        is_dry_run=dry_run,
        refused=refused,
    )
    return _run(run_import(settings, file.absolute(), options))


def _list_imports(
    settings: Settings,
    *,
    limit: Annotated[int, Parameter(help="Number of imports, newest first.")] = 20,
    json: Annotated[bool, Parameter(negative="", help="Print JSON.")] = False,
) -> int:
    """List the files that were imported, with what became of their lines."""
    from decahertz.app.imports import run_list

    return _run(run_list(settings, limit=limit, as_json=json))


def _undo_import(
    settings: Settings,
    number: Annotated[int, Parameter(help="Number of the import in the list.")],
) -> int:
    """Delete what an import has stored; `decahertz up` may be running."""
    from decahertz.app.imports import run_undo

    return _run(run_undo(settings, number))


def _backup(
    settings: Settings,
    file: Annotated[Path, Parameter(help="File to write.")],
    *,
    force: Annotated[bool, Parameter(negative="", help="Replace an existing file.")] = False,
) -> int:
    """Back up the embedded database to a file; `decahertz up` may be running."""
    from decahertz.app.backup import run_backup

    return _run(run_backup(settings, file.absolute(), force=force))


def _restore(
    settings: Settings,
    file: Annotated[Path, Parameter(help="File written by `decahertz backup`.")],
    *,
    force: Annotated[bool, Parameter(negative="", help="Replace existing data.")] = False,
) -> int:
    """Replace the embedded database with a backup. Stop `decahertz up` first."""
    from decahertz.app.backup import run_restore

    return _run(run_restore(settings, file.absolute(), force=force))


def _export(  # noqa: PLR0913 - the options of the command
    settings: Settings,
    file: Annotated[Path, Parameter(help="File to write; its name ends with .csv or .parquet.")],
    what: Annotated[str, Parameter(help="Collector (for its samples) or event table: quotes, fills, …")],
    *,
    output: Annotated[
        ExportFormat | None, Parameter(name="--format", help="Format, if the file name does not show it.")
    ] = None,
    fields: Annotated[
        str, Parameter(help="Columns besides time and key, separated by commas. Default: all.")
    ] = "",
    where: Annotated[
        tuple[str, ...], Parameter(help="column=value: only rows with this value; repeatable.", negative="")
    ] = (),
    start: Annotated[str, Parameter(help="Start of the range: RFC 3339 or nanoseconds.")] = "",
    end: Annotated[str, Parameter(help="End of the range, exclusive.")] = "",
    force: Annotated[bool, Parameter(negative="", help="Replace an existing file.")] = False,
) -> int:
    """Write samples or events to a CSV or Parquet file; `decahertz up` may be running."""
    from decahertz.app.export import Wanted, run_export

    wanted = Wanted(
        what=what,
        form=output,
        fields=[name.strip() for name in fields.split(",") if name.strip()],
        where=where,
        start=start,
        end=end,
    )
    return _run(run_export(settings, file, wanted, force=force))


def _archive(
    settings: Settings,
    destination: Annotated[str, Parameter(help="Folder, or s3://BUCKET/PREFIX.")] = "",
    *,
    until: Annotated[
        str, Parameter(help="Last day to write, such as 2026-11-29. Default: all closed days.")
    ] = "",
    table: Annotated[
        tuple[str, ...],
        Parameter(help="Only this table: quotes, market_samples, …; repeatable.", negative=""),
    ] = (),
    dry_run: Annotated[bool, Parameter(negative="", help="Show what would be written.")] = False,
    verify: Annotated[
        bool, Parameter(negative="", help="Read all files of the archive again; needs no database.")
    ] = False,
    list_: Annotated[
        bool, Parameter(name="--list", negative="", help="List what the archives of this database have.")
    ] = False,
    json: Annotated[bool, Parameter(negative="", help="Print the list as JSON.")] = False,
) -> int:
    """Write closed days to Parquet files and verify them; `decahertz up` may be running.

    A day is closed an hour after its end, UTC. Days that are in the archive already are not written again,
    unless rows of theirs came later.
    """
    from decahertz.app.archive import run_archive, run_list, run_verify

    if list_:
        return _run(run_list(settings, as_json=json))
    if not destination:
        raise StartError("Name a folder or s3://BUCKET/PREFIX, or give --list.")
    if verify:
        return _run(run_verify(destination, table))
    return _run(run_archive(settings, destination, table, until, dry_run=dry_run))


def _report(
    settings: Settings,
    strategy: Annotated[str, Parameter(help="The strategy.")] = "",
    *,
    portfolio: Annotated[bool, Parameter(negative="", help="All strategies together.")] = False,
    start: Annotated[str, Parameter(help="Start of the range: RFC 3339 or nanoseconds. Default: all.")] = "",
    end: Annotated[str, Parameter(help="End of the range, exclusive.")] = "",
    recorder: Annotated[str, Parameter(help="Only what this recorder has stored.")] = "",
    output: Annotated[Path | None, Parameter(help="File to write. Default: report-STRATEGY.html.")] = None,
    force: Annotated[bool, Parameter(negative="", help="Replace an existing file.")] = False,
) -> int:
    """Write the tear sheet of a strategy as one HTML file; `decahertz up` may be running."""
    from decahertz.app.report import Wanted, run_report

    if bool(strategy) == portfolio:
        raise StartError("Name a strategy, or give --portfolio for all together.")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", strategy or "portfolio")
    wanted = Wanted(strategy=strategy, recorder=recorder, start=start, end=end)
    return _run(run_report(settings, output or Path(f"report-{name}.html"), wanted, force=force))


def _definitions(
    settings: Settings,  # noqa: ARG001 - every command has them
    exchange: Annotated[str, Parameter(help="The exchange, by its id in ccxt, such as okx.")],
    *symbols: Annotated[str, Parameter(help="Symbols as ccxt writes them. Default: all.")],
    venue: Annotated[str, Parameter(help="Name of the venue in your events. Default: the exchange's.")] = "",
    url: Annotated[str, Parameter(help="Scheme, host and port instead of the exchange's own.")] = "",
    output: Annotated[
        Path | None, Parameter(help="File to write, replacing an earlier one. Default: standard output.")
    ] = None,
) -> int:
    """Write the instruments of an exchange as CSV for `instruments_file`. Needs the extra `ccxt`."""
    from decahertz.app.definitions import run_definitions
    from providers.ccxt import CcxtOptions

    options = CcxtOptions(exchange=exchange, url=url)
    return _run(run_definitions(options, symbols, venue=venue, output=output))


def _alertmanager_config(
    settings: Settings,
    *,
    output: Annotated[
        Path | None, Parameter(help="File to write, replacing an earlier one. Default: standard output.")
    ] = None,
) -> int:
    """Write the configuration of Alertmanager: routes, inhibition and receivers."""
    from decahertz.app.alertmanager import alertmanager_config
    from decahertz.app.output_file import target

    text = alertmanager_config(settings.alertmanager, settings.api.url(settings.api.port))
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        target(output, force=True).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartError(f"cannot write {output}: {error.strerror}") from error
    return 0


def _db_url(settings: Settings) -> int:
    """Print the URL of the database in use, for psql or Grafana."""
    from decahertz.app.database import database_url

    sys.stdout.write(database_url(settings) + "\n")
    return 0


def _db_status(
    settings: Settings,
    *,
    json: Annotated[bool, Parameter(negative="", help="Print JSON.")] = False,
) -> int:
    """Show sizes, compression, roll-up, policies, spool and emitters."""
    from decahertz.app.db_status import run_status

    return _run(run_status(settings, as_json=json))


def _db_size(  # noqa: PLR0913 - one for each option
    settings: Settings,
    *,
    instruments: Annotated[int, Parameter(help="Number of instruments.")],
    strategies: Annotated[int, Parameter(help="Number of strategies.")],
    days: Annotated[float | None, Parameter(help="Days to look ahead. Default: a year.")] = None,
    years: Annotated[float | None, Parameter(help="Years to look ahead.")] = None,
    quotes_per_second: Annotated[float, Parameter(help="Quotes of each instrument.")] = 4.0,
    ticks_per_second: Annotated[float, Parameter(help="Trade prints of each instrument.")] = 1.0,
    fills_per_day: Annotated[float, Parameter(help="Fills of each strategy.")] = 1000.0,
    json: Annotated[bool, Parameter(negative="", help="Print JSON.")] = False,
) -> int:
    """Predict rows and bytes of a database on plain PostgreSQL, before there is one."""
    from decahertz.app.db_size import run_size
    from storage.maintenance.sizing import YEAR_DAYS, Load

    if days is not None and years is not None:
        raise StartError("Give --days or --years, not both.")
    horizon = YEAR_DAYS * (1.0 if years is None else years) if days is None else days
    numbers = (instruments, strategies, quotes_per_second, ticks_per_second, fills_per_day)
    if not all(0 <= number <= _MOST_OF_A_SIZE for number in numbers) or not 0 < horizon <= 100 * YEAR_DAYS:
        raise StartError("Counts and rates are 0 to a thousand million, and the time is at most 100 years.")
    load = Load(
        instruments=instruments,
        strategies=strategies,
        quotes_per_second=quotes_per_second,
        ticks_per_second=ticks_per_second,
        fills_per_day=fills_per_day,
    )
    return run_size(settings, load, horizon, as_json=json)


def _db_grant_read(
    settings: Settings,
    role: Annotated[str, Parameter(help="Role of the reader, such as grafana.")],
    *,
    password_file: Annotated[
        Path | None, Parameter(help="File with the role's password: creates a missing role.")
    ] = None,
) -> int:
    """Let a database role read every table, for Grafana and other readers. Safe to repeat."""
    from decahertz.app.db_grant_read import run_grant_read

    return _run(run_grant_read(settings, role, password_file=password_file))


_STREAM = Annotated[
    str, Parameter(help="Only this stream of the loss ledger: events:SOURCE or samples:COLLECTOR.")
]


def _list_letters(
    settings: Settings,
    *,
    stream: _STREAM = "",
    limit: Annotated[int, Parameter(help="Number of rows, newest first.")] = 20,
    json: Annotated[bool, Parameter(negative="", help="Print JSON.")] = False,
) -> int:
    """List the rows that the database refused, with the reasons."""
    from decahertz.app.dead_letters import run_list

    return _run(run_list(settings, stream=stream, limit=limit, as_json=json))


def _replay_letters(
    settings: Settings,
    *ids: Annotated[int, Parameter(help="Numbers from the list. Default: all.")],
    stream: _STREAM = "",
) -> int:
    """Store refused rows again once the cause is fixed; `decahertz up` may be running."""
    from decahertz.app.dead_letters import run_replay

    return _run(run_replay(settings, ids, stream=stream))


def _create_key(
    settings: Settings,
    name: Annotated[str, Parameter(help="Who or what uses the key.")],
    *,
    scope: Annotated[
        tuple[str, ...], Parameter(negative="", help="read, ingest, trade or admin; repeatable.")
    ] = (),
    expires: Annotated[
        str, Parameter(help="When it expires: 90d, 12h, 30m, or RFC 3339. Default: never.")
    ] = "",
    output: Annotated[
        Path | None, Parameter(help="New file for the key, readable by you alone. Default: standard output.")
    ] = None,
    input: Annotated[  # noqa: A002 - the option
        Path | None,
        Parameter(help="File with the key to create: a container's secret. Safe to repeat."),
    ] = None,
) -> int:
    """Create a key of the API and print it, once; `decahertz up` may be running."""
    from decahertz.app.keys import run_create

    if input is not None and output is not None:
        raise StartError("Give --output for a new key or --input for a given one, not both.")
    return _run(run_create(settings, name, scope, expires=expires, output=output, given=input))


def _list_keys(
    settings: Settings,
    *,
    json: Annotated[bool, Parameter(negative="", help="Print JSON.")] = False,
) -> int:
    """List the keys of the API, with their scopes, states and last use."""
    from decahertz.app.keys import run_list

    return _run(run_list(settings, as_json=json))


def _revoke_keys(settings: Settings, *ids: Annotated[str, Parameter(help="Ids from the list.")]) -> int:
    """Revoke keys of the API; a running recorder refuses them within two seconds."""
    from decahertz.app.keys import run_revoke

    return _run(run_revoke(settings, ids))


def _show_settings(settings: Settings) -> int:
    """Print the effective settings, with their variables and options; those of plugins last."""
    effective = [(key, _value_of(settings, key)) for key in keys_of(Settings)]
    of_plugins = list(all_keys())[len(effective) :] + list(keys_of_others(["settings"]))
    effective += [(key, settings.sources.value(key)) for key in of_plugins]
    for key, value in effective:
        if value is msgspec.NODEFAULT:
            shown = "(not set)"
        elif value and (key.key in _WITH_PASSWORD or is_secret(key.key)):
            shown = "(set)"
        else:
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            if value == Path():
                shown = ""  # no file
        sys.stdout.write(f"{key.key} = {shown}    # {key.environment}  {key.option}\n")
    return 0


def _value_of(settings: Settings, key: Key) -> Any:  # noqa: ANN401 - any setting
    value: Any = settings
    for part in key.key.split("."):
        value = getattr(value, part)
    return value


def _run(work: Any) -> int:  # noqa: ANN401 - a coroutine of int
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return int(runner.run(_terminable(work)))


async def _terminable(work: Any) -> int:  # noqa: ANN401 - a coroutine of int
    """The result of a command. SIGTERM ends it as Ctrl-C does: it cleans up, and says how far it came."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    is_terminated = False

    def terminate() -> None:
        nonlocal is_terminated
        is_terminated = True
        task.cancel()

    if threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return int(await work)
    except asyncio.CancelledError:
        if is_terminated:
            return 128 + signal.SIGTERM
        raise


if __name__ == "__main__":
    main()
