-- Packed rows of the 1s tier: the seconds of the spans that have any. Plain PostgreSQL only; empty on TimescaleDB.

CREATE TABLE packed_seconds (
    time timestamptz NOT NULL,
    span timestamptz NOT NULL,
    slot smallint NOT NULL
) PARTITION BY RANGE (time);

CREATE UNIQUE INDEX ON packed_seconds (time);

COMMENT ON TABLE packed_seconds IS 'Seconds of the spans that have packed rows of a 1s tier; the views of these tiers look them up.';
COMMENT ON COLUMN packed_seconds.time IS 'The second, UTC.';
COMMENT ON COLUMN packed_seconds.span IS 'Start of its span of ten minutes.';
COMMENT ON COLUMN packed_seconds.slot IS 'Its number in the span, from 1.';
