"""Sentiment of headlines."""
