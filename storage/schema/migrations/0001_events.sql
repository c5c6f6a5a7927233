-- Events, and what is derived from them. One table for each event type.
--
-- Every event table ends with the same columns: time_ns (exact; "time" is the same rounded down to the
-- microsecond, for people and for Grafana), received_ns, and the identity (source, epoch, sequence).
-- An event is stored once because the numbers stored of its emitter are kept in "emitters" and changed
-- in the same transaction; that needs no unique index on tables that grow without end.
-- Names have the collation "C": they are compared as bytes, as the program compares them.

CREATE TABLE quotes (
    time timestamptz NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    bid double precision,
    ask double precision,
    bid_size double precision,
    ask_size double precision,
    venue_sequence bigint,
    missed bigint NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);
COMMENT ON TABLE quotes IS 'Best bid and ask, as the venue published them; an empty side is null.';
COMMENT ON COLUMN quotes.venue_sequence IS 'The venue''s own number of this message.';
COMMENT ON COLUMN quotes.missed IS 'Numbered messages never received just before this one.';
CREATE INDEX quotes_instrument ON quotes (venue, instrument, time_ns);
CREATE INDEX quotes_time ON quotes USING brin (time);
CREATE INDEX quotes_received ON quotes USING brin (received_ns);

CREATE TABLE ticks (
    time timestamptz NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    price double precision NOT NULL,
    size double precision NOT NULL,
    side text,
    trade_id text,
    venue_sequence bigint,
    missed bigint NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);
COMMENT ON TABLE ticks IS 'Prints: the trades on the market, of all participants.';
COMMENT ON COLUMN ticks.side IS 'Of the aggressor: buy or sell.';
COMMENT ON COLUMN ticks.venue_sequence IS 'The venue''s own number of this message.';
COMMENT ON COLUMN ticks.missed IS 'Numbered messages never received just before this one.';
CREATE INDEX ticks_instrument ON ticks (venue, instrument, time_ns);
CREATE INDEX ticks_time ON ticks USING brin (time);
CREATE INDEX ticks_received ON ticks USING brin (received_ns);

CREATE TABLE signals (
    time timestamptz NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    signal_id text NOT NULL,
    direction text NOT NULL,
    strength double precision,
    price double precision,
    risk double precision,
    reason text,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);
COMMENT ON TABLE signals IS 'What strategies wished for, before any order.';
COMMENT ON COLUMN signals.price IS 'The market when the strategy decided.';
COMMENT ON COLUMN signals.risk IS 'Money at risk if the trade goes to its stop.';
CREATE INDEX signals_time ON signals (time);
CREATE INDEX signals_received ON signals (received_ns);
CREATE INDEX signals_strategy ON signals (strategy, venue, instrument, time_ns);

CREATE TABLE order_events (
    time timestamptz NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    state text NOT NULL,
    side text NOT NULL,
    quantity double precision NOT NULL,
    filled_quantity double precision,
    price double precision,
    arrival_price double precision,
    order_type text,
    signal_id text,
    reason text,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);
COMMENT ON TABLE order_events IS 'Every change in the life of every order. What is true now: table orders.';
COMMENT ON COLUMN order_events.price IS 'Limit price, where there is one.';
COMMENT ON COLUMN order_events.arrival_price IS 'Mid of the market when the order was submitted.';
CREATE INDEX order_events_time ON order_events (time);
CREATE INDEX order_events_received ON order_events (received_ns);
CREATE INDEX order_events_order ON order_events (order_id, time_ns);

CREATE TABLE orders (
    strategy text COLLATE "C" NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    state text NOT NULL,
    is_final boolean NOT NULL,
    side text NOT NULL,
    quantity double precision NOT NULL,
    filled_quantity double precision,
    price double precision,
    arrival_price double precision,
    order_type text,
    signal_id text,
    reason text,
    time timestamptz NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (strategy, venue, instrument, order_id)
);
COMMENT ON TABLE orders IS
    'Every order as it is now: its newest change, in whatever order the changes arrived. A final state stays.';
CREATE INDEX orders_time ON orders (time);
CREATE INDEX orders_open ON orders (strategy, venue, instrument) WHERE NOT is_final;

CREATE TABLE fills (
    time timestamptz NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    fill_id text COLLATE "C" NOT NULL,
    side text NOT NULL,
    price double precision NOT NULL,
    quantity double precision NOT NULL,
    fee double precision NOT NULL,
    liquidity text,
    risk double precision,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);
COMMENT ON TABLE fills IS 'Executions of orders, whole or in part, as often as they were reported.';
COMMENT ON COLUMN fills.fee IS 'Money paid; negative: a rebate.';
COMMENT ON COLUMN fills.risk IS 'Money at risk of the trade that this fill opens.';
CREATE INDEX fills_time ON fills (time);
CREATE INDEX fills_received ON fills (received_ns);
CREATE INDEX fills_newest ON fills (time_ns, source, epoch, sequence);
CREATE INDEX fills_round_trip ON fills (strategy, venue, instrument, time_ns, source, epoch, sequence);
CREATE INDEX fills_order ON fills (order_id, fill_id);

CREATE TABLE positions (
    time timestamptz NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    quantity double precision NOT NULL,
    average_price double precision,
    mark_price double precision,
    held_by text NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);
COMMENT ON TABLE positions IS 'What strategies hold, as they report it; negative when short.';
CREATE INDEX positions_time ON positions (time);
CREATE INDEX positions_received ON positions (received_ns);
CREATE INDEX positions_strategy ON positions (strategy, venue, instrument, time_ns);

