"""The tear sheet of a strategy or of the portfolio: one HTML file without scripts."""
