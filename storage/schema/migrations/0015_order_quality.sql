-- What orders cost, stored with them, and the contract of orders that end without a fill.

ALTER TABLE order_events
    ADD COLUMN multiplier double precision,
    ADD COLUMN inverse boolean,
    ADD COLUMN currency text COLLATE "C",
    ADD COLUMN rate double precision;
COMMENT ON COLUMN order_events.multiplier IS 'Units of the underlying per unit of quantity; null: no definition was known.';
COMMENT ON COLUMN order_events.inverse IS 'Whether the instrument settles in its base currency.';
COMMENT ON COLUMN order_events.currency IS 'Settlement currency.';
COMMENT ON COLUMN order_events.rate IS 'Units of the account currency per unit of currency, when the order ended; null: not known.';

ALTER TABLE orders
    ADD COLUMN multiplier double precision,
    ADD COLUMN inverse boolean,
    ADD COLUMN currency text COLLATE "C",
    ADD COLUMN rate double precision,
    ADD COLUMN quality_due_ns bigint DEFAULT 0,
    ADD COLUMN decision_ns bigint,
    ADD COLUMN decision_mid double precision,
    ADD COLUMN arrival_mid double precision,
    ADD COLUMN end_mid double precision,
    ADD COLUMN signal_to_submit_seconds double precision,
    ADD COLUMN submit_to_ack_seconds double precision,
    ADD COLUMN ack_to_fill_seconds double precision,
    ADD COLUMN submit_to_fill_seconds double precision,
    ADD COLUMN settlement_currency text COLLATE "C",
    ADD COLUMN mean_rate double precision,
    ADD COLUMN filled_value double precision,
    ADD COLUMN fees double precision,
    ADD COLUMN maker_value double precision,
    ADD COLUMN taker_value double precision,
    ADD COLUMN slippage_decision double precision,
    ADD COLUMN decision_value double precision,
    ADD COLUMN slippage_decision_bps double precision,
    ADD COLUMN slippage_arrival double precision,
    ADD COLUMN arrival_value double precision,
    ADD COLUMN slippage_arrival_bps double precision,
    ADD COLUMN shortfall double precision,
    ADD COLUMN shortfall_delay double precision,
    ADD COLUMN shortfall_trading double precision,
    ADD COLUMN shortfall_opportunity double precision,
    ADD COLUMN shortfall_fees double precision,
    ADD COLUMN paper_value double precision,
    ADD COLUMN shortfall_bps double precision,
    ADD COLUMN shortfall_reason text COLLATE "C",
    ADD COLUMN markout_100ms_bps double precision,
    ADD COLUMN markout_100ms_value double precision,
    ADD COLUMN markout_100ms_fills integer,
    ADD COLUMN markout_1s_bps double precision,
    ADD COLUMN markout_1s_value double precision,
    ADD COLUMN markout_1s_fills integer,
    ADD COLUMN markout_5s_bps double precision,
    ADD COLUMN markout_5s_value double precision,
    ADD COLUMN markout_5s_fills integer,
    ADD COLUMN markout_30s_bps double precision,
    ADD COLUMN markout_30s_value double precision,
    ADD COLUMN markout_30s_fills integer,
    ADD COLUMN markout_5m_bps double precision,
    ADD COLUMN markout_5m_value double precision,
    ADD COLUMN markout_5m_fills integer;
COMMENT ON COLUMN orders.multiplier IS 'Units of the underlying per unit of quantity; null: no definition was known.';
COMMENT ON COLUMN orders.inverse IS 'Whether the instrument settles in its base currency.';
COMMENT ON COLUMN orders.currency IS 'Settlement currency, by the report of its end.';
COMMENT ON COLUMN orders.rate IS 'Units of the account currency per unit of currency, when the order ended; null: not known.';
COMMENT ON COLUMN orders.quality_due_ns IS
    'When the columns behind it are computed again, in nanoseconds; null: they are up to date; the largest number: the order is open.';
