"""Statistics of round trips and of daily changes: pure functions.

The strategy collector, the REST paths and the report compute with these functions, so they agree.
"""
