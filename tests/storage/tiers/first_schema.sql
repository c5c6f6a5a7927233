-- The first schema: migration 0001, and the sample tables of tests/storage_examples.py as the version before
-- the tiers made them. Written once by pg_dump, never changed.
CREATE TABLE public.book_samples (
    "time" timestamp with time zone NOT NULL,
    venue text NOT NULL COLLATE pg_catalog."C",
    instrument text NOT NULL COLLATE pg_catalog."C",
    mid double precision,
    gaps bigint,
    verdict text,
    crossed boolean
);

COMMENT ON TABLE public.book_samples IS 'Samples of the collector book: one row for each key and instant.';

COMMENT ON COLUMN public.book_samples."time" IS 'The instant of the 10 Hz grid.';

COMMENT ON COLUMN public.book_samples.venue IS 'Part of the key.';

COMMENT ON COLUMN public.book_samples.instrument IS 'Part of the key.';

COMMENT ON COLUMN public.book_samples.mid IS 'Middle of bid and ask. Unit: price.';

COMMENT ON COLUMN public.book_samples.gaps IS 'Sequence gaps seen. A total since the start of the process.';

COMMENT ON COLUMN public.book_samples.verdict IS 'The feed''s verdict.';

COMMENT ON COLUMN public.book_samples.crossed IS 'Whether bid is above ask.';

CREATE TABLE public.emitter_drops (
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    reason text NOT NULL COLLATE pg_catalog."C",
    events bigint NOT NULL
);

COMMENT ON TABLE public.emitter_drops IS 'Events that emitters lost before they were sent, as they said themselves.';

CREATE TABLE public.emitters (
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequences int8multirange DEFAULT '{}'::int8multirange NOT NULL
);

COMMENT ON TABLE public.emitters IS 'Which events of each emitter are stored.';

