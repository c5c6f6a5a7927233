-- Orders are found by the time of their submission; without a report of it, by that of their first report.

CREATE INDEX orders_submitted ON orders ((coalesce(submitted_ns, created_ns)));
