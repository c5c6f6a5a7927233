"""TimescaleDB's jobs: what is compressed, refreshed and dropped when. A setting changed changes its job."""

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
    """What is to be done with a hypertable or a continuous aggregate."""

    name: str
    segment: str
    """The columns that it is compressed by, quoted; empty: none."""
    compress_after_hours: int
    keep_days: int
    """0: for ever."""
    chunk: timedelta | None = None
    """Of a continuous aggregate: how wide its chunks are."""
    refresh_from: timedelta | None = None
    """How far back changes are looked for; ``None``: it is not refreshed (any more)."""
    refresh_until: timedelta = timedelta()
    refresh_every: timedelta = timedelta()


async def apply_policies(connection: AnyConnection, wanted: Policies) -> None:
    """Make the jobs be as wanted; asks and does nothing where they are."""
    jobs = {row["proc_name"]: row for row in await connection.fetch(_JOBS, wanted.name)}
    name, hours = quoted(wanted.name), wanted.compress_after_hours
    is_aggregate = wanted.chunk is not None
    if is_aggregate:
        await _set_chunk(connection, wanted)
    changed = []
    async with connection.transaction():
        changed += await _compress(connection, wanted, is_aggregate=is_aggregate)
        after = timedelta(hours=hours)
        if _COMPRESSION not in jobs or jobs[_COMPRESSION]["age"] != after:
            await connection.execute(f"CALL remove_columnstore_policy('{name}', if_exists => true)")
            await connection.execute(
                f"CALL add_columnstore_policy('{name}', after => INTERVAL '{hours} hours')"
            )
            changed.append("compression")
        keep = timedelta(days=wanted.keep_days) if wanted.keep_days else None
        if (jobs[_RETENTION]["age"] if _RETENTION in jobs else None) != keep:
            await connection.execute("SELECT remove_retention_policy($1::text::regclass, true)", name)
            if keep is not None:
                # Once an hour: the chunks of a day are not all dropped at once.
                await connection.execute(
                    "SELECT add_retention_policy($1::text::regclass, drop_after => $2::interval,"
                    " schedule_interval => INTERVAL '1 hour')",
                    name,
                    keep,
                )
            changed.append("retention")
        if is_aggregate:
            changed += await _refresh(connection, wanted, jobs.get(_REFRESH))
    if changed:
        structlog.get_logger(part="tiers").info("policies_changed", relation=wanted.name, policies=changed)


async def _set_chunk(connection: AnyConnection, wanted: Policies) -> None:
    hypertable = await _hypertable(connection, wanted.name)
    width = await connection.fetchval(
        "SELECT time_interval FROM timescaledb_information.dimensions"
        " WHERE format('%I.%I', hypertable_schema, hypertable_name) = $1 AND dimension_number = 1",
        hypertable,
    )
    if width != wanted.chunk:
        await connection.execute(
            "SELECT set_chunk_time_interval($1::text::regclass, $2::interval)", hypertable, wanted.chunk
        )


async def _compress(connection: AnyConnection, wanted: Policies, *, is_aggregate: bool) -> list[str]:
    """Turn the columnstore on."""
    target = await _hypertable(connection, wanted.name) if is_aggregate else quoted(wanted.name)
    if await connection.fetchval(
        "SELECT EXISTS (SELECT FROM timescaledb_information.hypertable_columnstore_settings"
        " WHERE hypertable = $1::text::regclass AND orderby IS NOT NULL)",
        target,
    ):
        return []
    kind = "MATERIALIZED VIEW" if is_aggregate else "TABLE"
    segment = f", timescaledb.segmentby = '{wanted.segment}'" if wanted.segment else ""
    await connection.execute(
        f"ALTER {kind} {quoted(wanted.name)} SET (timescaledb.enable_columnstore = true{segment},"
        " timescaledb.orderby = 'time DESC')"
    )
    return ["columnstore"]


async def _hypertable(connection: AnyConnection, view: str) -> str:
    name: str = await connection.fetchval(
        "SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)"
        " FROM timescaledb_information.continuous_aggregates"
        " WHERE view_schema = current_schema() AND view_name = $1",
        view,
    )
    return name


async def _refresh(connection: AnyConnection, wanted: Policies, job: asyncpg.Record | None) -> list[str]:
    name = quoted(wanted.name)
    if wanted.refresh_from is None:
        if job is None:
            return []
        await connection.execute(
            "SELECT remove_continuous_aggregate_policy($1::text::regclass, if_exists => true)", name
        )
        return ["refresh"]
    if job is not None and (job["start"], job["until"], job["schedule_interval"]) == (
        wanted.refresh_from,
        wanted.refresh_until,
        wanted.refresh_every,
    ):
        return []
    await connection.execute(
        "SELECT remove_continuous_aggregate_policy($1::text::regclass, if_exists => true)", name
    )
    await connection.execute(
        "SELECT add_continuous_aggregate_policy($1::text::regclass, start_offset => $2::interval,"
        " end_offset => $3::interval, schedule_interval => $4::interval)",
        name,
        wanted.refresh_from,
        wanted.refresh_until,
        wanted.refresh_every,
    )
    return ["refresh"]


async def failing_jobs(connection: AnyConnection) -> list[str]:
    """The jobs whose last run failed, in words. One that only found somebody else at its work did not."""
    return [
        f"{row['proc_name']} of {row['name']} failed" + (f": {row['reason']}" if row["reason"] else "")
        for row in await connection.fetch(_FAILING, _BUSY)
    ]
