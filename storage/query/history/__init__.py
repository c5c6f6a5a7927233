"""Histories of samples: the resolution, and the SQL for raw rows and for buckets."""
