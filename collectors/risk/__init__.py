"""The risk collector."""
