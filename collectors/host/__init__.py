"""The sampler, and its collectors: loading, isolation, restoring of state, metrics."""
