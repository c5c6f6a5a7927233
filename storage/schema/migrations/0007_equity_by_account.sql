-- The last equity of each day and account, found without reading the others.

CREATE INDEX equity_account ON equity (strategy, account, time_ns);
