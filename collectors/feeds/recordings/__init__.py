"""Recorded markets: reading, replay and import."""
