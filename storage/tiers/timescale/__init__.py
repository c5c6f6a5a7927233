"""The tier engine for TimescaleDB."""
