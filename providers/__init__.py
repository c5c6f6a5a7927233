"""The gateway to market data of others: what stands in front of each provider, and the built-in providers."""
