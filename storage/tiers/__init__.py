"""Tiers: what is kept of samples when their raw rows are gone, and how long anything is kept."""