COMMENT ON COLUMN orders.decision_ns IS 'When it was decided, in nanoseconds: the time of its signal, or decided_ns.';
COMMENT ON COLUMN orders.decision_mid IS 'Price at the decision: that of its signal, or decision_price.';
COMMENT ON COLUMN orders.arrival_mid IS 'Price at the submission: arrival_price, or else the recorder''s own mid.';
COMMENT ON COLUMN orders.end_mid IS 'The recorder''s own mid when the order ended without being filled.';
COMMENT ON COLUMN orders.signal_to_submit_seconds IS 'From the decision to the submission.';
COMMENT ON COLUMN orders.submit_to_ack_seconds IS 'From the submission to the acceptance by the venue.';
COMMENT ON COLUMN orders.ack_to_fill_seconds IS 'From the acceptance to the first fill.';
COMMENT ON COLUMN orders.submit_to_fill_seconds IS 'From the submission to the first fill.';
COMMENT ON COLUMN orders.settlement_currency IS 'Settlement currency of its fills, or by the report of its end.';
COMMENT ON COLUMN orders.mean_rate IS 'Rate to the account currency that its amounts are converted at: the mean of its fills by quantity.';
COMMENT ON COLUMN orders.filled_value IS 'Value of its fills, in the account currency; null: a rate is missing.';
COMMENT ON COLUMN orders.fees IS 'Fees minus rebates, in the account currency; null: a rate is missing.';
COMMENT ON COLUMN orders.maker_value IS 'Value of the fills that added liquidity, in the account currency.';
COMMENT ON COLUMN orders.taker_value IS 'Value of the fills that took liquidity, in the account currency.';
COMMENT ON COLUMN orders.slippage_decision IS 'Cost of its fills against decision_mid, in the account currency.';
COMMENT ON COLUMN orders.decision_value IS 'Value of what was filled at decision_mid, in the account currency.';
COMMENT ON COLUMN orders.slippage_decision_bps IS 'slippage_decision / decision_value, in basis points; positive is a cost.';
COMMENT ON COLUMN orders.slippage_arrival IS 'Cost of its fills against arrival_mid, in the account currency.';
COMMENT ON COLUMN orders.arrival_value IS 'Value of what was filled at arrival_mid, in the account currency.';
COMMENT ON COLUMN orders.slippage_arrival_bps IS 'slippage_arrival / arrival_value, in basis points; positive is a cost.';
COMMENT ON COLUMN orders.shortfall IS 'Implementation shortfall in the account currency: the sum of its four parts; positive is a cost.';
COMMENT ON COLUMN orders.shortfall_delay IS 'Part of the shortfall: move of the mid from decision to submission.';
COMMENT ON COLUMN orders.shortfall_trading IS 'Part of the shortfall: fill prices against the mid at the submission.';
COMMENT ON COLUMN orders.shortfall_opportunity IS 'Part of the shortfall: move of the mid from decision to end, of what was not filled.';
COMMENT ON COLUMN orders.shortfall_fees IS 'Part of the shortfall: fees minus rebates.';
COMMENT ON COLUMN orders.paper_value IS 'Value of the whole order at decision_mid, in the account currency.';
COMMENT ON COLUMN orders.shortfall_bps IS 'shortfall / paper_value, in basis points.';
COMMENT ON COLUMN orders.shortfall_reason IS 'Why the shortfall is not known.';
COMMENT ON COLUMN orders.markout_100ms_bps IS 'Move from the price of its fills to the mid 100 ms later, weighted by value, in basis points; positive is a gain.';
COMMENT ON COLUMN orders.markout_100ms_value IS 'Value of the fills in markout_100ms_bps, in the account currency.';
COMMENT ON COLUMN orders.markout_100ms_fills IS 'Number of these fills.';
COMMENT ON COLUMN orders.markout_1s_bps IS 'Move from the price of its fills to the mid 1 s later, weighted by value, in basis points; positive is a gain.';
COMMENT ON COLUMN orders.markout_1s_value IS 'Value of the fills in markout_1s_bps, in the account currency.';
COMMENT ON COLUMN orders.markout_1s_fills IS 'Number of these fills.';
COMMENT ON COLUMN orders.markout_5s_bps IS 'Move from the price of its fills to the mid 5 s later, weighted by value, in basis points; positive is a gain.';
COMMENT ON COLUMN orders.markout_5s_value IS 'Value of the fills in markout_5s_bps, in the account currency.';
COMMENT ON COLUMN orders.markout_5s_fills IS 'Number of these fills.';
COMMENT ON COLUMN orders.markout_30s_bps IS 'Move from the price of its fills to the mid 30 s later, weighted by value, in basis points; positive is a gain.';
COMMENT ON COLUMN orders.markout_30s_value IS 'Value of the fills in markout_30s_bps, in the account currency.';
COMMENT ON COLUMN orders.markout_30s_fills IS 'Number of these fills.';
COMMENT ON COLUMN orders.markout_5m_bps IS 'Move from the price of its fills to the mid 5 min later, weighted by value, in basis points; positive is a gain.';
COMMENT ON COLUMN orders.markout_5m_value IS 'Value of the fills in markout_5m_bps, in the account currency.';
COMMENT ON COLUMN orders.markout_5m_fills IS 'Number of these fills.';
UPDATE orders SET quality_due_ns = 9223372036854775807 WHERE NOT is_final;
CREATE INDEX orders_quality_due ON orders (quality_due_ns) WHERE quality_due_ns IS NOT NULL;
CREATE INDEX orders_signal ON orders (signal_id) WHERE signal_id IS NOT NULL;
CREATE INDEX signals_id ON signals (signal_id, time_ns);

