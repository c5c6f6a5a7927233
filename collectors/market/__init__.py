"""The market collector."""
