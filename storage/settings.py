"""Settings of storage: ``[storage]``, ``[spool]``, ``[tiers]``, ``[retention]`` and ``[archive]``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from decahertz.event import EVENT_TYPES
from decahertz.settings import Seconds

MIN_LATE_HOURS = 4
_DAY_HOURS = 24


class StorageSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The database writer and its memory queue."""

    flush_seconds: Annotated[
        Seconds,
        Meta(description="How long samples may wait to share a transaction with others."),
    ] = 0.2
    queue_rows: Annotated[
        int,
        Meta(ge=1000, description="Rows held in memory for the writer; the rest stays in the spool."),
    ] = 200_000
    start_timeout_seconds: Annotated[
        Seconds,
        Meta(
            description="How long the start waits for each step of opening the database; it goes on without."
        ),
    ] = 10.0
    connect_timeout_seconds: Annotated[Seconds, Meta(description="Timeout for a connection attempt.")] = 10.0
    statement_timeout_seconds: Annotated[
        Seconds, Meta(description="Timeout for one statement that stores rows or serves a command.")
    ] = 30.0
    read_timeout_seconds: Annotated[
        Seconds, Meta(description="Timeout for one read of the API, connecting included.")
    ] = 5.0
    max_exports: Annotated[
        int,
        Meta(ge=1, le=100, description="Exports at once, each on a connection of its own; more are refused."),
    ] = 4
    max_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="Size limit of the database; above it the oldest raw samples, quotes and ticks are"
            " dropped before their retention. 0: no limit.",
        ),
    ] = 0
    read_url: Annotated[
        str,
        Meta(
            description="URL of a read replica of the database, for the queries of the API and of Grafana;"
            " empty sends them to the database itself."
        ),
    ] = ""


class SpoolSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The durable queue on disk."""

    commit_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=0.1,
            description="How long samples may wait to share a disk write with others; a second while no event"
            " arrives.",
        ),
    ] = 0.05
    max_bytes: Annotated[
        int,
        Meta(ge=100_000, description="Size limit; above it the oldest samples are dropped, events last."),
    ] = 4 * 1024**3
    max_age_hours: Annotated[
        float,
        Meta(gt=0, le=87_600, description="Age limit; older entries are dropped."),
    ] = 72.0
    backlog_rows_per_second: Annotated[
        int,
        Meta(ge=100, description="Rate limit for writing the backlog to the database next to new rows."),
    ] = 50_000


class TiersSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How samples are partitioned, compressed and rolled up to buckets of 1 s, 1 m and 1 h."""

    engine: Annotated[
        str,
        Meta(
            pattern="^(auto|plain|timescaledb)$",
            description="plain, timescaledb, or auto: timescaledb where available. The first start decides.",
        ),
    ] = "auto"
    chunk_hours: Annotated[
        int,
        Meta(ge=1, le=720, description="TimescaleDB: chunk interval of raw samples, quotes and ticks."),
    ] = 6
    compress_after_hours: Annotated[
        int,
        Meta(ge=1, description="TimescaleDB: age at which raw samples, quotes and ticks are compressed."),
    ] = 72
    pack_after_hours: Annotated[
        float,
        Meta(
            ge=0,
            le=87_600,
            description="Plain PostgreSQL: age at which raw samples, the 1s tier, quotes and ticks are"
            " packed; 0: never.",
        ),
    ] = 1.0
    late_hours: Annotated[
        int,
        Meta(
            ge=MIN_LATE_HOURS,
            description="How late a sample may arrive and still be rolled up into every tier.",
        ),
    ] = 144
    lag_seconds: Annotated[
        Seconds,
        Meta(description="Delay between the end of a bucket and its roll-up; queries compute it until then."),
    ] = 5.0
    interval_seconds: Annotated[
        Seconds,
        Meta(description="Interval between roll-ups; TimescaleDB refreshes every third time."),
    ] = 2.0


Days = Annotated[int, Meta(ge=0, le=36_500)]


_EventRetention: Any = msgspec.defstruct(
    "_EventRetention",
    [
        (
            f"{event_type.table}_days",
            Annotated[Days, Meta(description=f"Retention of {event_type.table}.")],
            event_type.retention_days,
        )
        for event_type in EVENT_TYPES
        if event_type.bulk
    ],
    frozen=True,
    kw_only=True,
)


class RetentionSettings(_EventRetention, Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):  # type: ignore[misc] # one field per bulk event type
    """Retention by the rows' own time. 0 keeps them forever.

    Events older than the database were imported and are kept.
    """

    raw_days: Annotated[
        Days,
        Meta(
            description="Retention of raw samples; 0 keeps them forever. Followed, unless set"
            " themselves, by quotes, ticks, tiers.late_hours, spool.max_age_hours, and shorter coarse tiers."
        ),
    ] = 7
    one_second_days: Annotated[Days, Meta(description="Retention of the 1 s tier.")] = 30
    one_minute_days: Annotated[Days, Meta(description="Retention of the 1 m tier.")] = 730
    one_hour_days: Annotated[Days, Meta(description="Retention of the 1 h tier.")] = 0


class ArchiveSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The archive of closed days, which ``decahertz archive`` writes."""

    required: Annotated[
        bool,
        Meta(
            description="Retention drops raw samples and events only after `decahertz archive` has written"
            " and verified their day; until then the disk fills."
        ),
    ] = False


def following(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of settings that follow from the given ones, so that one of them is enough.

    Quotes and ticks are kept as long as raw samples, coarser tiers at least as long; rows may be late, and
    wait in the spool, as long as the raw samples they belong to are kept.
    """
    tiers, spool, retention = TiersSettings(), SpoolSettings(), RetentionSettings()
    values: dict[str, Any] = {}
    raw_days = given.get("retention.raw_days")
    if raw_days is not None:
        values |= {f"retention.{event.table}_days": raw_days for event in EVENT_TYPES if event.follows_raw}
    kept = retention.raw_days if raw_days is None else raw_days
    for key in ("one_second_days", "one_minute_days", "one_hour_days"):
        default = getattr(retention, key)
        values[f"retention.{key}"] = max(default, kept) if default and kept else 0
        kept = given.get(f"retention.{key}", values[f"retention.{key}"])
    late_hours = tiers.late_hours
    if raw_days:
        chunk_hours = given.get("tiers.chunk_hours", tiers.chunk_hours)
        late_hours = min(late_hours, max(_DAY_HOURS * raw_days - chunk_hours, MIN_LATE_HOURS))
    values["tiers.late_hours"] = late_hours
    limits = [given.get("tiers.late_hours", late_hours)]
    if "tiers.compress_after_hours" in given:
        limits.append(given["tiers.compress_after_hours"])
    values["spool.max_age_hours"] = float(min(spool.max_age_hours, *limits))
    spooled = given.get("spool.max_age_hours", values["spool.max_age_hours"])
    values["tiers.compress_after_hours"] = max(tiers.compress_after_hours, math.ceil(spooled))
    return values
