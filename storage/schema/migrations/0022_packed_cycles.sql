-- Packed samples: the cycles of the minutes that have any. Plain PostgreSQL only; empty on TimescaleDB.

CREATE TABLE packed_cycles (
    time timestamptz NOT NULL,
    minute timestamptz NOT NULL,
    slot smallint NOT NULL
) PARTITION BY RANGE (time);

CREATE UNIQUE INDEX ON packed_cycles (time);

COMMENT ON TABLE packed_cycles IS 'Cycles of the minutes that have packed samples; the views of samples look them up.';
COMMENT ON COLUMN packed_cycles.time IS 'The cycle: a multiple of 100 ms, UTC.';
COMMENT ON COLUMN packed_cycles.minute IS 'Start of its minute.';
COMMENT ON COLUMN packed_cycles.slot IS 'Its number in the minute, from 1.';
