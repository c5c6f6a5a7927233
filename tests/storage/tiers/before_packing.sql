-- The tables, triggers and views of the samples of books, as the version before packing made them (pg_dump).

CREATE OR REPLACE FUNCTION book_samples_record_dirty_buckets()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
        BEGIN
            INSERT INTO "public"."book_samples_dirty_buckets" (width_seconds, time)
            SELECT DISTINCT dirty.width_seconds, dirty.start
            FROM (SELECT DISTINCT time FROM changed) AS cycles
            CROSS JOIN LATERAL (VALUES (1, date_bin(INTERVAL '1 seconds', "time", TIMESTAMPTZ '1970-01-01 00:00:00+00')), (60, date_bin(INTERVAL '60 seconds', "time", TIMESTAMPTZ '1970-01-01 00:00:00+00')), (3600, date_bin(INTERVAL '3600 seconds', "time", TIMESTAMPTZ '1970-01-01 00:00:00+00'))) AS dirty (width_seconds, start)
            WHERE cycles.time >= (
                SELECT raw_from FROM "public".tier_state WHERE table_name = 'book_samples'
            );
            RETURN NULL;
        END $function$;

CREATE TABLE book_samples (
    "time" timestamp with time zone NOT NULL,
    recorder text NOT NULL COLLATE "C",
    venue text NOT NULL COLLATE "C",
    instrument text NOT NULL COLLATE "C",
    mid double precision,
    gaps bigint,
    verdict text,
    crossed boolean
)
PARTITION BY RANGE ("time");

CREATE TABLE book_samples_default PARTITION OF book_samples DEFAULT;

CREATE TABLE book_samples_p20231114 PARTITION OF book_samples
    FOR VALUES FROM ('2023-11-14 00:00:00+00') TO ('2023-11-15 00:00:00+00');

CREATE TABLE book_samples_1h_rolled (
    "time" timestamp with time zone NOT NULL,
    recorder text NOT NULL COLLATE "C",
    venue text NOT NULL COLLATE "C",
    instrument text NOT NULL COLLATE "C",
    samples bigint,
    mid_last double precision,
    mid_min double precision,
    mid_max double precision,
    mid_sum double precision,
    mid_count bigint,
    gaps_last bigint,
    verdict_last text,
    crossed_last boolean
)
PARTITION BY RANGE ("time");

CREATE TABLE book_samples_1h_rolled_default PARTITION OF book_samples_1h_rolled DEFAULT;

CREATE TABLE book_samples_1m_rolled (
    "time" timestamp with time zone NOT NULL,
    recorder text NOT NULL COLLATE "C",
    venue text NOT NULL COLLATE "C",
    instrument text NOT NULL COLLATE "C",
    samples bigint,
    mid_last double precision,
    mid_min double precision,
    mid_max double precision,
    mid_sum double precision,
    mid_count bigint,
    gaps_last bigint,
    verdict_last text,
    crossed_last boolean
)
PARTITION BY RANGE ("time");

CREATE TABLE book_samples_1m_rolled_default PARTITION OF book_samples_1m_rolled DEFAULT;

CREATE TABLE book_samples_1s_rolled (
    "time" timestamp with time zone NOT NULL,
    recorder text NOT NULL COLLATE "C",
    venue text NOT NULL COLLATE "C",
    instrument text NOT NULL COLLATE "C",
    samples bigint,
    mid_last double precision,
    mid_min double precision,
    mid_max double precision,
    mid_sum double precision,
    mid_count bigint,
    gaps_last bigint,
    verdict_last text,
    crossed_last boolean
)
PARTITION BY RANGE ("time");

CREATE TABLE book_samples_1s_rolled_default PARTITION OF book_samples_1s_rolled DEFAULT;

CREATE TABLE book_samples_dirty_buckets (
    "time" timestamp with time zone NOT NULL,
    width_seconds integer NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='2000');

