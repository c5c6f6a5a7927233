-- The tables whose columns do not derive from declarations. Sample tables and the tables of bulk events
-- (quotes, ticks) are created at the first start, in the form that the engine of the tiers needs.
--
-- "time" is a timestamptz for people and for Grafana: the matching nanoseconds, rounded down to the microsecond.
-- Names have the collation "C": they compare as bytes, as the program compares them.

-- Columns that many tables share. LIKE copies them with their comments; the tables themselves are dropped at the end.
CREATE TABLE event_head (
    time timestamptz NOT NULL,
    recorder text COLLATE "C" NOT NULL
);
COMMENT ON COLUMN event_head.time IS 'time_ns, rounded down to the microsecond.';
COMMENT ON COLUMN event_head.recorder IS 'The recorder that stored the row.';
CREATE TABLE strategy_key (
    strategy text COLLATE "C" NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL
);
COMMENT ON COLUMN strategy_key.strategy IS 'The strategy.';
COMMENT ON COLUMN strategy_key.venue IS 'The venue.';
COMMENT ON COLUMN strategy_key.instrument IS 'The instrument, by the venue''s symbol.';
CREATE TABLE event_identity (
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    event_number bigint DEFAULT 0 NOT NULL
);
COMMENT ON COLUMN event_identity.time_ns IS 'When it happened, by the clock of its origin.';
COMMENT ON COLUMN event_identity.received_ns IS 'When it reached the recorder, by its clock.';
COMMENT ON COLUMN event_identity.source IS 'The process that emitted the event.';
COMMENT ON COLUMN event_identity.epoch IS 'When that process started, in nanoseconds.';
COMMENT ON COLUMN event_identity.sequence IS 'The number of the event since that start.';
COMMENT ON COLUMN event_identity.event_number IS
    'Its place among the events of the recorder, in the order in which they became durable; 0: imported.';

CREATE TABLE signals (
    LIKE event_head INCLUDING COMMENTS,
    LIKE strategy_key INCLUDING COMMENTS,
    signal_id text COLLATE "C" NOT NULL,
    direction text COLLATE "C" NOT NULL,
    strength double precision,
    price double precision,
    risk double precision,
    reason text,
    LIKE event_identity INCLUDING COMMENTS INCLUDING DEFAULTS
);
COMMENT ON TABLE signals IS 'Trading signals of strategies, before any order.';
COMMENT ON COLUMN signals.signal_id IS 'The strategy''s own id of the signal.';
COMMENT ON COLUMN signals.direction IS 'buy, sell or flat.';
COMMENT ON COLUMN signals.strength IS 'Strength of the signal, on the strategy''s own scale.';
COMMENT ON COLUMN signals.price IS 'Decision price: the market when the strategy decided.';
COMMENT ON COLUMN signals.risk IS 'Money at risk if the trade goes to its stop: the R of the trade.';
COMMENT ON COLUMN signals.reason IS 'Why the strategy gave the signal.';
CREATE INDEX signals_time ON signals (time);
CREATE INDEX signals_received ON signals (received_ns);
CREATE INDEX signals_number ON signals (event_number);
CREATE INDEX signals_strategy ON signals (strategy, venue, instrument, time_ns);

CREATE TABLE order_events (
    LIKE event_head INCLUDING COMMENTS,
    LIKE strategy_key INCLUDING COMMENTS,
    order_id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    side text COLLATE "C" NOT NULL,
    quantity double precision NOT NULL,
    filled_quantity double precision,
    price double precision,
    arrival_price double precision,
    order_type text COLLATE "C",
    signal_id text COLLATE "C",
    reason text,
    LIKE event_identity INCLUDING COMMENTS INCLUDING DEFAULTS
);
COMMENT ON TABLE order_events IS
    'Every change in the life of every order; the table orders holds the current state.';
COMMENT ON COLUMN order_events.order_id IS 'The id of the order.';
COMMENT ON COLUMN order_events.state IS
    'submitted, accepted, partially_filled, filled, cancelled, rejected or expired.';
