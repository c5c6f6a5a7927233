"""The tables: migrations, sample tables derived from the declarations, tiers' names."""
