"""The collectors and feeds that come with Decahertz, and their host."""
