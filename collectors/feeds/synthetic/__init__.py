"""A market that does not exist, for demos and load tests."""