CREATE TABLE equity (
    time timestamptz NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    equity double precision NOT NULL,
    cash double precision,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);
COMMENT ON TABLE equity IS 'The worth of a strategy''s account, marked to market, in money.';
CREATE INDEX equity_time ON equity (time);
CREATE INDEX equity_received ON equity (received_ns);
CREATE INDEX equity_strategy ON equity (strategy, time_ns);

CREATE TABLE regimes (
    time timestamptz NOT NULL,
    regime text NOT NULL,
    strategy text COLLATE "C",
    confidence double precision,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);
COMMENT ON TABLE regimes IS 'The market regime that a strategy (null: the desk) believes in.';
CREATE INDEX regimes_time ON regimes (time);
CREATE INDEX regimes_received ON regimes (received_ns);

CREATE TABLE risks (
    time timestamptz NOT NULL,
    name text COLLATE "C" NOT NULL,
    value double precision NOT NULL,
    limit_value double precision,
    strategy text COLLATE "C",
    breached boolean NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);
COMMENT ON TABLE risks IS 'Risk measures beside their limits.';
CREATE INDEX risks_time ON risks (time);
CREATE INDEX risks_received ON risks (received_ns);

CREATE TABLE news (
    time timestamptz NOT NULL,
    headline text NOT NULL,
    publisher text,
    instruments text[] NOT NULL,
    sentiment double precision,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);
COMMENT ON TABLE news IS 'Headlines. Sentiment runs from -1 (bad) to 1 (good).';
CREATE INDEX news_time ON news (time);
CREATE INDEX news_received ON news (received_ns);

CREATE TABLE logs (
    time timestamptz NOT NULL,
    component text COLLATE "C" NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);
COMMENT ON TABLE logs IS 'Lines that components of the trading system logged.';
CREATE INDEX logs_time ON logs (time);
CREATE INDEX logs_received ON logs USING brin (received_ns);

CREATE TABLE heartbeats (
    time timestamptz NOT NULL,
    component text COLLATE "C" NOT NULL,
    connection text NOT NULL,
    venue text COLLATE "C",
    instrument text COLLATE "C",
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);
COMMENT ON TABLE heartbeats IS 'Signs of life of feeds and components.';
CREATE INDEX heartbeats_time ON heartbeats USING brin (time);
CREATE INDEX heartbeats_received ON heartbeats USING brin (received_ns);

CREATE TABLE instruments (
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    first_ns bigint NOT NULL,
    last_ns bigint NOT NULL,
    PRIMARY KEY (venue, instrument)
);
COMMENT ON TABLE instruments IS
    'Instruments seen in quotes and ticks. last_ns is a few seconds behind while the instrument is active.';

CREATE TABLE trades (
    trade_id text COLLATE "C" NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    side text NOT NULL,
    quantity double precision NOT NULL,
    opened timestamptz NOT NULL,
    closed timestamptz NOT NULL,
    entry_price double precision NOT NULL,
    exit_price double precision NOT NULL,
    fees double precision NOT NULL,
    pnl double precision NOT NULL,
    risk double precision,
    r_multiple double precision,
    fills bigint NOT NULL,
    opened_ns bigint NOT NULL,
    closed_ns bigint NOT NULL,
    closed_source text COLLATE "C" NOT NULL,
    closed_epoch bigint NOT NULL,
    closed_sequence bigint NOT NULL,
    closed_flat boolean NOT NULL
);
COMMENT ON TABLE trades IS 'Finished round trips from flat to flat, derived from the fills (each execution once) and kept in step.';
COMMENT ON COLUMN trades.side IS 'Of the opening fill: buy is a long trade.';
COMMENT ON COLUMN trades.pnl IS 'Money, after fees.';
COMMENT ON COLUMN trades.closed_flat IS 'Whether the closing fill left no position; if not, it opened the next trade.';
CREATE INDEX trades_newest ON trades (closed_ns, closed_source, closed_epoch, closed_sequence);
CREATE INDEX trades_round_trip
    ON trades (strategy, venue, instrument, closed_ns, closed_source, closed_epoch, closed_sequence);
CREATE INDEX trades_closed ON trades (closed);

CREATE TABLE round_trips (
    strategy text COLLATE "C" NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    position double precision NOT NULL DEFAULT 0,
    state bytea NOT NULL DEFAULT '',
    last_ns bigint NOT NULL DEFAULT 0,
    last_source text COLLATE "C" NOT NULL DEFAULT '',
    last_epoch bigint NOT NULL DEFAULT 0,
    last_sequence bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (strategy, venue, instrument)
);
COMMENT ON TABLE round_trips IS
    'Where the derivation of trades stands: what is open, and the newest fill that went into it.';
COMMENT ON COLUMN round_trips.state IS 'The open round trip as the program keeps it (MessagePack); empty: none.';

CREATE TABLE emitters (
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequences int8multirange NOT NULL DEFAULT '{}',
    PRIMARY KEY (source, epoch)
);
COMMENT ON TABLE emitters IS 'Which events of each emitter are stored.';

CREATE TABLE emitter_drops (
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    reason text COLLATE "C" NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (source, epoch, reason)
);
COMMENT ON TABLE emitter_drops IS 'Events that emitters lost before they were sent, as they said themselves.';

CREATE TABLE stored_batches (
    batch_id uuid PRIMARY KEY,
    stored_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE stored_batches IS
    'Transactions that the writer may not know to have succeeded. A row goes when the writer knows.';
