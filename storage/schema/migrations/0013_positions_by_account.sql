-- The newest position of each account, found without reading the others.

DROP INDEX positions_strategy;
CREATE INDEX positions_account ON positions (strategy, venue, instrument, account, time_ns);
