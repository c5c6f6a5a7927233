"""Signals that the recorder generates from its own bars, on request and on a schedule."""
