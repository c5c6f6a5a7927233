-- The queue of order requests, from which trading processes take.

CREATE TABLE order_requests (
    time timestamptz NOT NULL,
    request_id text COLLATE "C" PRIMARY KEY,
    recorder text COLLATE "C" NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    created_ns bigint NOT NULL,
    updated_ns bigint NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN (
        'queued', 'taken', 'working', 'done', 'rejected', 'cancelled', 'expired', 'dead', 'unresolved')),
    priority smallint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    strategy text COLLATE "C" NOT NULL,
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    account text COLLATE "C" NOT NULL,
    body jsonb NOT NULL,
    submitted_by text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C",
    body_hash bytea NOT NULL,
    valid_until_ns bigint,
    holder text COLLATE "C",
    session text COLLATE "C",
    lease_ns bigint NOT NULL DEFAULT 0,
    lease_until_ns bigint,
    token bigint NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    begun_ns bigint,
    cancel_requested_ns bigint,
    reason text,
    order_id text COLLATE "C",
    CHECK ((state IN ('taken', 'working')) = (lease_until_ns IS NOT NULL))
);
CREATE UNIQUE INDEX order_requests_idempotency ON order_requests (recorder, submitted_by, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX order_requests_queued ON order_requests (recorder, priority DESC, number) WHERE state = 'queued';
CREATE INDEX order_requests_held ON order_requests (recorder, session) WHERE state IN ('taken', 'working');
CREATE INDEX order_requests_created ON order_requests (created_ns);

COMMENT ON TABLE order_requests IS 'Order requests, each in its current state; the audit log has every change.';
COMMENT ON COLUMN order_requests.time IS 'When it was submitted.';
COMMENT ON COLUMN order_requests.request_id IS 'Identifies the request; orders and their reports repeat it.';
COMMENT ON COLUMN order_requests.recorder IS 'The recorder that keeps it.';
COMMENT ON COLUMN order_requests.number IS 'Order of submission: among equal priorities the lower number is taken first.';
COMMENT ON COLUMN order_requests.created_ns IS 'When it was submitted, in nanoseconds.';
COMMENT ON COLUMN order_requests.updated_ns IS 'Time of its newest change of state, in nanoseconds.';
COMMENT ON COLUMN order_requests.state IS 'queued, taken, working, done, rejected, cancelled, expired, dead or unresolved.';
COMMENT ON COLUMN order_requests.priority IS '0 low, 1 normal, 2 high, 3 urgent: higher is taken first.';
COMMENT ON COLUMN order_requests.kind IS 'equity, option_strategy or manual_legs.';
COMMENT ON COLUMN order_requests.strategy IS 'The strategy that the order belongs to.';
COMMENT ON COLUMN order_requests.venue IS 'The venue.';
COMMENT ON COLUMN order_requests.instrument IS 'The instrument; of options, their underlying.';
COMMENT ON COLUMN order_requests.account IS 'The account; empty for the only one.';
COMMENT ON COLUMN order_requests.body IS 'The request as it was submitted.';
COMMENT ON COLUMN order_requests.submitted_by IS 'Name of the key that submitted it; local without one.';
COMMENT ON COLUMN order_requests.idempotency_key IS 'Key under which the same submission is answered the same.';
COMMENT ON COLUMN order_requests.body_hash IS 'SHA-256 of the submission, to tell another one under the same key.';
COMMENT ON COLUMN order_requests.valid_until_ns IS 'When it expires unless a process has begun it, in nanoseconds.';
COMMENT ON COLUMN order_requests.holder IS 'The process that holds it, or held it last.';
COMMENT ON COLUMN order_requests.session IS 'The session of that process.';
COMMENT ON COLUMN order_requests.lease_ns IS 'Length of the newest lease, in nanoseconds.';
COMMENT ON COLUMN order_requests.lease_until_ns IS 'When the lease ends unless it is renewed, in nanoseconds; null: nobody holds it.';
COMMENT ON COLUMN order_requests.token IS 'Fencing token of the newest take.';
COMMENT ON COLUMN order_requests.attempts IS 'Times that a process took it.';
COMMENT ON COLUMN order_requests.begun_ns IS 'When its process began the last attempt, in nanoseconds.';
COMMENT ON COLUMN order_requests.cancel_requested_ns IS 'When its process was asked to cancel the order, in nanoseconds.';
COMMENT ON COLUMN order_requests.reason IS 'Why it has its state.';
COMMENT ON COLUMN order_requests.order_id IS 'The order that the process says it became.';

-- The order that a request became names the request.

ALTER TABLE order_events ADD COLUMN request_id text COLLATE "C";
ALTER TABLE orders ADD COLUMN request_id text COLLATE "C";
COMMENT ON COLUMN order_events.request_id IS 'The order request that led to the order, if one did.';
COMMENT ON COLUMN orders.request_id IS 'The order request that led to the order, if one did.';
CREATE INDEX orders_request ON orders (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX order_requests_newest ON order_requests (created_ns, request_id);

-- Orders, and requests that have not become orders, in one list.
CREATE VIEW order_list AS
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
    requests.state AS request_state, requests.kind AS request_kind, requests.priority AS request_priority
FROM orders LEFT JOIN order_requests AS requests
    ON requests.request_id = orders.request_id AND requests.recorder = orders.recorder
UNION ALL
SELECT
    recorder, updated_ns, strategy, venue, instrument, request_id, state, body ->> 'side', (body ->>
    'quantity')::double precision, NULL, (body ->> 'limit_price')::double precision, NULL, body ->>
    'order_type', body ->> 'signal_id', reason, account, NULL, NULL, NULL, NULL, request_id, NULL, '', 0, 0,
    created_ns, state IN ('done', 'rejected', 'cancelled', 'expired', 'dead'), created_ns, NULL, '{}', 0,
    NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, request_id, 0, 0, state, kind, priority
FROM order_requests
WHERE NOT EXISTS (
    SELECT 1 FROM orders
    WHERE orders.request_id = order_requests.request_id AND orders.recorder = order_requests.recorder
);
COMMENT ON VIEW order_list IS 'Orders, and requests that have not become orders, each in its current state.';
