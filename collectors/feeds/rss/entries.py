"""Entries of RSS and Atom documents, parsed by feedparser."""

from __future__ import annotations

import calendar
import html
import io
import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from decahertz.clock import NS_PER_SECOND

_TAG: Final = re.compile(r"<[^>]*>")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_MOST_CHARACTERS: Final = 1024
_LONGEST_ID: Final = 256
_LONGEST_URL: Final = 2048


class MalformedFeedError(ValueError):
    """Raised for a document that is neither RSS nor Atom."""


class Entry(Struct, frozen=True, kw_only=True):
    """One entry."""

    entry_id: str
    """Its id, or else its link, or else its title."""
    title: str
    """Plain text."""
    url: str | None
    published_ns: int | None


def parse_entries(document: bytes, headers: Mapping[str, str]) -> tuple[str, list[Entry]]:
    """The title of the feed, and its entries as they stand. Raises :class:`MalformedFeedError`.

    ``headers`` are those of the response: they may tell the encoding. Takes milliseconds for each ten
    kilobytes, so it belongs into a thread.
    """
    import feedparser  # noqa: PLC0415 - only a recorder that reads news needs it

    # A file object: feedparser would take bytes for the name of a file.
    try:
        parsed = feedparser.parse(io.BytesIO(document), response_headers=dict(headers))
    except Exception as error:  # a document may bring it to raise anything
        raise MalformedFeedError(f"cannot be parsed: {type(error).__name__}") from error
    if not parsed.get("version") and not parsed.entries:
        reason = parsed.get("bozo_exception")
        raise MalformedFeedError(f"neither RSS nor Atom{f': {reason}' if reason else ''}"[:256])
    return _text(parsed.feed.get("title", "")), [
        entry for one in parsed.entries if (entry := _entry(one)) is not None
    ]


def _entry(given: Mapping[str, Any]) -> Entry | None:
    title = _text(given.get("title", ""))
    if not title:
        return None
    url = str(given.get("link") or "")
    moment = given.get("published_parsed") or given.get("updated_parsed")
    return Entry(
        entry_id=(_CONTROL.sub("", str(given.get("id") or url)) or title)[:_LONGEST_ID],
        title=title,
        url=_CONTROL.sub("", url) if 0 < len(url) <= _LONGEST_URL else None,
        published_ns=None if moment is None else calendar.timegm(moment) * NS_PER_SECOND,
    )


def _text(markup: str) -> str:
    """Plain text of a title, which may have markup and references in it."""
    plain = html.unescape(_TAG.sub(" ", markup))
    return " ".join(_CONTROL.sub(" ", plain).split())[:_MOST_CHARACTERS]
