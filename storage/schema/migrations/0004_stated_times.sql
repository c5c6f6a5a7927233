-- The time that an emitter stated for an order or a fill, where it could not be right.
ALTER TABLE order_events ADD COLUMN stated_time_ns bigint;
ALTER TABLE orders ADD COLUMN stated_time_ns bigint;
ALTER TABLE fills ADD COLUMN stated_time_ns bigint;
COMMENT ON COLUMN order_events.stated_time_ns IS
    'The time that the emitter stated, if it could not be right: time_ns is then corrected, or that of receipt.';
COMMENT ON COLUMN orders.stated_time_ns IS
    'The time that the emitter stated for the newest change, if it could not be right.';
COMMENT ON COLUMN fills.stated_time_ns IS
    'The time that the emitter stated, if it could not be right: time_ns is then corrected, or that of receipt.';
