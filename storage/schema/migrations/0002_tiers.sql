-- Tiers: what is kept beyond the raw samples.
--
-- From when on the raw rows of a table are kept. A row older than that changes no tier: the rows that its
-- bucket was made of are gone. Retention moves it in the transaction that drops them.

CREATE TABLE tier_state (
    table_name text COLLATE "C" PRIMARY KEY,
    raw_from timestamptz NOT NULL DEFAULT '-infinity'
);
COMMENT ON TABLE tier_state IS 'From when on the raw rows of a table are kept.';

-- A continuous aggregate of TimescaleDB cannot gain a column. A new metric makes a new generation of them;
-- each speaks for the time from its own start to that of the next.

CREATE TABLE tier_generations (
    table_name text COLLATE "C" NOT NULL,
    generation integer NOT NULL,
    valid_from timestamptz NOT NULL,
    is_filled boolean NOT NULL DEFAULT false,
    PRIMARY KEY (table_name, generation)
);
COMMENT ON TABLE tier_generations IS 'TimescaleDB: from when on which continuous aggregates are read.';
COMMENT ON COLUMN tier_generations.is_filled IS 'Whether the rows that were there before it are in it.';
