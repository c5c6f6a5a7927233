"""The feed ``rss``: headlines from RSS and Atom documents, polled with conditional requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import aiohttp
import msgspec
import structlog
from msgspec import Meta, Struct

from collectors.feeds.rss.entries import Entry, MalformedFeedError, parse_entries
from collectors.feeds.rss.titles import RecentTitles, Title, title_of
from decahertz.clock import NS_PER_SECOND
from decahertz.event import ConnectionState, Heartbeat, News
from decahertz.feed import BaseFeed
from decahertz.incident import Incident
from decahertz.settings import Seconds

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from decahertz.feed import Emit

STATE_FILE: Final = "seen.json"
_KEPT_HEADERS: Final = ("etag", "last-modified", "content-type", "content-language")
_NOT_MODIFIED: Final = 304
_REFUSED: Final = 400
_HOUR_NS: Final = 3600 * NS_PER_SECOND
_TITLES_NS: Final = 24 * _HOUR_NS
_MOST_TITLES: Final = 2000
_LEAST_KEPT: Final = 500
_SETTLED_SECONDS: Final = 3.0
_LONGEST_PAUSE_SECONDS: Final = 24 * 3600.0


class RssOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[feeds.rss]`` of the settings."""

    urls: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^https?://[^\s/]+\S*$")], ...],
        Meta(description="Addresses of RSS or Atom documents."),
    ] = ()
    poll_seconds: Annotated[
        Seconds, Meta(description="Interval of polling each of them; longer where its server asks for that.")
    ] = 300.0
    timeout_seconds: Annotated[Seconds, Meta(description="Limit of one request.")] = 15.0
    max_bytes: Annotated[int, Meta(ge=1024, le=50_000_000, description="Largest document that is read.")] = (
        2_000_000
    )
    max_age_hours: Annotated[
        float, Meta(gt=0, le=8784, description="Older entries of a document are not news.")
    ] = 48.0
    similarity: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Share of words from which a title counts as the same as one of the last 24 h.",
        ),
    ] = 0.8
    instruments: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[^=]+=[^=]+$")], ...],
        Meta(description="Words that tie a title to an instrument: `BTC-USD=bitcoin/btc`."),
    ] = ()


class _Source(Struct, kw_only=True):
    """State of one document."""

    etag: str = ""
    modified: str = ""
    ids: dict[str, None] = {}
    """Ids of the newest entries, the oldest first."""


class _State(Struct, kw_only=True):
    """State of the feed, as it is kept over restarts."""

    sources: dict[str, _Source] = {}
    titles: list[Title] = []


