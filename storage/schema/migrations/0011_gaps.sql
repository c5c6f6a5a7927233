-- The gap ledger: messages of a venue that were missed.

CREATE TABLE gaps (
    time timestamptz NOT NULL,
    recorder text COLLATE "C" NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    numbering text COLLATE "C" NOT NULL,
    from_sequence bigint,
    to_sequence bigint,
    from_ns bigint,
    to_ns bigint,
    missing bigint NOT NULL,
    recovered boolean NOT NULL,
    announced boolean NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    event_number bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE gaps IS
    'The gap ledger: messages that were missed, by the numbers of the venue; a closed gap has a second row.';
COMMENT ON COLUMN gaps.venue IS 'The venue.';
COMMENT ON COLUMN gaps.instrument IS 'The instrument, by the venue''s symbol.';
COMMENT ON COLUMN gaps.numbering IS 'The messages that are numbered: ticks, quotes.';
COMMENT ON COLUMN gaps.from_sequence IS 'First missing number; null: not known.';
COMMENT ON COLUMN gaps.to_sequence IS 'Last missing number; null: not known.';
COMMENT ON COLUMN gaps.from_ns IS 'Time of the newest message before the gap; null: none, or not known.';
COMMENT ON COLUMN gaps.to_ns IS 'Time of the message that revealed the gap.';
COMMENT ON COLUMN gaps.missing IS 'Messages that were missed; 0 once all have arrived late.';
COMMENT ON COLUMN gaps.recovered IS 'Whether all of them have arrived late.';
COMMENT ON COLUMN gaps.announced IS 'Whether a heartbeat of the venue revealed it, and no later message.';
COMMENT ON COLUMN gaps.time IS 'time_ns, rounded down to the microsecond.';
COMMENT ON COLUMN gaps.recorder IS 'The recorder that stored the row.';
COMMENT ON COLUMN gaps.time_ns IS 'When the gap was found or closed, by the clock of the venue.';
COMMENT ON COLUMN gaps.received_ns IS 'When it reached the recorder, by its clock.';
COMMENT ON COLUMN gaps.source IS 'The process that emitted the event.';
COMMENT ON COLUMN gaps.epoch IS 'When that process started, in nanoseconds.';
COMMENT ON COLUMN gaps.sequence IS 'The number of the event since that start.';
COMMENT ON COLUMN gaps.event_number IS
    'Its place among the events of the recorder, in the order in which they became durable; 0: imported.';
CREATE INDEX gaps_time ON gaps (time);
CREATE INDEX gaps_received ON gaps (received_ns);
CREATE INDEX gaps_number ON gaps (event_number);
CREATE INDEX gaps_newest ON gaps (time_ns, source, epoch, sequence);
CREATE INDEX gaps_instrument ON gaps (instrument, time_ns);
