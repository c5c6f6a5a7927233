"""The tier engine for plain PostgreSQL."""