-- What round trips cost: the sum of their orders. An order that belongs to several counts in each by the share of
-- its fills there; so does a fill that closes one round trip and opens the next.
CREATE VIEW round_trip_quality AS
SELECT t.time, t.recorder, t.trade_id, t.strategy, t.account, t.venue, t.instrument, costs.*
FROM trades AS t
LEFT JOIN LATERAL (
    SELECT closed_ns, closed_source, closed_epoch, closed_sequence, closed_flat FROM trades
    WHERE recorder = t.recorder AND strategy = t.strategy AND account = t.account AND venue = t.venue
        AND instrument = t.instrument AND (closed_ns, closed_source, closed_epoch, closed_sequence)
            < (t.closed_ns, t.closed_source, t.closed_epoch, t.closed_sequence)
    ORDER BY closed_ns DESC, closed_source DESC, closed_epoch DESC, closed_sequence DESC LIMIT 1
) AS p ON true
CROSS JOIN LATERAL (
    WITH near AS (
        SELECT DISTINCT order_id, fill_id FROM fills
        WHERE recorder = t.recorder AND strategy = t.strategy AND account = t.account AND venue = t.venue
            AND instrument = t.instrument AND time_ns BETWEEN t.opened_ns AND t.closed_ns
    ),
    ranked AS (
        SELECT f.*, row_number() OVER (PARTITION BY order_id, fill_id ORDER BY kind = 'bust' DESC,
                kind = 'correction' DESC, CASE kind WHEN 'correction' THEN -time_ns ELSE time_ns END,
                source, epoch, sequence) AS content,
            row_number() OVER (PARTITION BY order_id, fill_id
                ORDER BY kind = 'trade' DESC, time_ns, source, epoch, sequence) AS place
        FROM fills AS f JOIN near USING (order_id, fill_id)
        WHERE f.recorder = t.recorder AND f.strategy = t.strategy AND f.account = t.account
            AND f.venue = t.venue AND f.instrument = t.instrument AND f.kind IN ('trade', 'correction', 'bust')
    ),
    executed AS (
        SELECT c.order_id, c.side, c.quantity,
            a.closed AND NOT t.closed_flat AS is_last, a.opened AND NOT p.closed_flat AS is_first
        FROM ranked AS c JOIN ranked AS r USING (order_id, fill_id)
        CROSS JOIN LATERAL (
            SELECT (r.time_ns, r.source, r.epoch, r.sequence)
                    = (t.closed_ns, t.closed_source, t.closed_epoch, t.closed_sequence) AS closed,
                coalesce((r.time_ns, r.source, r.epoch, r.sequence)
                    = (p.closed_ns, p.closed_source, p.closed_epoch, p.closed_sequence), false) AS opened
        ) AS a
        WHERE c.content = 1 AND r.place = 1 AND c.kind <> 'bust'
            AND (r.time_ns, r.source, r.epoch, r.sequence)
                <= (t.closed_ns, t.closed_source, t.closed_epoch, t.closed_sequence)
            AND (p.closed_ns IS NULL OR a.opened AND NOT p.closed_flat
                OR (r.time_ns, r.source, r.epoch, r.sequence)
                    > (p.closed_ns, p.closed_source, p.closed_epoch, p.closed_sequence))
    ),
    totals AS (
        SELECT coalesce(sum(quantity) FILTER (WHERE side = t.side AND NOT is_first), 0) AS opening,
            coalesce(sum(quantity) FILTER (WHERE side <> t.side), 0) AS closing
        FROM executed
    ),
    parts AS (
        SELECT order_id, sum(CASE
            WHEN is_first THEN least(greatest(t.quantity - opening, 0), quantity)
            WHEN is_last THEN greatest(quantity - greatest(closing - t.quantity, 0), 0)
            ELSE quantity END) AS quantity
        FROM executed, totals GROUP BY order_id
    ),
    shares AS (
        SELECT parts.quantity / nullif(executed_quantity, 0) AS share, o.*
        FROM parts LEFT JOIN orders AS o ON o.recorder = t.recorder AND o.strategy = t.strategy
            AND o.account = t.account AND o.venue = t.venue AND o.instrument = t.instrument
            AND o.order_id = parts.order_id
    )
    SELECT count(*) AS orders,
        sum(share * filled_value) AS filled_value, sum(share * fees) AS fees,
        sum(share * maker_value) AS maker_value, sum(share * taker_value) AS taker_value,
        count(slippage_decision) AS slippage_decision_orders, sum(share * slippage_decision) AS slippage_decision,
        sum(share * slippage_decision) / nullif(sum(share * decision_value), 0) * 10000 AS slippage_decision_bps,
        count(slippage_arrival) AS slippage_arrival_orders, sum(share * slippage_arrival) AS slippage_arrival,
        sum(share * slippage_arrival) / nullif(sum(share * arrival_value), 0) * 10000 AS slippage_arrival_bps,
        count(shortfall) AS shortfall_orders, sum(share * shortfall) AS shortfall,
        sum(share * shortfall_delay) AS shortfall_delay, sum(share * shortfall_trading) AS shortfall_trading,
        sum(share * shortfall_opportunity) AS shortfall_opportunity,
        sum(share * shortfall_fees) AS shortfall_fees,
        sum(share * shortfall) / nullif(sum(share * paper_value), 0) * 10000 AS shortfall_bps,
        sum(share * markout_100ms_bps * markout_100ms_value)
            / nullif(sum(share * markout_100ms_value) FILTER (WHERE markout_100ms_bps IS NOT NULL), 0) AS markout_100ms_bps,
        sum(share * markout_1s_bps * markout_1s_value)
            / nullif(sum(share * markout_1s_value) FILTER (WHERE markout_1s_bps IS NOT NULL), 0) AS markout_1s_bps,
        sum(share * markout_5s_bps * markout_5s_value)
            / nullif(sum(share * markout_5s_value) FILTER (WHERE markout_5s_bps IS NOT NULL), 0) AS markout_5s_bps,
        sum(share * markout_30s_bps * markout_30s_value)
            / nullif(sum(share * markout_30s_value) FILTER (WHERE markout_30s_bps IS NOT NULL), 0) AS markout_30s_bps,
        sum(share * markout_5m_bps * markout_5m_value)
            / nullif(sum(share * markout_5m_value) FILTER (WHERE markout_5m_bps IS NOT NULL), 0) AS markout_5m_bps
    FROM shares
) AS costs;
COMMENT ON VIEW round_trip_quality IS
    'What round trips cost: slippage, shortfall and markouts of their orders, in the account currency.';