CREATE VIEW book_samples_1s AS
 SELECT rolled."time",
    rolled.recorder,
    rolled.venue,
    rolled.instrument,
    rolled.samples,
    rolled.mid_last,
    rolled.mid_min,
    rolled.mid_max,
    rolled.mid_sum,
    rolled.mid_count,
    rolled.gaps_last,
    rolled.verdict_last,
    rolled.crossed_last
   FROM book_samples_1s_rolled rolled
  WHERE (NOT (EXISTS ( SELECT book_samples_dirty_buckets."time"
           FROM book_samples_dirty_buckets
          WHERE ((book_samples_dirty_buckets.width_seconds = 1) AND (book_samples_dirty_buckets."time" = rolled."time")))))
UNION ALL
 SELECT dirty."time",
    made.recorder,
    made.venue,
    made.instrument,
    made.samples,
    made.mid_last,
    made.mid_min,
    made.mid_max,
    made.mid_sum,
    made.mid_count,
    made.gaps_last,
    made.verdict_last,
    made.crossed_last
   FROM (( SELECT book_samples_dirty_buckets."time"
           FROM book_samples_dirty_buckets
          WHERE (book_samples_dirty_buckets.width_seconds = 1)
          GROUP BY book_samples_dirty_buckets."time") dirty
     CROSS JOIN LATERAL ( SELECT source.recorder,
            source.venue,
            source.instrument,
            count(*) AS samples,
            (array_agg(source.mid ORDER BY source."time" DESC) FILTER (WHERE (source.mid IS NOT NULL)))[1] AS mid_last,
            min(source.mid) AS mid_min,
            max(source.mid) AS mid_max,
            sum(source.mid) AS mid_sum,
            count(source.mid) AS mid_count,
            (array_agg(source.gaps ORDER BY source."time" DESC) FILTER (WHERE (source.gaps IS NOT NULL)))[1] AS gaps_last,
            (array_agg(source.verdict ORDER BY source."time" DESC) FILTER (WHERE (source.verdict IS NOT NULL)))[1] AS verdict_last,
            (array_agg(source.crossed ORDER BY source."time" DESC) FILTER (WHERE (source.crossed IS NOT NULL)))[1] AS crossed_last
           FROM book_samples source
          WHERE ((source."time" >= dirty."time") AND (source."time" < (dirty."time" + '00:00:01'::interval)))
          GROUP BY source.recorder, source.venue, source.instrument) made);

CREATE VIEW book_samples_1m AS
 SELECT rolled."time",
    rolled.recorder,
    rolled.venue,
    rolled.instrument,
    rolled.samples,
    rolled.mid_last,
    rolled.mid_min,
    rolled.mid_max,
    rolled.mid_sum,
    rolled.mid_count,
    rolled.gaps_last,
    rolled.verdict_last,
    rolled.crossed_last
   FROM book_samples_1m_rolled rolled
  WHERE (NOT (EXISTS ( SELECT book_samples_dirty_buckets."time"
           FROM book_samples_dirty_buckets
          WHERE ((book_samples_dirty_buckets.width_seconds = 60) AND (book_samples_dirty_buckets."time" = rolled."time")))))
