"""The system collector."""
