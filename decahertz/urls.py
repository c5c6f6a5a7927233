"""Checks URLs that may have a password in them, and says what is wrong without a piece of the password."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from urllib.parse import quote

_PORT_MAX = 65535
_HOST = re.compile(r"(?:\[[\w.:%]+\]|[^\[\]:]*)(?::(\d*))?")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class UrlError(ValueError):
    """Raised for a URL that programs read in different ways, or not at all; ``str()`` is the reason."""


def check_url(url: str, schemes: Collection[str], parameters: Collection[str] | None = None) -> None:
    """Raises :class:`UrlError` unless every reader finds the same user, password, hosts and path in ``url``.

    ``parameters`` are the names that may follow the question mark; ``None`` allows any.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in schemes:
        raise UrlError(f"the URL begins with none of {', '.join(f'{name}://' for name in schemes)}")
    if not rest.isprintable() or " " in rest:
        raise UrlError("the URL has a blank or a control character: write a blank as %20")
    if _BAD_PERCENT.search(rest):
        raise _unencoded("%")
    if "#" in rest:
        raise _unencoded("#")
    authority, after = re.fullmatch(r"([^/?]*)(.*)", rest).groups()  # type: ignore[union-attr] # matches all
    user, at, hosts = authority.rpartition("@")
    _check_user(user, after, has_user=bool(at))
    for host in hosts.split(","):
        _check_host(host)
    for name, value in _parameters(after.partition("?")[2]):
        _check_parameter(name, value, parameters)


def _check_user(user: str, after: str, *, has_user: bool) -> None:
    if "@" in user or (has_user and "@" in after):
        raise _unencoded("@")
    if "@" in after:  # what seems to be the host is the user, and the rest is a part of the password
        raise _unencoded(after[0])
    for character in "[]":
        if character in user:
            raise _unencoded(character)


def _check_host(host: str) -> None:
    match = _HOST.fullmatch(host)
    if match is None or (match[1] and not _is_port(match[1])):
        raise UrlError(
            f"the port is not a number from 1 to {_PORT_MAX}, or a name or password in the URL has a special"
            " character: write # as %23, / as %2F, ? as %3F, @ as %40, : as %3A, [ as %5B, ] as %5D"
        )


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= _PORT_MAX


def _parameters(query: str) -> Iterator[tuple[str, str]]:
    for pair in query.split("&") if query else ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise UrlError("the URL has a part after ? that is not name=value; in a password, write ? as %3F")
        yield name, value


def _check_parameter(name: str, value: str, known: Collection[str] | None) -> None:
    if known is not None and name not in known:
        raise UrlError(f"the URL has the parameter {name!r}, which is not supported: remove it")
    if name == "port" and not all(map(_is_port, value.split(","))):
        raise UrlError(f"the port in the URL is not a number from 1 to {_PORT_MAX}")


def _unencoded(character: str) -> UrlError:
    return UrlError(
        f"the URL has the character {character} in a place where it means something else:"
        f" in a name or password, write {character} as {quote(character, safe='')}"
    )
