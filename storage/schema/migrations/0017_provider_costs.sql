-- What the calls of providers have cost, by day: budgets count across restarts and recorders.

CREATE TABLE provider_costs (
    time timestamptz NOT NULL,
    provider text COLLATE "C" NOT NULL,
    key_name text COLLATE "C" NOT NULL,
    cost double precision NOT NULL,
    calls bigint NOT NULL,
    PRIMARY KEY (provider, time, key_name)
);

COMMENT ON TABLE provider_costs IS 'Costs of the calls of providers that have a budget.';
COMMENT ON COLUMN provider_costs.provider IS 'Name of the provider.';
COMMENT ON COLUMN provider_costs.time IS 'Start of the day, UTC.';
COMMENT ON COLUMN provider_costs.key_name IS 'Name of the API key that asked, local without one, recorder for its own; empty: all together.';
COMMENT ON COLUMN provider_costs.cost IS 'Costs, in the unit of the budget.';
COMMENT ON COLUMN provider_costs.calls IS 'Calls.';