UNION ALL
 SELECT dirty."time",
    made.recorder,
    made.venue,
    made.instrument,
    made.samples,
    made.mid_last,
    made.mid_min,
    made.mid_max,
    made.mid_sum,
    made.mid_count,
    made.gaps_last,
    made.verdict_last,
    made.crossed_last
   FROM (( SELECT book_samples_dirty_buckets."time"
           FROM book_samples_dirty_buckets
          WHERE (book_samples_dirty_buckets.width_seconds = 60)
          GROUP BY book_samples_dirty_buckets."time") dirty
     CROSS JOIN LATERAL ( SELECT source.recorder,
            source.venue,
            source.instrument,
            (sum(source.samples))::bigint AS samples,
            (array_agg(source.mid_last ORDER BY source."time" DESC) FILTER (WHERE (source.mid_last IS NOT NULL)))[1] AS mid_last,
            min(source.mid_min) AS mid_min,
            max(source.mid_max) AS mid_max,
            sum(source.mid_sum) AS mid_sum,
            (sum(source.mid_count))::bigint AS mid_count,
            (array_agg(source.gaps_last ORDER BY source."time" DESC) FILTER (WHERE (source.gaps_last IS NOT NULL)))[1] AS gaps_last,
            (array_agg(source.verdict_last ORDER BY source."time" DESC) FILTER (WHERE (source.verdict_last IS NOT NULL)))[1] AS verdict_last,
            (array_agg(source.crossed_last ORDER BY source."time" DESC) FILTER (WHERE (source.crossed_last IS NOT NULL)))[1] AS crossed_last
           FROM book_samples_1s source
          WHERE ((source."time" >= dirty."time") AND (source."time" < (dirty."time" + '00:01:00'::interval)))
          GROUP BY source.recorder, source.venue, source.instrument) made);

CREATE VIEW book_samples_1h AS
 SELECT rolled."time",
    rolled.recorder,
    rolled.venue,
    rolled.instrument,
    rolled.samples,
    rolled.mid_last,
    rolled.mid_min,
    rolled.mid_max,
    rolled.mid_sum,
    rolled.mid_count,
    rolled.gaps_last,
    rolled.verdict_last,
    rolled.crossed_last
   FROM book_samples_1h_rolled rolled
  WHERE (NOT (EXISTS ( SELECT book_samples_dirty_buckets."time"
           FROM book_samples_dirty_buckets
          WHERE ((book_samples_dirty_buckets.width_seconds = 3600) AND (book_samples_dirty_buckets."time" = rolled."time")))))
UNION ALL
 SELECT dirty."time",
    made.recorder,
    made.venue,
    made.instrument,
    made.samples,
    made.mid_last,
    made.mid_min,
    made.mid_max,
    made.mid_sum,
    made.mid_count,
    made.gaps_last,
    made.verdict_last,
    made.crossed_last
   FROM (( SELECT book_samples_dirty_buckets."time"
           FROM book_samples_dirty_buckets
          WHERE (book_samples_dirty_buckets.width_seconds = 3600)
          GROUP BY book_samples_dirty_buckets."time") dirty
     CROSS JOIN LATERAL ( SELECT source.recorder,
            source.venue,
            source.instrument,
            (sum(source.samples))::bigint AS samples,
            (array_agg(source.mid_last ORDER BY source."time" DESC) FILTER (WHERE (source.mid_last IS NOT NULL)))[1] AS mid_last,
            min(source.mid_min) AS mid_min,
            max(source.mid_max) AS mid_max,
            sum(source.mid_sum) AS mid_sum,
            (sum(source.mid_count))::bigint AS mid_count,
            (array_agg(source.gaps_last ORDER BY source."time" DESC) FILTER (WHERE (source.gaps_last IS NOT NULL)))[1] AS gaps_last,
            (array_agg(source.verdict_last ORDER BY source."time" DESC) FILTER (WHERE (source.verdict_last IS NOT NULL)))[1] AS verdict_last,
            (array_agg(source.crossed_last ORDER BY source."time" DESC) FILTER (WHERE (source.crossed_last IS NOT NULL)))[1] AS crossed_last
           FROM book_samples_1m source
          WHERE ((source."time" >= dirty."time") AND (source."time" < (dirty."time" + '01:00:00'::interval)))
          GROUP BY source.recorder, source.venue, source.instrument) made);

CREATE VIEW book_history AS
 SELECT 'raw'::text AS tier,
    book_samples."time",
    book_samples.recorder,
    book_samples.venue,
    book_samples.instrument,
    (1)::bigint AS samples,
    book_samples.mid,
    book_samples.mid AS mid_min,
    book_samples.mid AS mid_max,
    book_samples.mid AS mid_avg,
    book_samples.gaps,
    book_samples.verdict,
    book_samples.crossed
   FROM book_samples
