"""The execution collector."""
