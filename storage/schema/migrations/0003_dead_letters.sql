-- What the database did not take, with the reason; and what became of batches that a spool sends again.

CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time timestamptz NOT NULL DEFAULT now(),
    stream text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    kind text COLLATE "C" NOT NULL,
    rows bigint NOT NULL DEFAULT 1,
    time_ns bigint,
    received_ns bigint,
    source text COLLATE "C",
    epoch bigint,
    sequence bigint,
    batch_id uuid NOT NULL,
    payload bytea NOT NULL
);
COMMENT ON TABLE dead_letters IS
    'Events and samples that no table took. "decahertz dead-letters" lists them and stores them again.';
COMMENT ON COLUMN dead_letters.time IS 'When it was put here.';
COMMENT ON COLUMN dead_letters.stream IS 'In the loss ledger: samples:{collector} or events:{source}.';
COMMENT ON COLUMN dead_letters.kind IS
    'event: one event; sample: one sample; entry: a whole entry of the spool that could not be read.';
COMMENT ON COLUMN dead_letters.time_ns IS 'Of the event, or the instant of the sample.';
COMMENT ON COLUMN dead_letters.payload IS
    'MessagePack: of an event as it came in, of a sample its fields by name, of an entry what the spool had.';
CREATE INDEX dead_letters_stream ON dead_letters (stream, id);

ALTER TABLE stored_batches
    ADD COLUMN dead_letters bigint NOT NULL DEFAULT 0,
    ADD COLUMN duplicates bigint NOT NULL DEFAULT 0;
COMMENT ON TABLE stored_batches IS
    'Batches that may come again from a spool. A row goes when the spool has deleted its batch.';
COMMENT ON COLUMN stored_batches.dead_letters IS 'Rows of the batch that went to the dead letters.';
COMMENT ON COLUMN stored_batches.duplicates IS 'Events of the batch that had been stored before.';
