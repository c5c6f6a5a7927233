"""The watchdog: evaluates the conditions that cannot wait for Prometheus, ten times a second."""
