"""The portfolio collector."""
