"""SQL functions that keep the queries of dashboards short; their names and results stay.

``decahertz_bucket(time, step_ms)``
    Start of the step that a time falls into.
``decahertz_line_tier(range_start, step_ms)``
    Tier for a line: from steps of 15 s on, buckets may be four steps long, which reads far fewer rows.
``decahertz_newest(range_end)``
    Start of the last step before a time that has samples: for tables of the newest state.
``decahertz_positions(range_end)``
    Newest position before a time of each strategy, account and instrument, as the strategies report them.
``decahertz_bars(range_start, range_end, step_ms, source, recorders, venues, instruments)``
    Bars of each instrument over all of the venues.

:mod:`storage.tiers.history_views` has ``decahertz_tier``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.database import AnyConnection

_BUCKET = """
CREATE OR REPLACE FUNCTION decahertz_bucket(at timestamptz, step_ms double precision)
RETURNS timestamptz IMMUTABLE PARALLEL SAFE LANGUAGE sql AS $function$
    SELECT date_bin(greatest(step_ms, 100) * interval '1 ms', at, timestamptz '1970-01-01 00:00:00+00')
$function$
"""
_LINE_TIER = """
CREATE OR REPLACE FUNCTION decahertz_line_tier(range_start timestamptz, step_ms double precision)
RETURNS text STABLE PARALLEL SAFE LANGUAGE sql AS $function$
    SELECT decahertz_tier(range_start, CASE WHEN step_ms < 15000 THEN step_ms ELSE 4 * step_ms END)
$function$
"""
_NEWEST = """
CREATE OR REPLACE FUNCTION decahertz_newest(range_end timestamptz)
RETURNS timestamptz IMMUTABLE PARALLEL SAFE LANGUAGE sql AS $function$
    SELECT range_end - CASE decahertz_tier(range_end - interval '1 minute', 100)
        WHEN '1m' THEN interval '1 minute' WHEN '1h' THEN interval '1 hour' ELSE interval '5 seconds' END
$function$
"""
_BARS = """
CREATE OR REPLACE FUNCTION decahertz_bars(
    range_start timestamptz, range_end timestamptz, step_ms double precision, source text,
    recorders text[], venues text[], instruments text[]
)
RETURNS TABLE (
    "time" timestamptz, instrument text, open double precision, high double precision, low double precision,
    close double precision, volume double precision, vwap double precision
)
STABLE LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $function$
#variable_conflict use_column
DECLARE
    first_bar timestamptz := decahertz_bucket(range_start, step_ms);
    start_ns bigint := floor(extract(epoch FROM first_bar) * 1000000000);
    end_ns bigint := floor(extract(epoch FROM range_end) * 1000000000);
    tier_read text := decahertz_tier(first_bar, step_ms);