COMMENT ON COLUMN round_trip_quality.time IS 'When the round trip closed.';
COMMENT ON COLUMN round_trip_quality.recorder IS 'The recorder that stored the row.';
COMMENT ON COLUMN round_trip_quality.trade_id IS 'Id of the round trip.';
COMMENT ON COLUMN round_trip_quality.strategy IS 'The strategy.';
COMMENT ON COLUMN round_trip_quality.account IS 'The account; empty for the only one.';
COMMENT ON COLUMN round_trip_quality.venue IS 'The venue.';
COMMENT ON COLUMN round_trip_quality.instrument IS 'The instrument, by the venue''s symbol.';
COMMENT ON COLUMN round_trip_quality.orders IS 'Orders with a fill in it.';
COMMENT ON COLUMN round_trip_quality.filled_value IS 'Value of its fills, in the account currency.';
COMMENT ON COLUMN round_trip_quality.fees IS 'Fees minus rebates, in the account currency.';
COMMENT ON COLUMN round_trip_quality.maker_value IS 'Value of the fills that added liquidity, in the account currency.';
COMMENT ON COLUMN round_trip_quality.taker_value IS 'Value of the fills that took liquidity, in the account currency.';
COMMENT ON COLUMN round_trip_quality.slippage_decision_orders IS 'Orders in slippage_decision.';
COMMENT ON COLUMN round_trip_quality.slippage_decision IS 'Cost of the fills against the prices at the decision, in the account currency.';
COMMENT ON COLUMN round_trip_quality.slippage_decision_bps IS 'The same in basis points of their value at these prices; positive is a cost.';
COMMENT ON COLUMN round_trip_quality.slippage_arrival_orders IS 'Orders in slippage_arrival.';
COMMENT ON COLUMN round_trip_quality.slippage_arrival IS 'Cost of the fills against the prices at the submission, in the account currency.';
COMMENT ON COLUMN round_trip_quality.slippage_arrival_bps IS 'The same in basis points of their value at these prices; positive is a cost.';
COMMENT ON COLUMN round_trip_quality.shortfall_orders IS 'Orders in shortfall.';
COMMENT ON COLUMN round_trip_quality.shortfall IS 'Implementation shortfall in the account currency: the sum of its four parts; positive is a cost.';
COMMENT ON COLUMN round_trip_quality.shortfall_delay IS 'Part of the shortfall: move of the mid from decision to submission.';
COMMENT ON COLUMN round_trip_quality.shortfall_trading IS 'Part of the shortfall: fill prices against the mid at the submission.';
COMMENT ON COLUMN round_trip_quality.shortfall_opportunity IS 'Part of the shortfall: move of the mid from decision to end, of what was not filled.';
COMMENT ON COLUMN round_trip_quality.shortfall_fees IS 'Part of the shortfall: fees minus rebates.';
COMMENT ON COLUMN round_trip_quality.shortfall_bps IS 'The shortfall in basis points of the orders at their decision prices.';
COMMENT ON COLUMN round_trip_quality.markout_100ms_bps IS 'Move from the price of its fills to the mid 100 ms later, weighted by value, in basis points; positive is a gain.';
COMMENT ON COLUMN round_trip_quality.markout_1s_bps IS 'Move from the price of its fills to the mid 1 s later, weighted by value, in basis points; positive is a gain.';
COMMENT ON COLUMN round_trip_quality.markout_5s_bps IS 'Move from the price of its fills to the mid 5 s later, weighted by value, in basis points; positive is a gain.';
COMMENT ON COLUMN round_trip_quality.markout_30s_bps IS 'Move from the price of its fills to the mid 30 s later, weighted by value, in basis points; positive is a gain.';
COMMENT ON COLUMN round_trip_quality.markout_5m_bps IS 'Move from the price of its fills to the mid 5 min later, weighted by value, in basis points; positive is a gain.';