COMMENT ON COLUMN order_events.side IS 'buy or sell.';
COMMENT ON COLUMN order_events.quantity IS 'Quantity ordered.';
COMMENT ON COLUMN order_events.filled_quantity IS 'Quantity filled so far.';
COMMENT ON COLUMN order_events.price IS 'Limit price, where there is one.';
COMMENT ON COLUMN order_events.arrival_price IS 'Mid of the market when the order was submitted.';
COMMENT ON COLUMN order_events.order_type IS 'Order type as the strategy names it: limit, market, …';
COMMENT ON COLUMN order_events.signal_id IS 'The signal that led to the order.';
COMMENT ON COLUMN order_events.reason IS 'Why the order was rejected, cancelled or expired.';
CREATE INDEX order_events_time ON order_events (time);
CREATE INDEX order_events_received ON order_events (received_ns);
CREATE INDEX order_events_number ON order_events (event_number);
CREATE INDEX order_events_order ON order_events (order_id, time_ns);
CREATE INDEX order_events_rejected ON order_events (time) WHERE state = 'rejected';

CREATE TABLE orders (
    LIKE order_events INCLUDING COMMENTS,
    is_final boolean NOT NULL,
    created_ns bigint NOT NULL,
    created_source text COLLATE "C" NOT NULL,
    created_epoch bigint NOT NULL,
    created_sequence bigint NOT NULL,
    PRIMARY KEY (recorder, strategy, venue, instrument, order_id)
);
ALTER TABLE orders DROP COLUMN event_number; -- it belongs to a single change
COMMENT ON TABLE orders IS
    'The current state of every order: its newest change, in whatever order the changes arrive. A final state stays final.';
COMMENT ON COLUMN orders.time IS 'Time of the newest change.';
COMMENT ON COLUMN orders.is_final IS 'Whether the state is final: filled, cancelled, rejected or expired.';
COMMENT ON COLUMN orders.time_ns IS 'Time of the newest change, in nanoseconds.';
COMMENT ON COLUMN orders.received_ns IS 'When the newest change reached the recorder, by its clock.';
COMMENT ON COLUMN orders.source IS 'The process that emitted the newest change.';
COMMENT ON COLUMN orders.sequence IS 'The number of the newest change since that start.';
COMMENT ON COLUMN orders.created_ns IS 'Time of the first change that was stored, in nanoseconds.';
COMMENT ON COLUMN orders.created_source IS 'The process that emitted that change.';
COMMENT ON COLUMN orders.created_epoch IS 'When that process started, in nanoseconds.';
COMMENT ON COLUMN orders.created_sequence IS 'The number of that change since that start.';
CREATE INDEX orders_time ON orders (time);
CREATE INDEX orders_id ON orders (order_id);
CREATE INDEX orders_newest ON orders (created_ns, created_source, created_epoch, created_sequence);
CREATE INDEX orders_open ON orders (strategy, venue, instrument) WHERE NOT is_final;

CREATE TABLE fills (
    LIKE event_head INCLUDING COMMENTS,
    LIKE strategy_key INCLUDING COMMENTS,
    order_id text COLLATE "C" NOT NULL,
    fill_id text COLLATE "C" NOT NULL,
    side text COLLATE "C" NOT NULL,
    price double precision NOT NULL,
    quantity double precision NOT NULL,
    fee double precision NOT NULL,
    liquidity text COLLATE "C",
    risk double precision,
    LIKE event_identity INCLUDING COMMENTS INCLUDING DEFAULTS
);
COMMENT ON TABLE fills IS 'Fills of orders, whole or in part, as often as they were reported.';
COMMENT ON COLUMN fills.order_id IS 'The order that was filled.';
COMMENT ON COLUMN fills.fill_id IS 'The id of the fill within its order.';
COMMENT ON COLUMN fills.side IS 'buy or sell.';
COMMENT ON COLUMN fills.price IS 'Price of the fill.';
COMMENT ON COLUMN fills.quantity IS 'Quantity filled.';
COMMENT ON COLUMN fills.fee IS 'Fee in money; negative for a rebate.';
COMMENT ON COLUMN fills.liquidity IS 'maker or taker.';
COMMENT ON COLUMN fills.risk IS 'Money at risk of the round trip that this fill opens: its R.';
CREATE INDEX fills_time ON fills (time);
CREATE INDEX fills_received ON fills (received_ns);
CREATE INDEX fills_number ON fills (event_number);
CREATE INDEX fills_newest ON fills (time_ns, source, epoch, sequence);
CREATE INDEX fills_round_trip ON fills (strategy, venue, instrument, time_ns, source, epoch, sequence);
CREATE INDEX fills_order ON fills (order_id, fill_id);

