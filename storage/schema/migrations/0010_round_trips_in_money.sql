-- Round trips by account and in two currencies, and checkpoints from which late fills are folded.

ALTER TABLE trades
    ADD COLUMN account text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN currency text COLLATE "C",
    ADD COLUMN settled_fees double precision,
    ADD COLUMN settled_pnl double precision,
    ADD COLUMN multiplier double precision,
    ADD COLUMN reason text COLLATE "C",
    ALTER COLUMN fees DROP NOT NULL,
    ALTER COLUMN pnl DROP NOT NULL;
UPDATE trades SET settled_fees = fees, settled_pnl = pnl;
COMMENT ON COLUMN trades.account IS 'The account; empty for the only one.';
COMMENT ON COLUMN trades.entry_price IS
    'Average price of the opening fills, by quantity; of an inverse contract, by value.';
COMMENT ON COLUMN trades.exit_price IS 'Average price of the closing fills.';
COMMENT ON COLUMN trades.fees IS 'Fees in the account currency; null: a rate is missing.';
COMMENT ON COLUMN trades.pnl IS 'Profit and loss in the account currency, after fees; null: a rate is missing.';
COMMENT ON COLUMN trades.currency IS
    'Settlement currency; null: the instrument has none, and its amounts are in the account currency.';
COMMENT ON COLUMN trades.settled_fees IS 'Fees in the settlement currency.';
COMMENT ON COLUMN trades.settled_pnl IS 'Profit and loss in the settlement currency, after fees.';
COMMENT ON COLUMN trades.multiplier IS
    'Units of the underlying per unit of quantity; null: no definition was known, counted one to one.';
COMMENT ON COLUMN trades.risk IS 'Initial risk in the account currency: the first that an opening fill states.';
COMMENT ON COLUMN trades.reason IS 'Why pnl is not known.';

ALTER TABLE open_round_trips
    ADD COLUMN account text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN uncovered_fills bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT open_round_trips_pkey,
    ADD PRIMARY KEY (recorder, strategy, account, venue, instrument);
COMMENT ON COLUMN open_round_trips.account IS 'The account; empty for the only one.';
COMMENT ON COLUMN open_round_trips.uncovered_fills IS 'Fills since the last row of round_trip_checkpoints.';

CREATE TABLE round_trip_checkpoints (
    time timestamptz NOT NULL,
    recorder text COLLATE "C" NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    account text COLLATE "C" NOT NULL,
    state bytea NOT NULL,
    last_ns bigint NOT NULL,
    last_source text COLLATE "C" NOT NULL,
    last_epoch bigint NOT NULL,
    last_sequence bigint NOT NULL,
    PRIMARY KEY (recorder, strategy, account, venue, instrument, last_ns, last_source, last_epoch, last_sequence)
);
COMMENT ON TABLE round_trip_checkpoints IS
    'Open round trips after every 256 fills: from the newest before a late fill, trades are derived again.';
COMMENT ON COLUMN round_trip_checkpoints.time IS 'Time of the newest fill included.';
COMMENT ON COLUMN round_trip_checkpoints.recorder IS 'The recorder that stored the row.';
COMMENT ON COLUMN round_trip_checkpoints.strategy IS 'The strategy.';
COMMENT ON COLUMN round_trip_checkpoints.venue IS 'The venue.';
COMMENT ON COLUMN round_trip_checkpoints.instrument IS 'The instrument, by the venue''s symbol.';
COMMENT ON COLUMN round_trip_checkpoints.account IS 'The account; empty for the only one.';
COMMENT ON COLUMN round_trip_checkpoints.state IS
    'The open round trip as the program keeps it (MessagePack).';
COMMENT ON COLUMN round_trip_checkpoints.last_ns IS 'Time of the newest fill included, in nanoseconds.';
COMMENT ON COLUMN round_trip_checkpoints.last_source IS 'Source of the newest fill included.';
COMMENT ON COLUMN round_trip_checkpoints.last_epoch IS 'Epoch of the newest fill included.';
COMMENT ON COLUMN round_trip_checkpoints.last_sequence IS 'Sequence of the newest fill included.';