-- The list of orders has their contract too.
CREATE OR REPLACE VIEW order_list AS
SELECT
    orders.recorder, orders.time_ns, orders.strategy, orders.venue, orders.instrument, orders.order_id,
    orders.state, orders.side, orders.quantity, orders.filled_quantity, orders.price, orders.arrival_price,
    orders.order_type, orders.signal_id, orders.reason, orders.account, orders.decided_ns,
    orders.decision_price, orders.queue_seconds, orders.limiter_seconds, orders.request_id,
    orders.stated_time_ns, orders.source, orders.epoch, orders.sequence, orders.received_ns,
    orders.is_final, orders.created_ns, orders.reported_state, orders.reported_states,
    orders.contradictions, orders.submitted_ns, orders.accepted_ns, orders.fills, orders.executed_quantity,
    orders.average_price, orders.first_fill_ns, orders.last_fill_ns, orders.first_fill_price,
    orders.last_fill_price, orders.created_source, orders.created_epoch, orders.created_sequence,
    requests.state AS request_state, requests.kind AS request_kind, requests.priority AS request_priority,
    orders.multiplier, orders.inverse, orders.currency, orders.rate
FROM orders LEFT JOIN order_requests AS requests
    ON requests.request_id = orders.request_id AND requests.recorder = orders.recorder
UNION ALL
SELECT
    recorder, updated_ns, strategy, venue, instrument, request_id, state, body ->> 'side', (body ->>
    'quantity')::double precision, NULL, (body ->> 'limit_price')::double precision, NULL, body ->>
    'order_type', body ->> 'signal_id', reason, account, NULL, NULL, NULL, NULL, request_id, NULL, '', 0, 0,
    created_ns, state IN ('done', 'rejected', 'cancelled', 'expired', 'dead'), created_ns, NULL, '{}', 0,
    NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, request_id, 0, 0, state, kind, priority,
    NULL, NULL, NULL, NULL
FROM order_requests
WHERE NOT EXISTS (
    SELECT 1 FROM orders
    WHERE orders.request_id = order_requests.request_id AND orders.recorder = order_requests.recorder
);
