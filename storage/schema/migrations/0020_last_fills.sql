-- The latency to the last fill of orders that have ended.

ALTER TABLE orders ADD COLUMN submit_to_last_fill_seconds double precision;
COMMENT ON COLUMN orders.submit_to_last_fill_seconds IS
    'From the submission to the last fill, of an order that has ended.';
UPDATE orders SET submit_to_last_fill_seconds = (last_fill_ns - submitted_ns) / 1e9::double precision
WHERE is_final AND last_fill_ns IS NOT NULL AND submitted_ns IS NOT NULL;
