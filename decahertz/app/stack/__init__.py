"""Prometheus, Alertmanager and Grafana next to the recorder, with the shipped configuration."""
