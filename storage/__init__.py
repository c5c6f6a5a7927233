"""Where everything ends up: the embedded PostgreSQL, the spool, the tables, and the queries over them."""
