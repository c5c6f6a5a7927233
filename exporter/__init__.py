"""Exposition of samples and self-metrics to Prometheus."""
