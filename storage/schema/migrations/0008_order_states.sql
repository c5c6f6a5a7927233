-- The state of an order follows from its reports and its fills; an order is one of an account.

ALTER TABLE orders
    ADD COLUMN reported_state text COLLATE "C" NOT NULL DEFAULT 'submitted',
    ADD COLUMN reported_states text[] NOT NULL DEFAULT '{}',
    ADD COLUMN contradictions integer NOT NULL DEFAULT 0,
    ADD COLUMN submitted_ns bigint,
    ADD COLUMN accepted_ns bigint,
    ADD COLUMN fills integer NOT NULL DEFAULT 0,
    ADD COLUMN executed_quantity double precision NOT NULL DEFAULT 0,
    ADD COLUMN average_price double precision,
    ADD COLUMN first_fill_ns bigint,
    ADD COLUMN last_fill_ns bigint,
    ADD COLUMN first_fill_price double precision,
    ADD COLUMN last_fill_price double precision;
COMMENT ON TABLE orders IS
    'The current state of every order, from all its changes and fills, in whatever order they arrive.';
COMMENT ON COLUMN orders.state IS
    'submitted, accepted, partially_filled, unresolved, filled, cancelled, rejected or expired: by its changes and its fills.';
COMMENT ON COLUMN order_events.state IS
    'submitted, accepted, partially_filled, unresolved, filled, cancelled, rejected or expired.';
COMMENT ON COLUMN orders.reported_state IS 'The state by its changes alone.';
COMMENT ON COLUMN orders.reported_states IS 'All states that were reported, in the order of an order''s life.';
COMMENT ON COLUMN orders.contradictions IS
    'How many reports and fills contradict each other: two final states, a fill of a rejected order, more filled than ordered.';
COMMENT ON COLUMN orders.submitted_ns IS 'When it was submitted, in nanoseconds: the first report of it.';
COMMENT ON COLUMN orders.accepted_ns IS 'When the venue accepted it, in nanoseconds: the first report of it.';
COMMENT ON COLUMN orders.fills IS 'Number of its fills, each counted once; busted fills do not count.';
COMMENT ON COLUMN orders.executed_quantity IS 'Quantity of these fills.';
COMMENT ON COLUMN orders.average_price IS 'Average price of these fills, weighted by quantity.';
COMMENT ON COLUMN orders.first_fill_ns IS 'Time of the first fill, in nanoseconds.';
COMMENT ON COLUMN orders.last_fill_ns IS 'Time of the last fill, in nanoseconds.';
COMMENT ON COLUMN orders.first_fill_price IS 'Price of the first fill.';
COMMENT ON COLUMN orders.last_fill_price IS 'Price of the last fill.';

UPDATE orders SET reported_state = state, reported_states = ARRAY[state];
UPDATE orders SET fills = executed.fills, executed_quantity = executed.quantity, average_price = executed.price,
    first_fill_ns = executed.first_ns, last_fill_ns = executed.last_ns,
    first_fill_price = executed.first_price, last_fill_price = executed.last_price,
    state = CASE WHEN executed.quantity >= orders.quantity * (1 - 1e-9) THEN 'filled'
        WHEN state IN ('submitted', 'accepted') THEN 'partially_filled' ELSE state END,
    is_final = is_final OR executed.quantity >= orders.quantity * (1 - 1e-9)
FROM (
    SELECT recorder, strategy, venue, instrument, account, order_id,
        count(*) AS fills, sum(quantity) AS quantity, sum(quantity * price) / sum(quantity) AS price,
        min(time_ns) AS first_ns, max(time_ns) AS last_ns,
        (array_agg(price ORDER BY time_ns, fill_id))[1] AS first_price,
        (array_agg(price ORDER BY time_ns DESC, fill_id DESC))[1] AS last_price
    FROM (
        SELECT DISTINCT ON (recorder, strategy, venue, instrument, account, order_id, fill_id) * FROM fills
        WHERE kind = 'trade' AND quantity <= 1e100 AND abs(price) <= 1e100
        ORDER BY recorder, strategy, venue, instrument, account, order_id, fill_id, time_ns, source, epoch, sequence
    ) AS once
    GROUP BY recorder, strategy, venue, instrument, account, order_id
) AS executed
WHERE orders.recorder = executed.recorder AND orders.strategy = executed.strategy
    AND orders.venue = executed.venue AND orders.instrument = executed.instrument
    AND orders.account = executed.account AND orders.order_id = executed.order_id;
UPDATE orders SET submitted_ns = first.submitted_ns, accepted_ns = first.accepted_ns
FROM (
    SELECT recorder, strategy, venue, instrument, account, order_id,
        min(time_ns) FILTER (WHERE state = 'submitted') AS submitted_ns,
        min(time_ns) FILTER (WHERE state = 'accepted') AS accepted_ns
    FROM order_events GROUP BY recorder, strategy, venue, instrument, account, order_id
) AS first
WHERE orders.recorder = first.recorder AND orders.strategy = first.strategy
    AND orders.venue = first.venue AND orders.instrument = first.instrument
    AND orders.account = first.account AND orders.order_id = first.order_id;