CREATE TABLE public.equity (
    "time" timestamp with time zone NOT NULL,
    strategy text NOT NULL COLLATE pg_catalog."C",
    equity double precision NOT NULL,
    cash double precision,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.equity IS 'The worth of a strategy''s account, marked to market, in money.';

CREATE TABLE public.fills (
    "time" timestamp with time zone NOT NULL,
    strategy text NOT NULL COLLATE pg_catalog."C",
    venue text NOT NULL COLLATE pg_catalog."C",
    instrument text NOT NULL COLLATE pg_catalog."C",
    order_id text NOT NULL COLLATE pg_catalog."C",
    fill_id text NOT NULL COLLATE pg_catalog."C",
    side text NOT NULL,
    price double precision NOT NULL,
    quantity double precision NOT NULL,
    fee double precision NOT NULL,
    liquidity text,
    risk double precision,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.fills IS 'Executions of orders, whole or in part, as often as they were reported.';

COMMENT ON COLUMN public.fills.fee IS 'Money paid; negative: a rebate.';

COMMENT ON COLUMN public.fills.risk IS 'Money at risk of the trade that this fill opens.';

CREATE TABLE public.heartbeats (
    "time" timestamp with time zone NOT NULL,
    component text NOT NULL COLLATE pg_catalog."C",
    connection text NOT NULL,
    venue text COLLATE pg_catalog."C",
    instrument text COLLATE pg_catalog."C",
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.heartbeats IS 'Signs of life of feeds and components.';

CREATE TABLE public.instruments (
    venue text NOT NULL COLLATE pg_catalog."C",
    instrument text NOT NULL COLLATE pg_catalog."C",
    first_ns bigint NOT NULL,
    last_ns bigint NOT NULL
);

COMMENT ON TABLE public.instruments IS 'Instruments seen in quotes and ticks. last_ns is a few seconds behind while the instrument is active.';

CREATE TABLE public.logs (
    "time" timestamp with time zone NOT NULL,
    component text NOT NULL COLLATE pg_catalog."C",
    level text NOT NULL,
    message text NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.logs IS 'Lines that components of the trading system logged.';

CREATE TABLE public.machine_samples (
    "time" timestamp with time zone NOT NULL,
    load double precision
);

COMMENT ON TABLE public.machine_samples IS 'Samples of the collector machine: one row for each key and instant.';

COMMENT ON COLUMN public.machine_samples."time" IS 'The instant of the 10 Hz grid.';

COMMENT ON COLUMN public.machine_samples.load IS 'Load of the machine.';

CREATE TABLE public.news (
    "time" timestamp with time zone NOT NULL,
    headline text NOT NULL,
    publisher text,
    instruments text[] NOT NULL,
    sentiment double precision,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.news IS 'Headlines. Sentiment runs from -1 (bad) to 1 (good).';

CREATE TABLE public.order_events (
    "time" timestamp with time zone NOT NULL,
    strategy text NOT NULL COLLATE pg_catalog."C",
    venue text NOT NULL COLLATE pg_catalog."C",
    instrument text NOT NULL COLLATE pg_catalog."C",
    order_id text NOT NULL COLLATE pg_catalog."C",
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
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.order_events IS 'Every change in the life of every order. What is true now: table orders.';

COMMENT ON COLUMN public.order_events.price IS 'Limit price, where there is one.';

COMMENT ON COLUMN public.order_events.arrival_price IS 'Mid of the market when the order was submitted.';

CREATE TABLE public.orders (
    strategy text NOT NULL COLLATE pg_catalog."C",
    venue text NOT NULL COLLATE pg_catalog."C",
    instrument text NOT NULL COLLATE pg_catalog."C",
    order_id text NOT NULL COLLATE pg_catalog."C",
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
    "time" timestamp with time zone NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.orders IS 'Every order as it is now: its newest change, in whatever order the changes arrived. A final state stays.';

CREATE TABLE public.positions (
    "time" timestamp with time zone NOT NULL,
    strategy text NOT NULL COLLATE pg_catalog."C",
    venue text NOT NULL COLLATE pg_catalog."C",
    instrument text NOT NULL COLLATE pg_catalog."C",
    quantity double precision NOT NULL,
    average_price double precision,
    mark_price double precision,
    held_by text NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.positions IS 'What strategies hold, as they report it; negative when short.';

CREATE TABLE public.quotes (
    "time" timestamp with time zone NOT NULL,
    venue text NOT NULL COLLATE pg_catalog."C",
    instrument text NOT NULL COLLATE pg_catalog."C",
    bid double precision,
    ask double precision,
    bid_size double precision,
    ask_size double precision,
    venue_sequence bigint,
    missed bigint NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.quotes IS 'Best bid and ask, as the venue published them; an empty side is null.';

COMMENT ON COLUMN public.quotes.venue_sequence IS 'The venue''s own number of this message.';

COMMENT ON COLUMN public.quotes.missed IS 'Numbered messages never received just before this one.';

CREATE TABLE public.regimes (
    "time" timestamp with time zone NOT NULL,
    regime text NOT NULL,
    strategy text COLLATE pg_catalog."C",
    confidence double precision,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.regimes IS 'The market regime that a strategy (null: the desk) believes in.';

CREATE TABLE public.risks (
    "time" timestamp with time zone NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    value double precision NOT NULL,
    limit_value double precision,
    strategy text COLLATE pg_catalog."C",
    breached boolean NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.risks IS 'Risk measures beside their limits.';

CREATE TABLE public.round_trips (
    strategy text NOT NULL COLLATE pg_catalog."C",
    venue text NOT NULL COLLATE pg_catalog."C",
    instrument text NOT NULL COLLATE pg_catalog."C",
    "position" double precision DEFAULT 0 NOT NULL,
    state bytea DEFAULT '\x'::bytea NOT NULL,
    last_ns bigint DEFAULT 0 NOT NULL,
    last_source text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    last_epoch bigint DEFAULT 0 NOT NULL,
    last_sequence bigint DEFAULT 0 NOT NULL
);

COMMENT ON TABLE public.round_trips IS 'Where the derivation of trades stands: what is open, and the newest fill that went into it.';

COMMENT ON COLUMN public.round_trips.state IS 'The open round trip as the program keeps it (MessagePack); empty: none.';

CREATE TABLE public.schema_migrations (
    number integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.signals (
    "time" timestamp with time zone NOT NULL,
    strategy text NOT NULL COLLATE pg_catalog."C",
    venue text NOT NULL COLLATE pg_catalog."C",
    instrument text NOT NULL COLLATE pg_catalog."C",
    signal_id text NOT NULL,
    direction text NOT NULL,
    strength double precision,
    price double precision,
    risk double precision,
    reason text,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.signals IS 'What strategies wished for, before any order.';

COMMENT ON COLUMN public.signals.price IS 'The market when the strategy decided.';

COMMENT ON COLUMN public.signals.risk IS 'Money at risk if the trade goes to its stop.';

CREATE TABLE public.stored_batches (
    batch_id uuid NOT NULL,
    stored_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.stored_batches IS 'Transactions that the writer may not know to have succeeded. A row goes when the writer knows.';

CREATE TABLE public.ticks (
    "time" timestamp with time zone NOT NULL,
    venue text NOT NULL COLLATE pg_catalog."C",
    instrument text NOT NULL COLLATE pg_catalog."C",
    price double precision NOT NULL,
    size double precision NOT NULL,
    side text,
    trade_id text,
    venue_sequence bigint,
    missed bigint NOT NULL,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    sequence bigint NOT NULL
);

COMMENT ON TABLE public.ticks IS 'Prints: the trades on the market, of all participants.';

COMMENT ON COLUMN public.ticks.side IS 'Of the aggressor: buy or sell.';

COMMENT ON COLUMN public.ticks.venue_sequence IS 'The venue''s own number of this message.';

COMMENT ON COLUMN public.ticks.missed IS 'Numbered messages never received just before this one.';

CREATE TABLE public.trades (
    trade_id text NOT NULL COLLATE pg_catalog."C",
    strategy text NOT NULL COLLATE pg_catalog."C",
    venue text NOT NULL COLLATE pg_catalog."C",
    instrument text NOT NULL COLLATE pg_catalog."C",
    side text NOT NULL,
    quantity double precision NOT NULL,
    opened timestamp with time zone NOT NULL,
    closed timestamp with time zone NOT NULL,
    entry_price double precision NOT NULL,
    exit_price double precision NOT NULL,
    fees double precision NOT NULL,
    pnl double precision NOT NULL,
    risk double precision,
    r_multiple double precision,
    fills bigint NOT NULL,
    opened_ns bigint NOT NULL,
    closed_ns bigint NOT NULL,
    closed_source text NOT NULL COLLATE pg_catalog."C",
    closed_epoch bigint NOT NULL,
    closed_sequence bigint NOT NULL,
    closed_flat boolean NOT NULL
);

COMMENT ON TABLE public.trades IS 'Finished round trips from flat to flat, derived from the fills (each execution once) and kept in step.';

COMMENT ON COLUMN public.trades.side IS 'Of the opening fill: buy is a long trade.';

COMMENT ON COLUMN public.trades.pnl IS 'Money, after fees.';

COMMENT ON COLUMN public.trades.closed_flat IS 'Whether the closing fill left no position; if not, it opened the next trade.';

ALTER TABLE ONLY public.emitter_drops
    ADD CONSTRAINT emitter_drops_pkey PRIMARY KEY (source, epoch, reason);

ALTER TABLE ONLY public.emitters
    ADD CONSTRAINT emitters_pkey PRIMARY KEY (source, epoch);

ALTER TABLE ONLY public.instruments
    ADD CONSTRAINT instruments_pkey PRIMARY KEY (venue, instrument);

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (strategy, venue, instrument, order_id);

ALTER TABLE ONLY public.round_trips
    ADD CONSTRAINT round_trips_pkey PRIMARY KEY (strategy, venue, instrument);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.stored_batches
    ADD CONSTRAINT stored_batches_pkey PRIMARY KEY (batch_id);

CREATE INDEX book_samples_key ON public.book_samples USING btree (venue, instrument, "time" DESC);

CREATE INDEX book_samples_time ON public.book_samples USING btree ("time");

CREATE INDEX equity_received ON public.equity USING btree (received_ns);

CREATE INDEX equity_strategy ON public.equity USING btree (strategy, time_ns);

CREATE INDEX equity_time ON public.equity USING btree ("time");

CREATE INDEX fills_newest ON public.fills USING btree (time_ns, source, epoch, sequence);

CREATE INDEX fills_order ON public.fills USING btree (order_id, fill_id);

CREATE INDEX fills_received ON public.fills USING btree (received_ns);

CREATE INDEX fills_round_trip ON public.fills USING btree (strategy, venue, instrument, time_ns, source, epoch, sequence);

CREATE INDEX fills_time ON public.fills USING btree ("time");

CREATE INDEX heartbeats_received ON public.heartbeats USING brin (received_ns);

CREATE INDEX heartbeats_time ON public.heartbeats USING brin ("time");

CREATE INDEX logs_received ON public.logs USING brin (received_ns);

CREATE INDEX logs_time ON public.logs USING btree ("time");

CREATE INDEX machine_samples_time ON public.machine_samples USING btree ("time");

CREATE INDEX news_received ON public.news USING btree (received_ns);

CREATE INDEX news_time ON public.news USING btree ("time");

CREATE INDEX order_events_order ON public.order_events USING btree (order_id, time_ns);

CREATE INDEX order_events_received ON public.order_events USING btree (received_ns);

CREATE INDEX order_events_time ON public.order_events USING btree ("time");

CREATE INDEX orders_open ON public.orders USING btree (strategy, venue, instrument) WHERE (NOT is_final);

CREATE INDEX orders_time ON public.orders USING btree ("time");

CREATE INDEX positions_received ON public.positions USING btree (received_ns);

CREATE INDEX positions_strategy ON public.positions USING btree (strategy, venue, instrument, time_ns);

CREATE INDEX positions_time ON public.positions USING btree ("time");

CREATE INDEX quotes_instrument ON public.quotes USING btree (venue, instrument, time_ns);

CREATE INDEX quotes_received ON public.quotes USING brin (received_ns);

CREATE INDEX quotes_time ON public.quotes USING brin ("time");

CREATE INDEX regimes_received ON public.regimes USING btree (received_ns);

CREATE INDEX regimes_time ON public.regimes USING btree ("time");

CREATE INDEX risks_received ON public.risks USING btree (received_ns);

CREATE INDEX risks_time ON public.risks USING btree ("time");

CREATE INDEX signals_received ON public.signals USING btree (received_ns);

CREATE INDEX signals_strategy ON public.signals USING btree (strategy, venue, instrument, time_ns);

CREATE INDEX signals_time ON public.signals USING btree ("time");

CREATE INDEX ticks_instrument ON public.ticks USING btree (venue, instrument, time_ns);

CREATE INDEX ticks_received ON public.ticks USING brin (received_ns);

CREATE INDEX ticks_time ON public.ticks USING brin ("time");

CREATE INDEX trades_closed ON public.trades USING btree (closed);

CREATE INDEX trades_newest ON public.trades USING btree (closed_ns, closed_source, closed_epoch, closed_sequence);

CREATE INDEX trades_round_trip ON public.trades USING btree (strategy, venue, instrument, closed_ns, closed_source, closed_epoch, closed_sequence);

INSERT INTO public.schema_migrations VALUES (1, 'events', 'a38557e3ddacd7d2832a6cb9c26202c2d291b4228a8566136c27195f7e3e1b55', '2026-11-22 02:25:13.494186+00');

