"""Where market events come from."""
