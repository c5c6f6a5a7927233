"""The strategy collector."""
