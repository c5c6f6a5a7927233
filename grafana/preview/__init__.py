"""Draws the dashboards with the data of a run; ``scripts/dashboards-preview`` is the command."""
