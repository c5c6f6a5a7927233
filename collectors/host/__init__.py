"""The sampler and all that stands between it and a collector: loading, guarding, restoring, measuring."""
