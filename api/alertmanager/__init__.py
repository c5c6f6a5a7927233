"""Alertmanager: its webhook, and silences in it."""
