"""Looking after a database: its status, backups, dead letters."""
