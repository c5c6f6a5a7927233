"""Feeds: the sources of market events."""
