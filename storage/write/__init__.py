"""From spool entries to rows: encoding, the writer's transactions, and what they derive."""
