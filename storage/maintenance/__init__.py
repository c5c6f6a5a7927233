"""Maintenance of the database: status, backup, dead letters."""
