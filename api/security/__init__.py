"""Keys, scopes, sessions, rate limits, TLS and the audit log of the API."""
