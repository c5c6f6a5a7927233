-- Sizes of the database over the last days, and what storage.max_bytes has dropped.

CREATE TABLE database_sizes (
    time timestamptz PRIMARY KEY,
    bytes bigint NOT NULL
);
COMMENT ON TABLE database_sizes IS 'Size of the database every ten minutes, for the last days.';
COMMENT ON COLUMN database_sizes.time IS 'When it was read.';
COMMENT ON COLUMN database_sizes.bytes IS 'Size of the database with all indexes.';

CREATE TABLE expired_rows (
    time timestamptz NOT NULL DEFAULT now(),
    recorder text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    rows bigint NOT NULL,
    PRIMARY KEY (recorder, stream)
);
COMMENT ON TABLE expired_rows IS 'Rows that were dropped before their retention because of storage.max_bytes.';
COMMENT ON COLUMN expired_rows.time IS 'When rows of the stream were dropped last.';
COMMENT ON COLUMN expired_rows.recorder IS 'The recorder that had stored them.';
COMMENT ON COLUMN expired_rows.stream IS 'Their stream in the ledger: samples:COLLECTOR or events:SOURCE.';
COMMENT ON COLUMN expired_rows.rows IS 'Their number since the first one.';
