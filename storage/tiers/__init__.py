"""Tiers of the samples: roll-up, partitions, TimescaleDB, retention."""
