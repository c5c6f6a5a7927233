"""Builds the dashboards in ``grafana/dashboards`` from the declared metrics, for ``scripts/derive.py``.

Names, units, descriptions and thresholds come from the declarations, so that a panel for a metric that does
not exist fails here and not on the screen.
"""
