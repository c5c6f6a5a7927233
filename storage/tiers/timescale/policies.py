"""TimescaleDB's jobs: compression, refresh and retention, adjusted at every start to the settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import structlog

from storage.schema.samples import quoted

if TYPE_CHECKING:
    from storage.database import AnyConnection

_JOBS = """
SELECT proc_name, schedule_interval,
       coalesce(config->>'drop_after', config->>'compress_after')::interval AS age,
       (config->>'start_offset')::interval AS start, (config->>'end_offset')::interval AS until
FROM timescaledb_information.jobs
WHERE hypertable_schema = current_schema() AND hypertable_name = $1
"""
_FAILING = """
SELECT j.proc_name, j.hypertable_name AS name, e.err_message AS reason
FROM timescaledb_information.jobs j JOIN timescaledb_information.job_stats s USING (job_id)
LEFT JOIN LATERAL (
    SELECT sqlerrcode, err_message FROM timescaledb_information.job_errors
    WHERE job_id = j.job_id ORDER BY finish_time DESC LIMIT 1
) AS e ON true
WHERE s.last_run_status = 'Failed' AND j.hypertable_schema = current_schema()
  AND j.proc_name IN ('policy_refresh_continuous_aggregate', 'policy_compression', 'policy_retention')
  AND e.sqlerrcode IS DISTINCT FROM $1
ORDER BY j.job_id
"""
_BUSY = asyncpg.LockNotAvailableError.sqlstate
_RETENTION, _COMPRESSION = "policy_retention", "policy_compression"
_REFRESH = "policy_refresh_continuous_aggregate"


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of a hypertable or a continuous aggregate."""

    name: str
    segment: str
    """The columns to compress by, quoted. Key columns come first and the recorder last: compressed chunks are
    indexed by these columns, and histories often read all recorders."""
    compress_after_hours: int
    keep_days: int
    """Retention; 0 means forever."""
    chunk: timedelta | None = None
    """Chunk interval of a continuous aggregate; ``None`` for a hypertable."""
    refresh_from: timedelta | None = None
    """How far back changes are refreshed; ``None``: no refresh policy."""
    refresh_until: timedelta = timedelta()
    refresh_every: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class _Job:
    """A job as TimescaleDB has it."""

    schedule_interval: timedelta
    age: timedelta | None
    start: timedelta | None
    until: timedelta | None


async def apply_policies(connection: AnyConnection, wanted: Policies) -> None:
    """Adjusts the jobs; queries and changes nothing where they fit."""
    jobs = {name: _Job(*values) for name, *values in await connection.fetch(_JOBS, wanted.name)}
    name, hours = quoted(wanted.name), wanted.compress_after_hours
    is_aggregate = wanted.chunk is not None
    if is_aggregate:
        await _set_chunk_interval(connection, wanted)
    changed = []
    async with connection.transaction():
        changed += await _enable_columnstore(connection, wanted, is_aggregate=is_aggregate)
        if _COMPRESSION not in jobs or jobs[_COMPRESSION].age != timedelta(hours=hours):
            await connection.execute(f"CALL remove_columnstore_policy('{name}', if_exists => true)")
            await connection.execute(
                f"CALL add_columnstore_policy('{name}', after => INTERVAL '{hours} hours')"
            )
            changed.append("compression")
        keep = timedelta(days=wanted.keep_days) if wanted.keep_days else None
        if (jobs[_RETENTION].age if _RETENTION in jobs else None) != keep:
            await connection.execute("SELECT remove_retention_policy($1::regclass, true)", name)
            if keep is not None:
                # Hourly, so that the chunks of a day do not all go at once.
                await connection.execute(
                    "SELECT add_retention_policy($1::regclass, drop_after => $2::interval,"
                    " schedule_interval => INTERVAL '1 hour')",
                    name,
                    keep,
                )
            changed.append("retention")
        if is_aggregate:
            changed += await _set_refresh(connection, wanted, jobs.get(_REFRESH))
    if changed:
        structlog.get_logger(part="tiers").info("policies_changed", relation=wanted.name, policies=changed)


async def _set_chunk_interval(connection: AnyConnection, wanted: Policies) -> None:
    hypertable = await _hypertable_of(connection, wanted.name)
    interval = await connection.fetchval(
        "SELECT time_interval FROM timescaledb_information.dimensions"
        " WHERE format('%I.%I', hypertable_schema, hypertable_name) = $1 AND dimension_number = 1",
        hypertable,
    )
    if interval != wanted.chunk:
        await connection.execute(
            "SELECT set_chunk_time_interval($1::regclass, $2::interval)", hypertable, wanted.chunk
        )


async def _enable_columnstore(
    connection: AnyConnection, wanted: Policies, *, is_aggregate: bool
) -> list[str]:
    target = await _hypertable_of(connection, wanted.name) if is_aggregate else quoted(wanted.name)
    if await connection.fetchval(
        "SELECT EXISTS (SELECT FROM timescaledb_information.hypertable_columnstore_settings"
        " WHERE hypertable = $1::regclass AND orderby IS NOT NULL)",
        target,
    ):
        return []
    kind = "MATERIALIZED VIEW" if is_aggregate else "TABLE"
    await connection.execute(
        f"ALTER {kind} {quoted(wanted.name)} SET (timescaledb.enable_columnstore = true,"
        f" timescaledb.segmentby = '{wanted.segment}', timescaledb.orderby = 'time DESC')",
    )
    return ["columnstore"]


async def _hypertable_of(connection: AnyConnection, view: str) -> str:
    """The hypertable that stores a continuous aggregate."""
    name: str = await connection.fetchval(
        "SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)"
        " FROM timescaledb_information.continuous_aggregates"
        " WHERE view_schema = current_schema() AND view_name = $1",
        view,
    )
    return name


async def _set_refresh(connection: AnyConnection, wanted: Policies, job: _Job | None) -> list[str]:
    name = quoted(wanted.name)
    window = (wanted.refresh_from, wanted.refresh_until, wanted.refresh_every)
    if wanted.refresh_from is None:
        if job is None:
            return []
    elif job is not None and (job.start, job.until, job.schedule_interval) == window:
        return []
    await connection.execute(
        "SELECT remove_continuous_aggregate_policy($1::regclass, if_exists => true)", name
    )
    if wanted.refresh_from is not None:
        await connection.execute(
            "SELECT add_continuous_aggregate_policy($1::regclass, start_offset => $2::interval,"
            " end_offset => $3::interval, schedule_interval => $4::interval)",
            name,
            *window,
        )
    return ["refresh"]


async def failing_jobs(connection: AnyConnection) -> list[str]:
    """The jobs whose last run failed, in words. A job that found its work in progress has not failed."""
    return [
        f"{job} of {name} failed" + (f": {reason}" if reason else "")
        for job, name, reason in await connection.fetch(_FAILING, _BUSY)
    ]
