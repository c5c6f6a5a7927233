-- Round trips after very late fills are derived again in parts: how far they are.

ALTER TABLE open_round_trips
    ADD COLUMN behind boolean NOT NULL DEFAULT false,
    ADD COLUMN changed_ns bigint,
    ADD COLUMN changed_source text COLLATE "C",
    ADD COLUMN changed_epoch bigint,
    ADD COLUMN changed_sequence bigint;
COMMENT ON COLUMN open_round_trips.behind IS 'Whether fills after the newest one included are stored already.';
COMMENT ON COLUMN open_round_trips.changed_ns IS
    'Time of the first fill that differs from what is included, in nanoseconds; null: none does.';
COMMENT ON COLUMN open_round_trips.changed_source IS 'Source of that fill.';
COMMENT ON COLUMN open_round_trips.changed_epoch IS 'Epoch of that fill.';
COMMENT ON COLUMN open_round_trips.changed_sequence IS 'Sequence of that fill.';
CREATE INDEX open_round_trips_due ON open_round_trips (recorder, last_ns)
    WHERE behind OR changed_ns IS NOT NULL;
