-- Days that `decahertz archive` has written to files.

CREATE TABLE archive_files (
    time timestamptz NOT NULL DEFAULT now(),
    table_name text COLLATE "C" NOT NULL,
    day date NOT NULL,
    part integer NOT NULL,
    destination text COLLATE "C" NOT NULL,
    file text,
    rows bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    sha256 text,
    verified_at timestamptz,
    is_changed boolean NOT NULL DEFAULT false,
    dropped_at timestamptz,
    PRIMARY KEY (table_name, day, part, destination)
);
COMMENT ON TABLE archive_files IS 'Days that were written to an archive, one row for each destination.';
COMMENT ON COLUMN archive_files.time IS 'When writing began.';
COMMENT ON COLUMN archive_files.table_name IS 'The table.';
COMMENT ON COLUMN archive_files.day IS 'The day, UTC.';
COMMENT ON COLUMN archive_files.part IS '0; above that: rows that arrived after retention had dropped the day.';
COMMENT ON COLUMN archive_files.destination IS 'The folder or bucket.';
COMMENT ON COLUMN archive_files.file IS 'Path of the file in it; null: the day has no rows.';
COMMENT ON COLUMN archive_files.rows IS 'Rows of the file.';
COMMENT ON COLUMN archive_files.bytes IS 'Size of the file.';
COMMENT ON COLUMN archive_files.sha256 IS 'Checksum of the file, in hexadecimal digits.';
COMMENT ON COLUMN archive_files.verified_at IS 'When the file was read back; null: it is being written.';
COMMENT ON COLUMN archive_files.is_changed IS 'Whether rows of the day changed afterwards, so that the file is out of date.';
COMMENT ON COLUMN archive_files.dropped_at IS 'When retention dropped the rows.';

-- Only ever inserted by writers, so that none waits for another.
CREATE TABLE archive_changes (
    time timestamptz NOT NULL DEFAULT now(),
    table_name text COLLATE "C" NOT NULL,
    day date NOT NULL
);
CREATE INDEX ON archive_changes (table_name, day);
COMMENT ON TABLE archive_changes IS 'Archived days whose rows changed, until the archive has seen it.';
COMMENT ON COLUMN archive_changes.time IS 'When the transaction of the change began.';
COMMENT ON COLUMN archive_changes.table_name IS 'The table.';
COMMENT ON COLUMN archive_changes.day IS 'The day, UTC.';
