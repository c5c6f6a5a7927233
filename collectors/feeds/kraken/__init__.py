"""Kraken (WebSocket version 1)."""
