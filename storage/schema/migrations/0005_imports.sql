-- Files that were imported: to list them, and to take one back.

CREATE TABLE imports (
    time timestamptz NOT NULL DEFAULT now(),
    recorder text COLLATE "C" NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    epoch bigint NOT NULL,
    file text NOT NULL,
    reading text NOT NULL,
    first_ns bigint,
    last_ns bigint,
    lines bigint NOT NULL DEFAULT 0,
    stored bigint NOT NULL DEFAULT 0,
    already_there bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    without_events bigint NOT NULL DEFAULT 0,
    finished_at timestamptz,
    undone_at timestamptz
);
COMMENT ON TABLE imports IS
    'Files that were imported. Their rows have the source import-ID and its epoch.';
COMMENT ON COLUMN imports.time IS 'When the import began.';
COMMENT ON COLUMN imports.recorder IS 'The recorder under whose name the rows are stored.';
COMMENT ON COLUMN imports.id IS 'Number of the import; the source of its rows is import-ID.';
COMMENT ON COLUMN imports.epoch IS 'The epoch of its rows.';
COMMENT ON COLUMN imports.file IS 'The file.';
COMMENT ON COLUMN imports.reading IS 'What the file was taken for.';
COMMENT ON COLUMN imports.first_ns IS 'Time of its first event, in nanoseconds; null without one.';
COMMENT ON COLUMN imports.last_ns IS 'Time of its last event, in nanoseconds; null without one.';
COMMENT ON COLUMN imports.lines IS 'Lines read; the four counts that follow add up to it.';
COMMENT ON COLUMN imports.stored IS 'Lines whose events were stored.';
COMMENT ON COLUMN imports.already_there IS 'Lines whose events the database had already.';
COMMENT ON COLUMN imports.refused IS 'Lines that were not understood, or that the database refused.';
COMMENT ON COLUMN imports.without_events IS 'Lines that hold no event: headers, heartbeats, empty lines.';
COMMENT ON COLUMN imports.finished_at IS 'When the import finished; null when it is running or was interrupted.';
COMMENT ON COLUMN imports.undone_at IS 'When the import was taken back; null when it was not.';
