-- Halts of the desk, of strategies and of instruments, which last until a person resumes.

CREATE TABLE halts (
    time timestamptz NOT NULL,
    halt_id text COLLATE "C" PRIMARY KEY,
    recorder text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL CHECK (scope IN ('desk', 'strategy', 'instrument')),
    strategy text COLLATE "C",
    venue text COLLATE "C",
    instrument text COLLATE "C",
    origin text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    since_ns bigint NOT NULL,
    resumed_ns bigint,
    resumed_by text COLLATE "C",
    resume_reason text,
    CHECK ((scope = 'strategy') = (strategy IS NOT NULL)),
    CHECK ((scope = 'instrument') = (instrument IS NOT NULL))
);
CREATE UNIQUE INDEX halts_active ON halts (
    recorder, scope, coalesce(strategy, ''), coalesce(venue, ''), coalesce(instrument, '')
) WHERE resumed_ns IS NULL;
CREATE INDEX halts_time ON halts (since_ns, halt_id);

COMMENT ON TABLE halts IS 'Halts, each from its begin until a person resumed.';
COMMENT ON COLUMN halts.time IS 'When it began.';
COMMENT ON COLUMN halts.halt_id IS 'Identifies the halt.';
COMMENT ON COLUMN halts.recorder IS 'The recorder whose order requests it stops.';
COMMENT ON COLUMN halts.scope IS 'desk, strategy or instrument.';
COMMENT ON COLUMN halts.strategy IS 'The strategy that is halted.';
COMMENT ON COLUMN halts.venue IS 'The venue of the instrument; null: every venue.';
COMMENT ON COLUMN halts.instrument IS 'The instrument that is halted.';
COMMENT ON COLUMN halts.origin IS 'person, limit or alert.';
COMMENT ON COLUMN halts.actor IS 'Name of the key; local without one; recorder for limits and alerts.';
COMMENT ON COLUMN halts.reason IS 'Why it is halted.';
COMMENT ON COLUMN halts.since_ns IS 'When it began, in nanoseconds.';
COMMENT ON COLUMN halts.resumed_ns IS 'When a person resumed, in nanoseconds; null: it lasts.';
COMMENT ON COLUMN halts.resumed_by IS 'Who resumed.';
COMMENT ON COLUMN halts.resume_reason IS 'Why it was resumed.';

CREATE INDEX order_requests_open ON order_requests (recorder, strategy)
    WHERE state IN ('queued', 'taken', 'working', 'unresolved');
