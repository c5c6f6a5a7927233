"""URLs of PostgreSQL servers: checked, without their password, and as asyncpg reads them."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from decahertz.urls import check_url

_SCHEMES = ("postgresql", "postgres")
# URL parameters of libpq that asyncpg would pass on to the server, which refuses them.
_LIBPQ_ONLY = frozenset(
    {
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "fallback_application_name",
        "gssdelegation",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "require_auth",
        "sslcompression",
        "sslsni",
        "tcp_user_timeout",
    }
)
_PARAMETERS = _LIBPQ_ONLY | {
    "application_name",
    "dbname",
    "gsslib",
    "host",
    "krbsrvname",
    "options",
    "passfile",
    "password",
    "port",
    "service",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "target_session_attrs",
    "user",
}
"""URL parameters that libpq and asyncpg know, or that only libpq needs."""


def check_database_url(url: str) -> None:
    """Raises :class:`~decahertz.urls.UrlError` unless asyncpg and libpq read the same in ``url``."""
    check_url(url, _SCHEMES, _PARAMETERS)


def redact(url: str) -> str:
    """The URL of a database without its password, for logs and messages."""
    url = re.sub(r"(?<=://)([^:/?#]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"(?i)((?:ssl)?password=)[^&\s]*", r"\1***", url)


def for_asyncpg(url: str) -> str:
    """The URL without the parameters that asyncpg does not know."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if not _LIBPQ_ONLY.intersection(name for name, _ in pairs):
        return url
    kept = urlencode([(name, value) for name, value in pairs if name not in _LIBPQ_ONLY])
    return urlunsplit(parts._replace(query=kept))