CREATE TABLE positions (
    LIKE event_head INCLUDING COMMENTS,
    LIKE strategy_key INCLUDING COMMENTS,
    quantity double precision NOT NULL,
    average_price double precision,
    mark_price double precision,
    held_by text COLLATE "C" NOT NULL,
    LIKE event_identity INCLUDING COMMENTS INCLUDING DEFAULTS
);
COMMENT ON TABLE positions IS
    'Positions as strategies report them; the quantity is negative when short.';
COMMENT ON COLUMN positions.quantity IS 'Quantity held; negative when short.';
COMMENT ON COLUMN positions.average_price IS 'Average entry price.';
COMMENT ON COLUMN positions.mark_price IS 'Price that the strategy marks the position at.';
COMMENT ON COLUMN positions.held_by IS 'bot, manual or autonomous.';
CREATE INDEX positions_time ON positions (time);
CREATE INDEX positions_received ON positions (received_ns);
CREATE INDEX positions_number ON positions (event_number);
CREATE INDEX positions_strategy ON positions (strategy, venue, instrument, time_ns);

CREATE TABLE equity (
    LIKE event_head INCLUDING COMMENTS,
    strategy text COLLATE "C" NOT NULL,
    equity double precision NOT NULL,
    cash double precision,
    LIKE event_identity INCLUDING COMMENTS INCLUDING DEFAULTS
);
COMMENT ON TABLE equity IS 'Equity of strategies, marked to market, in money.';
COMMENT ON COLUMN equity.strategy IS 'The strategy.';
COMMENT ON COLUMN equity.equity IS 'Equity in money.';
COMMENT ON COLUMN equity.cash IS 'Cash in money.';
CREATE INDEX equity_time ON equity (time);
CREATE INDEX equity_received ON equity (received_ns);
CREATE INDEX equity_number ON equity (event_number);
CREATE INDEX equity_strategy ON equity (strategy, time_ns);

CREATE TABLE regimes (
    LIKE event_head INCLUDING COMMENTS,
    regime text COLLATE "C" NOT NULL,
    strategy text COLLATE "C",
    confidence double precision,
    LIKE event_identity INCLUDING COMMENTS INCLUDING DEFAULTS
);
COMMENT ON TABLE regimes IS 'The market regime that a strategy, or the desk, sees.';
COMMENT ON COLUMN regimes.regime IS 'Name of the regime.';
COMMENT ON COLUMN regimes.strategy IS 'The strategy; null for the whole desk.';
COMMENT ON COLUMN regimes.confidence IS 'Confidence from 0 to 1.';
CREATE INDEX regimes_time ON regimes (time);
CREATE INDEX regimes_strategy ON regimes (strategy, time_ns);
CREATE INDEX regimes_received ON regimes (received_ns);
CREATE INDEX regimes_number ON regimes (event_number);

CREATE TABLE risks (
    LIKE event_head INCLUDING COMMENTS,
    name text COLLATE "C" NOT NULL,
    value double precision NOT NULL,
    limit_value double precision,
    strategy text COLLATE "C",
    breached boolean NOT NULL,
    LIKE event_identity INCLUDING COMMENTS INCLUDING DEFAULTS
);
COMMENT ON TABLE risks IS 'Risk measures and their limits.';
COMMENT ON COLUMN risks.name IS 'Name of the risk measure.';
COMMENT ON COLUMN risks.value IS 'Value of the measure.';
COMMENT ON COLUMN risks.limit_value IS 'Limit of the measure.';
COMMENT ON COLUMN risks.strategy IS 'The strategy; null for the whole desk.';
COMMENT ON COLUMN risks.breached IS 'Whether the limit is breached.';
CREATE INDEX risks_time ON risks (time);
CREATE INDEX risks_strategy ON risks (strategy, time_ns);
CREATE INDEX risks_received ON risks (received_ns);
CREATE INDEX risks_number ON risks (event_number);

