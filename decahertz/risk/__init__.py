"""The recorder's own risk limits."""