class FetchError(Exception):
    """A document could not be read; the text is the reason in one line."""

    def __init__(self, reason: str, retry_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_seconds = retry_seconds


class RssFeed(BaseFeed[RssOptions]):
    """Polls documents and emits each of their entries once, as ``news``.

    An entry is known by its id; one whose title is near-equal to that of the last 24 hours is a repeat too.
    The state (ids, titles, ``ETag``, ``Last-Modified``) is kept in ``folder``. It is written once the
    headlines of the poll before are durable, so a killed recorder repeats some rather than losing any.
    """

    name: ClassVar[str] = "rss"
    options_type: ClassVar[type[Struct]] = RssOptions

    def __init__(self, clock: Clock, options: RssOptions, *, folder: Path | None = None) -> None:
        super().__init__(clock, options)
        self._file = None if folder is None else folder / STATE_FILE
        self._state = _State()
        self._titles = RecentTitles(options.similarity, _TITLES_NS, _MOST_TITLES)
        self._patterns = [_pattern_of(text) for text in options.instruments]
        self._errors: dict[str, str] = {}
        self._incidents: dict[str, Incident] = {}
        self._paused_until_ns: dict[str, int] = {}
        self._last_error: str | None = None
        self._polled = False

    @property
    def is_connected(self) -> bool:
        """Whether any document could be read at its last poll."""
        return self._polled and len(self._errors) < len(self.options.urls)

    @property
    def last_error(self) -> str | None:
        """Why a document could not be read the last time that one could not."""
        return self._last_error

    async def run(self, emit: Emit) -> None:
        """Polls all documents until cancelled. Returns at once without any."""
        if not self.options.urls:
            return
        await asyncio.to_thread(self._load)
        timeout = aiohttp.ClientTimeout(total=self.options.timeout_seconds)
        headers = {
            "User-Agent": "decahertz",
            "Accept": "application/rss+xml, application/atom+xml, */*;q=0.5",
        }
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            while True:
                await asyncio.gather(*(self._watch(session, url, emit) for url in self.options.urls))
                self._polled = True
                now_ns = self.clock.time_ns()
                connection = ConnectionState.OPEN if self.is_connected else ConnectionState.DISCONNECTED
                await emit([Heartbeat(time_ns=now_ns, component=self.name, connection=connection)], now_ns)
                began_ns = self.clock.monotonic_ns()
                try:
                    await asyncio.sleep(self.options.poll_seconds)
                finally:
                    if self.clock.monotonic_ns() - began_ns >= _pause_before_saving_ns(self.options):
                        await asyncio.shield(asyncio.to_thread(self._save, self._encoded()))

    async def _watch(self, session: aiohttp.ClientSession, url: str, emit: Emit) -> None:
        source = self._state.sources.setdefault(url, _Source())
        if self.clock.monotonic_ns() < self._paused_until_ns.get(url, 0):
            return
        try:
            await self._poll(session, url, source, emit)
        except FetchError as error:
            pause_ns = round(min(error.retry_seconds, _LONGEST_PAUSE_SECONDS) * NS_PER_SECOND)
            self._paused_until_ns[url] = self.clock.monotonic_ns() + pause_ns
            self._failed(url, error)
        else:
            self._errors.pop(url, None)
            if url in self._incidents:
                self._incidents[url].recover()

    def _failed(self, url: str, error: FetchError) -> None:
        host = _host_of(url)  # the rest of the address may be a secret
        self.count("errors")
        self._last_error = self._errors[url] = f"{host}: {error}"
        if url not in self._incidents:
            log = structlog.get_logger(part="feeds", feed=self.name, host=host)
            self._incidents[url] = Incident("news_fetch", log)
        self._incidents[url].fail(self.clock.monotonic_ns(), reason=str(error))

    async def _poll(self, session: aiohttp.ClientSession, url: str, source: _Source, emit: Emit) -> None:
        fetched = await self._fetch(session, url, source)
        self.count("messages")
        if fetched is None:
            self.count("unchanged")
            return
        document, headers = fetched
        received_ns = self.clock.time_ns()
        try:
            publisher, entries = await asyncio.to_thread(parse_entries, document, headers)
        except MalformedFeedError as error:
            self.count("malformed")
            raise FetchError(str(error)) from error
        except ModuleNotFoundError as error:
            raise FetchError("feedparser is not installed; it is in the extra `news`") from error
        news = [
            one
            for entry in entries
            if (one := self._news(entry, source, publisher or _host_of(url), received_ns)) is not None
        ]
        for known in list(source.ids)[: -max(_LEAST_KEPT, 2 * len(entries))]:
            del source.ids[known]
        if news:
            await emit(sorted(news, key=lambda one: one.time_ns), received_ns)
        # Only now: an answer that was not taken to its end is asked for again.
        source.etag, source.modified = headers["etag"], headers["last-modified"]

    def _news(self, entry: Entry, source: _Source, publisher: str, received_ns: int) -> News | None:
        """The headline of an entry; ``None``: it is not news."""
        if entry.entry_id in source.ids:
            return None
        source.ids[entry.entry_id] = None
        published_ns = entry.published_ns if entry.published_ns and entry.published_ns > 0 else received_ns
        time_ns = min(published_ns, received_ns)
        if received_ns - time_ns > self.options.max_age_hours * _HOUR_NS:
            self.count("old")
            return None
        if not self._titles.is_new(title_of(entry.title, received_ns)):
            self.count("duplicates")
            return None
        return News(
            time_ns=time_ns,
            headline=entry.title,
            publisher=publisher[:256],
            instruments=tuple(name for name, words in self._patterns if words.search(entry.title)),
            news_id=entry.entry_id,
            url=entry.url,
        )

    async def _fetch(
        self, session: aiohttp.ClientSession, url: str, source: _Source
    ) -> tuple[bytes, dict[str, str]] | None:
        """A document and the headers of its response; ``None``: it has not changed."""
        conditions = {"If-None-Match": source.etag, "If-Modified-Since": source.modified}
        try:
            async with session.get(url, headers={k: v for k, v in conditions.items() if v}) as response:
                if response.status == _NOT_MODIFIED:
                    return None
                if response.status >= _REFUSED:
                    raise FetchError(f"HTTP {response.status}", _retry_seconds(response.headers))
                document = bytearray()
                async for chunk in response.content.iter_chunked(65_536):
                    document += chunk
                    if len(document) > self.options.max_bytes:
                        raise FetchError(f"more than {self.options.max_bytes} bytes")
                headers = {name: response.headers.get(name, "") for name in _KEPT_HEADERS}
                return bytes(document), headers
        except TimeoutError as error:
            raise FetchError(f"no answer within {self.options.timeout_seconds:g} s") from error
        except aiohttp.ClientError as error:
            raise FetchError(_reason(error)) from error

    def _load(self) -> None:
        state = _State()
        try:
            if self._file is not None:
                state = msgspec.json.decode(self._file.read_bytes(), type=_State)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:  # everything counts as new
            log = structlog.get_logger(part="feeds", feed=self.name)
            log.warning("news_state_unreadable", reason=str(error))
        urls = set(self.options.urls)
        state.sources = {url: one for url, one in state.sources.items() if url in urls}
        self._state = state
        self._titles = RecentTitles(self.options.similarity, _TITLES_NS, _MOST_TITLES)
        self._titles.load(state.titles)

    def _encoded(self) -> bytes:
        self._state.titles = self._titles.list()
        return msgspec.json.encode(self._state)

    def _save(self, state: bytes) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # a full disk is reported by the spool; the next poll tries again
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._file.with_suffix(".tmp")
            temporary.write_bytes(state)
            temporary.replace(self._file)


def _pattern_of(text: str) -> tuple[str, re.Pattern[str]]:
    """An instrument and the pattern of its words: of ``BTC-USD=bitcoin/btc``."""
    name, _, words = text.partition("=")
    choices = "|".join(re.escape(word.strip()) for word in words.split("/") if word.strip())
    if not choices:
        raise ValueError(f"instruments: {text!r} has no words")
    return name.strip(), re.compile(rf"(?<!\w)(?:{choices})(?!\w)", re.IGNORECASE)


def _pause_before_saving_ns(options: RssOptions) -> int:
    """Time after which the headlines of a poll are durable, or will be when the recorder stops.

    A stop cancels the feed up to two seconds after the host has begun to take no more events.
    """
    return round(min(_SETTLED_SECONDS, options.poll_seconds) * NS_PER_SECOND)


def _host_of(url: str) -> str:
    return url.split("/")[2].rpartition("@")[2]


def _retry_seconds(headers: Any) -> float:  # noqa: ANN401 - a mapping of aiohttp
    """``Retry-After`` in seconds; 0 without it, or where it is a date."""
    value = headers.get("Retry-After", "")
    return float(value) if re.fullmatch(r"\d{1,9}", value) else 0.0


def _reason(error: aiohttp.ClientError) -> str:
    """The error without the address, which may be a secret."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return f"no connection: {os.strerror(number) if number else type(error.os_error).__name__}"
    return type(error).__name__