UNION ALL
 SELECT '1s'::text AS tier,
    book_samples_1s."time",
    book_samples_1s.recorder,
    book_samples_1s.venue,
    book_samples_1s.instrument,
    book_samples_1s.samples,
    book_samples_1s.mid_last AS mid,
    book_samples_1s.mid_min,
    book_samples_1s.mid_max,
    (book_samples_1s.mid_sum / (NULLIF(book_samples_1s.mid_count, 0))::double precision) AS mid_avg,
    book_samples_1s.gaps_last AS gaps,
    book_samples_1s.verdict_last AS verdict,
    book_samples_1s.crossed_last AS crossed
   FROM book_samples_1s
UNION ALL
 SELECT '1m'::text AS tier,
    book_samples_1m."time",
    book_samples_1m.recorder,
    book_samples_1m.venue,
    book_samples_1m.instrument,
    book_samples_1m.samples,
    book_samples_1m.mid_last AS mid,
    book_samples_1m.mid_min,
    book_samples_1m.mid_max,
    (book_samples_1m.mid_sum / (NULLIF(book_samples_1m.mid_count, 0))::double precision) AS mid_avg,
    book_samples_1m.gaps_last AS gaps,
    book_samples_1m.verdict_last AS verdict,
    book_samples_1m.crossed_last AS crossed
   FROM book_samples_1m
UNION ALL
 SELECT '1h'::text AS tier,
    book_samples_1h."time",
    book_samples_1h.recorder,
    book_samples_1h.venue,
    book_samples_1h.instrument,
    book_samples_1h.samples,
    book_samples_1h.mid_last AS mid,
    book_samples_1h.mid_min,
    book_samples_1h.mid_max,
    (book_samples_1h.mid_sum / (NULLIF(book_samples_1h.mid_count, 0))::double precision) AS mid_avg,
    book_samples_1h.gaps_last AS gaps,
    book_samples_1h.verdict_last AS verdict,
    book_samples_1h.crossed_last AS crossed
   FROM book_samples_1h;

CREATE UNIQUE INDEX book_samples_1h_rolled_venue_instrument_time_recorder_idx ON book_samples_1h_rolled USING btree (venue, instrument, "time", recorder);

CREATE INDEX book_samples_1h_rolled_time_idx ON book_samples_1h_rolled USING btree ("time");

CREATE UNIQUE INDEX book_samples_1m_rolled_venue_instrument_time_recorder_idx ON book_samples_1m_rolled USING btree (venue, instrument, "time", recorder);

CREATE INDEX book_samples_1m_rolled_time_idx ON book_samples_1m_rolled USING btree ("time");

CREATE UNIQUE INDEX book_samples_1s_rolled_venue_instrument_time_recorder_idx ON book_samples_1s_rolled USING btree (venue, instrument, "time", recorder);

CREATE INDEX book_samples_1s_rolled_time_idx ON book_samples_1s_rolled USING btree ("time");

CREATE INDEX book_samples_time ON book_samples USING btree ("time");

CREATE INDEX book_samples_key ON book_samples USING btree (venue, instrument, "time" DESC);

CREATE INDEX book_samples_dirty_buckets_i ON book_samples_dirty_buckets USING btree (width_seconds, "time");

CREATE TRIGGER dirty_delete AFTER DELETE ON book_samples REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION book_samples_record_dirty_buckets();

CREATE TRIGGER dirty_insert AFTER INSERT ON book_samples REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION book_samples_record_dirty_buckets();

CREATE TRIGGER dirty_update_new AFTER UPDATE ON book_samples REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION book_samples_record_dirty_buckets();

CREATE TRIGGER dirty_update_old AFTER UPDATE ON book_samples REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION book_samples_record_dirty_buckets();

INSERT INTO tier_state (table_name) VALUES ('book_samples');
