-- Accounts, contracts and currencies of fills, cash flows, and the past of an order before its submission.

ALTER TABLE instrument_events ADD COLUMN expiry_ns bigint, ADD COLUMN calendar text COLLATE "C";
ALTER TABLE instruments ADD COLUMN expiry_ns bigint, ADD COLUMN calendar text COLLATE "C";
COMMENT ON COLUMN instrument_events.expiry_ns IS 'When it expires, in nanoseconds; null if it does not.';
COMMENT ON COLUMN instrument_events.calendar IS 'Its trading calendar, such as XNYS; null: it trades around the clock.';
COMMENT ON COLUMN instruments.expiry_ns IS 'When it expires, in nanoseconds; null if it does not.';
COMMENT ON COLUMN instruments.calendar IS 'Its trading calendar, such as XNYS; null: it trades around the clock.';

ALTER TABLE order_events
    ADD COLUMN account text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN decided_ns bigint,
    ADD COLUMN decision_price double precision,
    ADD COLUMN queue_seconds double precision,
    ADD COLUMN limiter_seconds double precision;
ALTER TABLE orders
    ADD COLUMN account text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN decided_ns bigint,
    ADD COLUMN decision_price double precision,
    ADD COLUMN queue_seconds double precision,
    ADD COLUMN limiter_seconds double precision,
    DROP CONSTRAINT orders_pkey,
    ADD PRIMARY KEY (recorder, strategy, venue, instrument, order_id, account);
COMMENT ON COLUMN order_events.account IS 'The account; empty for the only one.';
COMMENT ON COLUMN order_events.decided_ns IS 'When the strategy decided, if no signal says it.';
COMMENT ON COLUMN order_events.decision_price IS 'Mid of the market at the decision, if no signal says it.';
COMMENT ON COLUMN order_events.queue_seconds IS 'How long the order waited in queues before it was submitted.';
COMMENT ON COLUMN order_events.limiter_seconds IS 'How long it waited for the rate limiter of the trading process.';
COMMENT ON COLUMN orders.account IS 'The account; empty for the only one.';
COMMENT ON COLUMN orders.decided_ns IS 'When the strategy decided, if no signal says it.';
COMMENT ON COLUMN orders.decision_price IS 'Mid of the market at the decision, if no signal says it.';
COMMENT ON COLUMN orders.queue_seconds IS 'How long the order waited in queues before it was submitted.';
COMMENT ON COLUMN orders.limiter_seconds IS 'How long it waited for the rate limiter of the trading process.';

ALTER TABLE fills
    ADD COLUMN fee_currency text COLLATE "C",
    ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'trade',
    ADD COLUMN account text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN multiplier double precision,
    ADD COLUMN inverse boolean,
    ADD COLUMN lot_size double precision,
    ADD COLUMN base_currency text COLLATE "C",
    ADD COLUMN currency text COLLATE "C",
    ADD COLUMN rate double precision,
    ADD COLUMN fee_rate double precision;
COMMENT ON COLUMN fills.fee IS 'Fee in fee_currency; negative for a rebate.';
COMMENT ON COLUMN fills.fee_currency IS 'Currency of the fee; null: the settlement currency of the instrument.';
COMMENT ON COLUMN fills.kind IS 'trade, opening, transfer, settlement, bust or correction.';
COMMENT ON COLUMN fills.account IS 'The account; empty for the only one.';
COMMENT ON COLUMN fills.multiplier IS 'Units of the underlying per unit of quantity; null: the instrument had no definition.';
COMMENT ON COLUMN fills.inverse IS 'Whether the instrument settles in its base currency.';
COMMENT ON COLUMN fills.lot_size IS 'Smallest quantity increment.';
COMMENT ON COLUMN fills.base_currency IS 'Currency or asset of the quantity.';
COMMENT ON COLUMN fills.currency IS 'Settlement currency: that of the result.';
COMMENT ON COLUMN fills.rate IS 'Units of the account currency per unit of currency, at the time of the fill; null: not known.';
COMMENT ON COLUMN fills.fee_rate IS 'Units of the account currency per unit of fee_currency, at the time of the fill; null: not known.';

ALTER TABLE positions ADD COLUMN account text COLLATE "C" NOT NULL DEFAULT '';
COMMENT ON COLUMN positions.account IS 'The account; empty for the only one.';
ALTER TABLE equity ADD COLUMN account text COLLATE "C" NOT NULL DEFAULT '';
COMMENT ON COLUMN equity.account IS 'The account; empty for the only one.';

CREATE TABLE cash (
    time timestamptz NOT NULL,
    recorder text COLLATE "C" NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    cash_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    amount double precision NOT NULL,
    currency text COLLATE "C",
    account text COLLATE "C" NOT NULL,
    venue text COLLATE "C",
    instrument text COLLATE "C",
    reason text COLLATE "C",
    rate double precision,
    time_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    event_number bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE cash IS 'Cash flows that are not part of a fill, as often as they were reported.';
COMMENT ON COLUMN cash.strategy IS 'The strategy.';
COMMENT ON COLUMN cash.cash_id IS 'The id of the flow within its strategy and account.';
COMMENT ON COLUMN cash.kind IS 'funding, interest, dividend, adjustment or transfer; a transfer is no result.';
COMMENT ON COLUMN cash.amount IS 'Amount received; negative when paid.';
COMMENT ON COLUMN cash.currency IS 'Its currency; null: the account currency.';
COMMENT ON COLUMN cash.account IS 'The account; empty for the only one.';
COMMENT ON COLUMN cash.venue IS 'The venue, of a flow that belongs to an instrument.';
COMMENT ON COLUMN cash.instrument IS 'The instrument, of a flow that belongs to one.';
COMMENT ON COLUMN cash.reason IS 'In the words of the broker or venue.';
COMMENT ON COLUMN cash.rate IS 'Units of the account currency per unit of currency, at its time; null: not known.';
COMMENT ON COLUMN cash.time IS 'time_ns, rounded down to the microsecond.';
COMMENT ON COLUMN cash.recorder IS 'The recorder that stored the row.';
COMMENT ON COLUMN cash.time_ns IS 'When it happened, by the clock of its origin.';
COMMENT ON COLUMN cash.received_ns IS 'When it reached the recorder, by its clock.';
COMMENT ON COLUMN cash.source IS 'The process that emitted the event.';
COMMENT ON COLUMN cash.epoch IS 'When that process started, in nanoseconds.';
COMMENT ON COLUMN cash.sequence IS 'The number of the event since that start.';
COMMENT ON COLUMN cash.event_number IS
    'Its place among the events of the recorder, in the order in which they became durable; 0: imported.';
CREATE INDEX cash_time ON cash (time);
CREATE INDEX cash_received ON cash (received_ns);
CREATE INDEX cash_number ON cash (event_number);
CREATE INDEX cash_newest ON cash (time_ns, source, epoch, sequence);
CREATE INDEX cash_id ON cash (cash_id);
