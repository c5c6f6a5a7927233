"""Measurements, as ratios within one run. ``scripts/bench [NAME…] [--json FILE]`` runs them."""
