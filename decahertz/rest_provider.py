"""Base class of providers that ask a REST API over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import Meta

from decahertz import __version__
from decahertz.provider import (
    BaseProvider,
    InvalidAnswerError,
    ProviderOptions,
    UnknownSymbolError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
)

_MOST_BYTES: Final = 1024 * 1024
"""Largest answer, decompressed."""
_RETRY_SECONDS: Final = 1.0
"""Pause after a 429 without ``Retry-After``."""
_LONGEST_RETRY_SECONDS: Final = 3 * 86_400.0
"""Binance excludes an address for up to three days, and for longer if it goes on calling."""
_NOT_FOUND: Final = 404
_RATE_LIMITED: Final = frozenset({418, 429})
"""418 is what Binance says to those who go on after a 429."""
_SUCCESS: Final = 200
_SERVER_ERRORS: Final = range(500, 600)

HttpUrl = Annotated[str, Meta(pattern=r"^https?://[^\s@?#]+$", description="Address of the API.")]
T = TypeVar("T")


class RestOptions(ProviderOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of every REST provider. A venue adds a default for ``url``."""

    url: HttpUrl


OptionsT = TypeVar("OptionsT", bound=RestOptions)


class RestProvider(BaseProvider[OptionsT]):
    """Asks with ``GET`` and decodes JSON into a type. It follows no redirects, and keeps no cookies."""

    options_type: ClassVar[type[ProviderOptions]] = RestOptions
    _session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Makes the session; connections follow with the first call."""
        self._session = aiohttp.ClientSession(
            # The gateway limits the time of the whole call.
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"decahertz/{__version__}", "Accept": "application/json"},
        )

    async def stop(self) -> None:
        """Closes the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def headers(self) -> Mapping[str, str]:
        """Headers of each call, such as a key; none by default."""
        return {}

    async def get(self, path: str, type_: type[T], parameters: Mapping[str, str] | None = None) -> T:
        """The decoded body of a response with status 200; ``path`` follows the URL of the options.

        Numbers are decoded from texts too, and ``Decimal`` without rounding. Raises
        :class:`~decahertz.provider.ProviderError`.
        """
        if self._session is None:
            raise UpstreamUnavailableError("the provider is stopped")
        try:
            async with self._session.get(
                self.options.url.rstrip("/") + path,
                params=parameters,
                headers=self.headers(),
                allow_redirects=False,
            ) as response:
                body = await _read(response)
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            # Not the error's own text, which may quote the URL with its parameters.
            raise UpstreamUnavailableError(f"{self.host}: {_reason(error)}") from error
        if response.status != _SUCCESS:
            raise self.problem(response, body)
        try:
            return msgspec.json.decode(body, type=type_, strict=False)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise InvalidAnswerError(f"{self.host}: {error}") from error

    def problem(self, response: aiohttp.ClientResponse, body: bytes) -> Exception:  # noqa: ARG002 - for venues
        """The error of a response whose status is not 200; a venue with other statuses extends it."""
        status, text = response.status, f"{self.host} answers {response.status}"
        if status in _RATE_LIMITED:
            return UpstreamRateLimitedError(text, _retry_seconds(response.headers.get("Retry-After")))
        if status == _NOT_FOUND:
            return UnknownSymbolError(text)
        if status in _SERVER_ERRORS:
            return UpstreamUnavailableError(text)
        return UpstreamRefusedError(text)

    def source(self, path: str) -> str:
        """Where the data comes from: the address without parameters."""
        return self.options.url.rstrip("/") + path

    @property
    def host(self) -> str:
        """Host and port of the API."""
        return urlsplit(self.options.url).netloc


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > _MOST_BYTES:
            response.close()
            raise InvalidAnswerError(f"{response.url.host} answers with more than {_MOST_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _reason(error: BaseException) -> str:
    number = getattr(error, "strerror", None)
    return f"{type(error).__name__}: {number}" if isinstance(number, str) else type(error).__name__


def _retry_seconds(header: str | None) -> float:
    """The seconds of ``Retry-After``; a date, which no venue here sends, counts as the default."""
    try:
        seconds = float(header) if header is not None else _RETRY_SECONDS
    except ValueError:
        return _RETRY_SECONDS
    return min(max(seconds, 0.0), _LONGEST_RETRY_SECONDS) if seconds == seconds else _RETRY_SECONDS  # noqa: PLR0124 - NaN