BEGIN
    IF source = 'ticks' AND range_end - range_start <= interval '2 hours' THEN
        RETURN QUERY
        SELECT decahertz_bucket(t.time, step_ms), t.instrument,
            (array_agg(t.price ORDER BY t.time_ns, t.source, t.epoch, t.sequence))[1],
            max(t.price), min(t.price),
            (array_agg(t.price ORDER BY t.time_ns DESC, t.source DESC, t.epoch DESC, t.sequence DESC))[1],
            sum(t.size), sum(t.price * t.size) / nullif(sum(t.size), 0)
        FROM ticks_between(first_bar, range_end) AS t
        WHERE t.venue = ANY (venues) AND t.instrument = ANY (instruments) AND t.recorder = ANY (recorders)
            AND t.time_ns >= start_ns AND t.time_ns < end_ns AND t.time >= first_bar AND t.time <= range_end
        GROUP BY 1, 2 ORDER BY 1, 2;
    ELSE
        RETURN QUERY
        WITH samples AS (
            SELECT m.time, m.instrument, m.vwap,
                CASE source WHEN 'ticks' THEN m.last ELSE m.mid END AS newest,
                CASE source WHEN 'ticks' THEN m.last_max ELSE m.mid_max END AS highest,
                CASE source WHEN 'ticks' THEN m.last_min ELSE m.mid_min END AS lowest,
                greatest(0, m.traded - lag(m.traded) OVER (
                    PARTITION BY m.recorder, m.venue, m.instrument ORDER BY m.time
                )) AS increase
            FROM market_history AS m
            WHERE m.tier = tier_read
                AND m.time >= first_bar - step_ms * interval '1 ms' AND m.time < range_end
                AND m.venue = ANY (venues) AND m.instrument = ANY (instruments)
                AND m.recorder = ANY (recorders)
        ), bars AS (
            SELECT decahertz_bucket(s.time, step_ms) AS start, s.instrument,
                (array_agg(s.newest ORDER BY s.time) FILTER (WHERE s.newest IS NOT NULL))[1] AS first,
                max(s.highest) AS highest, min(s.lowest) AS lowest,
                (array_agg(s.newest ORDER BY s.time DESC) FILTER (WHERE s.newest IS NOT NULL))[1] AS newest,
                sum(s.increase) AS increase,
                sum(s.vwap * s.increase)
                    / nullif(sum(s.increase) FILTER (WHERE s.vwap IS NOT NULL), 0) AS vwap
            FROM samples AS s GROUP BY 1, 2
        ), opened AS (
            SELECT b.*,
                coalesce(lag(b.newest) OVER (PARTITION BY b.instrument ORDER BY b.start), b.first) AS open
            FROM bars AS b
        )
        SELECT o.start, o.instrument, o.open, greatest(o.highest, o.open), least(o.lowest, o.open), o.newest,
            o.increase, o.vwap
        FROM opened AS o WHERE o.start >= first_bar AND o.newest IS NOT NULL ORDER BY 1, 2;
    END IF;
END $function$
"""
_POSITIONS = """
CREATE OR REPLACE FUNCTION decahertz_positions(range_end timestamptz)
RETURNS SETOF positions STABLE LANGUAGE sql AS $function$
    -- Jumps from key to key in the index; a DISTINCT would read every position ever reported.
    WITH RECURSIVE keys AS (
        (
            SELECT strategy, venue, instrument, account FROM positions
            ORDER BY strategy, venue, instrument, account LIMIT 1
        )
        UNION ALL
        SELECT next.strategy, next.venue, next.instrument, next.account
        FROM keys CROSS JOIN LATERAL (
            SELECT p.strategy, p.venue, p.instrument, p.account FROM positions AS p
            WHERE (p.strategy, p.venue, p.instrument, p.account)
                > (keys.strategy, keys.venue, keys.instrument, keys.account)
            ORDER BY p.strategy, p.venue, p.instrument, p.account LIMIT 1
        ) AS next
    )
    SELECT newest.* FROM keys CROSS JOIN LATERAL (
        SELECT p.* FROM positions AS p
        WHERE p.strategy = keys.strategy AND p.venue = keys.venue AND p.instrument = keys.instrument
            AND p.account = keys.account
            AND p.time_ns <= floor(extract(epoch FROM range_end) * 1000000000)::bigint
        ORDER BY p.time_ns DESC LIMIT 1
    ) AS newest
$function$
"""
_COMMENTS = """
COMMENT ON FUNCTION decahertz_positions IS
    'Newest position before range_end of each strategy, account and instrument, as the strategies report them.';
COMMENT ON FUNCTION decahertz_bucket IS
    'Start of the step that a time falls into; steps begin at multiples since 1970, UTC.';
COMMENT ON FUNCTION decahertz_line_tier IS
    'Tier for a line over time: as decahertz_tier, but from steps of 15 s on with buckets of up to four steps.';
COMMENT ON FUNCTION decahertz_newest IS
    'Start of the last step before range_end, in the finest tier that is kept so long.';
COMMENT ON FUNCTION decahertz_bars IS
    'Bars of ticks (source: ticks) or of the mid price (quotes). Ticks up to two hours; over a longer range the samples of the tier that fits: a bar opens where the one before it closed, and high and low are those of the 10 Hz samples.';
"""  # noqa: E501 - one comment


async def prepare_dashboard_functions(connection: AnyConnection) -> None:
    """Creates the functions, or replaces them by this version's."""
    async with connection.transaction():
        for statement in (_BUCKET, _LINE_TIER, _NEWEST, _POSITIONS, _BARS, _COMMENTS):
            await connection.execute(statement)
