"""Recorded markets: reading, replaying, importing them."""