CREATE TABLE news (
    LIKE event_head INCLUDING COMMENTS,
    headline text NOT NULL,
    publisher text,
    instruments text[] NOT NULL,
    sentiment double precision,
    LIKE event_identity INCLUDING COMMENTS INCLUDING DEFAULTS
);
COMMENT ON TABLE news IS 'Headlines.';
COMMENT ON COLUMN news.headline IS 'The headline.';
COMMENT ON COLUMN news.publisher IS 'The publisher.';
COMMENT ON COLUMN news.instruments IS 'Instruments that the headline is about.';
COMMENT ON COLUMN news.sentiment IS 'Sentiment from -1 (bad) to 1 (good).';
CREATE INDEX news_time ON news (time);
CREATE INDEX news_received ON news (received_ns);
CREATE INDEX news_number ON news (event_number);

CREATE TABLE trades (
    LIKE event_head INCLUDING COMMENTS,
    trade_id text COLLATE "C" NOT NULL,
    LIKE strategy_key INCLUDING COMMENTS,
    side text COLLATE "C" NOT NULL,
    quantity double precision NOT NULL,
    opened_at timestamptz NOT NULL,
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
COMMENT ON TABLE trades IS
    'Finished round trips, from flat to flat, derived from the fills; a fill reported twice counts once.';
COMMENT ON COLUMN trades.time IS 'When the round trip closed.';
COMMENT ON COLUMN trades.trade_id IS 'Id of the round trip, derived from its opening fill.';
COMMENT ON COLUMN trades.side IS 'Side of the opening fill: buy is a long trade.';
COMMENT ON COLUMN trades.quantity IS 'Sum of all opening quantities.';
COMMENT ON COLUMN trades.opened_at IS 'When the round trip opened.';
COMMENT ON COLUMN trades.entry_price IS 'Quantity-weighted average price of the opening fills.';
COMMENT ON COLUMN trades.exit_price IS 'Quantity-weighted average price of the closing fills.';
COMMENT ON COLUMN trades.fees IS 'Fees in money.';
COMMENT ON COLUMN trades.pnl IS 'Profit and loss in money, after fees.';
COMMENT ON COLUMN trades.risk IS 'Money at risk at the opening, where the fills name it.';
COMMENT ON COLUMN trades.r_multiple IS 'pnl / risk.';
COMMENT ON COLUMN trades.fills IS 'Number of fills.';
COMMENT ON COLUMN trades.opened_ns IS 'When the round trip opened, in nanoseconds.';
COMMENT ON COLUMN trades.closed_ns IS 'When the round trip closed, in nanoseconds.';
COMMENT ON COLUMN trades.closed_source IS 'Source of the closing fill.';
COMMENT ON COLUMN trades.closed_epoch IS 'Epoch of the closing fill.';
COMMENT ON COLUMN trades.closed_sequence IS 'Sequence of the closing fill.';
COMMENT ON COLUMN trades.closed_flat IS
    'Whether the closing fill left no position; if not, it opened the next round trip.';
CREATE INDEX trades_time ON trades (time);
CREATE INDEX trades_id ON trades (trade_id);
CREATE INDEX trades_newest ON trades (closed_ns, closed_source, closed_epoch, closed_sequence);
CREATE INDEX trades_round_trip
    ON trades (strategy, venue, instrument, closed_ns, closed_source, closed_epoch, closed_sequence);

CREATE TABLE open_round_trips (
    time timestamptz NOT NULL DEFAULT 'epoch',
    recorder text COLLATE "C" NOT NULL,
    LIKE strategy_key INCLUDING COMMENTS,
    position double precision NOT NULL DEFAULT 0,
    state bytea NOT NULL DEFAULT '',
    last_ns bigint NOT NULL DEFAULT 0,
    last_source text COLLATE "C" NOT NULL DEFAULT '',
    last_epoch bigint NOT NULL DEFAULT 0,
    last_sequence bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (recorder, strategy, venue, instrument)
);
COMMENT ON TABLE open_round_trips IS
    'State from which trades are derived: one row per strategy and instrument that ever had a fill.';
COMMENT ON COLUMN open_round_trips.time IS 'Time of the newest fill included.';
COMMENT ON COLUMN open_round_trips.recorder IS 'The recorder that stored the row.';
COMMENT ON COLUMN open_round_trips.position IS
    'Position after the newest fill included; negative when short.';
COMMENT ON COLUMN open_round_trips.state IS
    'The open round trip as the program keeps it (MessagePack); empty for none.';
COMMENT ON COLUMN open_round_trips.last_ns IS 'Time of the newest fill included, in nanoseconds.';
COMMENT ON COLUMN open_round_trips.last_source IS 'Source of the newest fill included.';
COMMENT ON COLUMN open_round_trips.last_epoch IS 'Epoch of the newest fill included.';
COMMENT ON COLUMN open_round_trips.last_sequence IS 'Sequence of the newest fill included.';

CREATE TABLE instrument_events (
    LIKE event_head INCLUDING COMMENTS,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    base_currency text COLLATE "C",
    quote_currency text COLLATE "C",
    settlement_currency text COLLATE "C",
    multiplier double precision NOT NULL,
    inverse boolean NOT NULL,
    tick_size double precision,
    lot_size double precision,
    aliases text[] NOT NULL,
    LIKE event_identity INCLUDING COMMENTS INCLUDING DEFAULTS
);
COMMENT ON TABLE instrument_events IS
    'Every definition of every instrument; the table instruments holds the newest.';
COMMENT ON COLUMN instrument_events.venue IS 'The venue.';
COMMENT ON COLUMN instrument_events.instrument IS 'The instrument, by the venue''s symbol.';
COMMENT ON COLUMN instrument_events.kind IS 'spot, future, perpetual, option, fx or index.';
COMMENT ON COLUMN instrument_events.base_currency IS 'What one unit of quantity is made of: BTC of BTC-USD.';
COMMENT ON COLUMN instrument_events.quote_currency IS 'Currency of the price: USD of BTC-USD.';
COMMENT ON COLUMN instrument_events.settlement_currency IS 'Currency of P&L and margin; null: the quote currency.';
COMMENT ON COLUMN instrument_events.multiplier IS 'Units of the underlying per unit of quantity.';
COMMENT ON COLUMN instrument_events.inverse IS
    'Whether a contract is worth a fixed amount of the quote currency and settles in the base currency.';
COMMENT ON COLUMN instrument_events.tick_size IS 'Smallest price increment.';
COMMENT ON COLUMN instrument_events.lot_size IS 'Smallest quantity increment.';
COMMENT ON COLUMN instrument_events.aliases IS 'Other names of the instrument.';
CREATE INDEX instrument_events_time ON instrument_events (time);
CREATE INDEX instrument_events_received ON instrument_events (received_ns);
CREATE INDEX instrument_events_number ON instrument_events (event_number);
CREATE INDEX instrument_events_instrument ON instrument_events (venue, instrument, time_ns);

CREATE TABLE instruments (
    time timestamptz NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    first_ns bigint,
    last_ns bigint,
    kind text COLLATE "C",
    base_currency text COLLATE "C",
    quote_currency text COLLATE "C",
    settlement_currency text COLLATE "C",
    multiplier double precision,
    inverse boolean,
    tick_size double precision,
    lot_size double precision,
    aliases text[],
    defined_ns bigint,
    PRIMARY KEY (venue, instrument)
);
COMMENT ON TABLE instruments IS
    'Instruments seen in quotes and ticks, or defined; the definition is the newest one, null without one.';
COMMENT ON COLUMN instruments.time IS
    'When the instrument was last seen or defined; up to a few seconds behind.';
COMMENT ON COLUMN instruments.venue IS 'The venue.';
COMMENT ON COLUMN instruments.instrument IS 'The instrument, by the venue''s symbol.';
COMMENT ON COLUMN instruments.first_ns IS 'Time of the first quote or tick, in nanoseconds.';
COMMENT ON COLUMN instruments.last_ns IS
    'Time of the last quote or tick, in nanoseconds; up to a few seconds behind.';
COMMENT ON COLUMN instruments.kind IS 'spot, future, perpetual, option, fx or index.';
COMMENT ON COLUMN instruments.base_currency IS 'What one unit of quantity is made of: BTC of BTC-USD.';
COMMENT ON COLUMN instruments.quote_currency IS 'Currency of the price: USD of BTC-USD.';
COMMENT ON COLUMN instruments.settlement_currency IS 'Currency of P&L and margin; null: the quote currency.';
COMMENT ON COLUMN instruments.multiplier IS 'Units of the underlying per unit of quantity.';
COMMENT ON COLUMN instruments.inverse IS
    'Whether a contract is worth a fixed amount of the quote currency and settles in the base currency.';
COMMENT ON COLUMN instruments.tick_size IS 'Smallest price increment.';
COMMENT ON COLUMN instruments.lot_size IS 'Smallest quantity increment.';
COMMENT ON COLUMN instruments.aliases IS 'Other names of the instrument.';
COMMENT ON COLUMN instruments.defined_ns IS 'Time of the definition, in nanoseconds.';

CREATE TABLE alerts (
    time timestamptz NOT NULL,
    recorder text COLLATE "C" NOT NULL,
    id text COLLATE "C" PRIMARY KEY,
    fingerprint text COLLATE "C" NOT NULL,
    origin text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    severity text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    labels jsonb NOT NULL,
    summary text NOT NULL,
    description text NOT NULL,
    runbook_url text NOT NULL,
    starts_ns bigint NOT NULL,
    ends_ns bigint,
    updated_ns bigint NOT NULL,
    reported_ns bigint NOT NULL,
    value double precision,
    threshold double precision
);
COMMENT ON TABLE alerts IS 'Alerts of the watchdog and of Prometheus; one row for each time that one fired.';
COMMENT ON COLUMN alerts.time IS 'starts_ns, rounded down to the microsecond.';
COMMENT ON COLUMN alerts.recorder IS 'The recorder that the alert is about, or that received it.';
COMMENT ON COLUMN alerts.id IS 'The fingerprint and starts_ns.';
COMMENT ON COLUMN alerts.fingerprint IS 'Hash of the labels: the same each time that the alert fires.';
COMMENT ON COLUMN alerts.origin IS 'watchdog or prometheus.';
COMMENT ON COLUMN alerts.name IS 'Name of the alert: FeedStale.';
COMMENT ON COLUMN alerts.severity IS 'page or ticket, or as a rule of your own says.';
COMMENT ON COLUMN alerts.state IS 'firing or resolved.';
COMMENT ON COLUMN alerts.labels IS 'All labels of the alert.';
COMMENT ON COLUMN alerts.summary IS 'One line that names the thing and the figure.';
COMMENT ON COLUMN alerts.description IS 'More about it; can be empty.';
COMMENT ON COLUMN alerts.runbook_url IS 'Address of the page that says what to do; can be empty.';
COMMENT ON COLUMN alerts.starts_ns IS 'When it began to fire, in nanoseconds.';
COMMENT ON COLUMN alerts.ends_ns IS 'When it was resolved, in nanoseconds; null while it fires.';
COMMENT ON COLUMN alerts.updated_ns IS 'When the row last changed, in nanoseconds.';
COMMENT ON COLUMN alerts.reported_ns IS 'When it was last reported, changed or not, in nanoseconds.';
COMMENT ON COLUMN alerts.value IS 'The figure when it began to fire; null if it is not known.';
COMMENT ON COLUMN alerts.threshold IS 'The threshold at that time; null if there is none, or it is not known.';
CREATE INDEX alerts_time ON alerts (time);
CREATE INDEX alerts_newest ON alerts (starts_ns, id);
CREATE INDEX alerts_fingerprint ON alerts (fingerprint, starts_ns);
CREATE INDEX alerts_firing ON alerts (starts_ns) WHERE state = 'firing';

CREATE TABLE alert_acknowledgements (
    time timestamptz NOT NULL,
    recorder text COLLATE "C" NOT NULL,
    alert_id text COLLATE "C" NOT NULL,
    who text NOT NULL,
    comment text NOT NULL,
    time_ns bigint NOT NULL,
    until_ns bigint NOT NULL,
    silence_id text COLLATE "C",
    PRIMARY KEY (alert_id, time_ns)
);
COMMENT ON TABLE alert_acknowledgements IS
    'Who looks after an alert; the newest acknowledgement of an alert counts.';
COMMENT ON COLUMN alert_acknowledgements.time IS 'time_ns, rounded down to the microsecond.';
COMMENT ON COLUMN alert_acknowledgements.recorder IS 'The recorder that received it.';
COMMENT ON COLUMN alert_acknowledgements.alert_id IS 'The alert.';
COMMENT ON COLUMN alert_acknowledgements.who IS 'Who acknowledged the alert.';
COMMENT ON COLUMN alert_acknowledgements.comment IS 'What they do about it.';
COMMENT ON COLUMN alert_acknowledgements.time_ns IS 'When it was acknowledged, in nanoseconds.';
COMMENT ON COLUMN alert_acknowledgements.until_ns IS 'When the acknowledgement ends, in nanoseconds.';
COMMENT ON COLUMN alert_acknowledgements.silence_id IS 'Silence in Alertmanager; null without one.';

CREATE TABLE emitters (
    time timestamptz NOT NULL DEFAULT now(),
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequences int8multirange NOT NULL DEFAULT '{}',
    PRIMARY KEY (source, epoch)
);
COMMENT ON TABLE emitters IS
    'The events stored of each emitter, by which an event that is sent again is stored once.';
COMMENT ON COLUMN emitters.time IS 'When events of the emitter were last stored.';
COMMENT ON COLUMN emitters.source IS 'The process that emits the events.';
COMMENT ON COLUMN emitters.epoch IS 'When that process started, in nanoseconds.';
COMMENT ON COLUMN emitters.sequences IS 'Sequences of the events that are stored.';

CREATE TABLE emitter_drops (
    time timestamptz NOT NULL DEFAULT now(),
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    reason text COLLATE "C" NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (source, epoch, reason)
);
COMMENT ON TABLE emitter_drops IS
    'Events that emitters dropped before sending them, as they report it.';
COMMENT ON COLUMN emitter_drops.time IS 'When the emitter last reported a higher count.';
COMMENT ON COLUMN emitter_drops.source IS 'The process that emits the events.';
COMMENT ON COLUMN emitter_drops.epoch IS 'When that process started, in nanoseconds.';
COMMENT ON COLUMN emitter_drops.reason IS 'Why the emitter dropped them.';
COMMENT ON COLUMN emitter_drops.events IS 'Number of events dropped.';

CREATE TABLE stored_batches (
    time timestamptz NOT NULL DEFAULT now(),
    recorder text COLLATE "C" NOT NULL,
    batch_id uuid PRIMARY KEY,
    dead_letters bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    superseded bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE stored_batches IS
    'Batches that a spool may send again. The row goes once the spool has deleted its entry.';
COMMENT ON COLUMN stored_batches.time IS 'When the batch was stored.';
COMMENT ON COLUMN stored_batches.recorder IS 'The recorder that stored the row.';
COMMENT ON COLUMN stored_batches.batch_id IS 'Id of the spool entry.';
COMMENT ON COLUMN stored_batches.dead_letters IS 'Rows of the batch that became dead letters.';
COMMENT ON COLUMN stored_batches.duplicates IS 'Events of the batch that had been stored before.';
COMMENT ON COLUMN stored_batches.superseded IS
    'Samples of the batch whose keys and cycles another process of the recorder had stored.';
CREATE INDEX stored_batches_recorder ON stored_batches (recorder, time);

CREATE TABLE dead_letters (
    time timestamptz NOT NULL DEFAULT now(),
    recorder text COLLATE "C" NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    kind text COLLATE "C" NOT NULL,
    rows bigint NOT NULL DEFAULT 1,
    row_time_ns bigint,
    received_ns bigint,
    source text COLLATE "C",
    epoch bigint,
    sequence bigint,
    batch_id uuid NOT NULL,
    payload bytea NOT NULL
);
COMMENT ON TABLE dead_letters IS
    'Rows that the database refused. "decahertz dead-letters" lists them and stores them again.';
COMMENT ON COLUMN dead_letters.time IS 'When the row became a dead letter.';
COMMENT ON COLUMN dead_letters.recorder IS 'The recorder that stored the row.';
COMMENT ON COLUMN dead_letters.id IS 'Number of the dead letter.';
COMMENT ON COLUMN dead_letters.stream IS 'Its stream in the ledger: samples:{collector} or events:{source}.';
COMMENT ON COLUMN dead_letters.reason IS 'Why the database refused the row.';
COMMENT ON COLUMN dead_letters.kind IS
    'event, sample, or entry: a whole spool entry that could not be decoded.';
COMMENT ON COLUMN dead_letters.rows IS 'Number of rows: 1, or all rows of a spool entry.';
COMMENT ON COLUMN dead_letters.row_time_ns IS
    'Time of the event, or the cycle of the sample, in nanoseconds.';
COMMENT ON COLUMN dead_letters.received_ns IS 'When the event reached the recorder, by its clock.';
COMMENT ON COLUMN dead_letters.source IS 'The process that emitted the event.';
COMMENT ON COLUMN dead_letters.epoch IS 'When that process started, in nanoseconds.';
COMMENT ON COLUMN dead_letters.sequence IS 'The number of the event since that start.';
COMMENT ON COLUMN dead_letters.batch_id IS 'Id of the spool entry.';
COMMENT ON COLUMN dead_letters.payload IS
    'MessagePack: the event, the sample''s fields by name, or the bytes of the spool entry.';
CREATE INDEX dead_letters_stream ON dead_letters (stream, id);

CREATE TABLE recorders (
    time timestamptz NOT NULL,
    recorder text COLLATE "C" PRIMARY KEY,
    holder uuid NOT NULL,
    host text NOT NULL,
    process_id bigint NOT NULL,
    held_since timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    session uuid NOT NULL
);
COMMENT ON TABLE recorders IS
    'Leases: the one process that writes under a recorder''s name at a time.';
COMMENT ON COLUMN recorders.time IS 'When the lease was last renewed.';
COMMENT ON COLUMN recorders.recorder IS 'Name of the recorder.';
COMMENT ON COLUMN recorders.holder IS 'Id of the data folder whose process holds the lease.';
COMMENT ON COLUMN recorders.session IS 'Id of that process, new at each start.';
COMMENT ON COLUMN recorders.host IS 'Host of the process that holds the lease.';
COMMENT ON COLUMN recorders.process_id IS 'Id of that process on its host.';
COMMENT ON COLUMN recorders.held_since IS 'When that process took the lease.';
COMMENT ON COLUMN recorders.expires_at IS 'When another process may take the lease.';

-- From when on the raw rows of a table are kept. A row older than that changes no tier, because the rows of
-- its bucket are gone. Retention moves it in the transaction that drops the rows.
CREATE TABLE tier_state (
    time timestamptz NOT NULL DEFAULT now(),
    table_name text COLLATE "C" PRIMARY KEY,
    raw_from timestamptz NOT NULL DEFAULT '-infinity'
);
COMMENT ON TABLE tier_state IS 'How far back the raw rows of each sample table reach.';
COMMENT ON COLUMN tier_state.time IS 'When the tiers of the table were created.';
COMMENT ON COLUMN tier_state.table_name IS 'The sample table.';
COMMENT ON COLUMN tier_state.raw_from IS 'Start of the time for which raw rows are kept.';

-- A continuous aggregate of TimescaleDB cannot gain a column. A new metric starts a new generation of them;
-- each covers the time from its own start to that of the next.
CREATE TABLE tier_generations (
    time timestamptz NOT NULL DEFAULT now(),
    table_name text COLLATE "C" NOT NULL,
    generation integer NOT NULL,
    valid_from timestamptz NOT NULL,
    PRIMARY KEY (table_name, generation)
);
COMMENT ON TABLE tier_generations IS
    'TimescaleDB: the continuous aggregates of each sample table, and the time that each covers.';
COMMENT ON COLUMN tier_generations.time IS 'When the generation was created.';
COMMENT ON COLUMN tier_generations.table_name IS 'The sample table.';
COMMENT ON COLUMN tier_generations.generation IS 'Number of the generation, from 1.';
COMMENT ON COLUMN tier_generations.valid_from IS 'Start of the time that is read from this generation.';

DROP TABLE event_head, strategy_key, event_identity;
