"""Queries: histories, bars, lists, exports, and the event history that restores collectors."""
