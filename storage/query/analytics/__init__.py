"""Analytics of stored ticks: days, opening ranges, volume profiles."""
