"""Static files, read at the first request and served from memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from decahertz.negotiation import accepts_gzip, gzipped

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""Files with other suffixes are not served."""
_GZIP_LEVEL = 9
_MIN_GZIP_BYTES = 1024
_TAG_DIGITS = 20


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file with its compressed form."""

    media_type: str
    plain: bytes
    compressed: bytes | None
    tag: str
    """Opaque tag of the content, without quotation marks."""


def read_files(folder: Path) -> dict[str, StaticFile]:
    """Reads the files below ``folder`` by their relative path. Blocks for some milliseconds."""
    return {
        path.relative_to(folder).as_posix(): _read(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in _MEDIA_TYPES and path.is_file()
    }


def _read(path: Path) -> StaticFile:
    plain = path.read_bytes()
    return StaticFile(
        media_type=_MEDIA_TYPES[path.suffix],
        plain=plain,
        compressed=gzipped((plain,), _GZIP_LEVEL) if len(plain) >= _MIN_GZIP_BYTES else None,
        tag=hashlib.sha256(plain).hexdigest()[:_TAG_DIGITS],
    )


class StaticFiles:
    """Serves a folder that a browser revalidates by ETags at each use, confined to this server."""

    def __init__(self, folder: Path, security_policy: str, index: str = "index.html") -> None:
        """``security_policy`` is the Content-Security-Policy; ``index`` the file of a request without one."""
        self._folder = folder
        self._index = index
        self._files: Mapping[str, StaticFile] | None = None
        self._headers = {
            "Content-Security-Policy": security_policy,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    async def __call__(self, request: web.Request) -> web.Response:
        """Responds with the file that the path field ``file`` names."""
        if self._files is None:  # few recorders are looked at
            self._files = await asyncio.to_thread(read_files, self._folder)
        file = self._files.get(request.match_info.get("file", self._index))
        if file is None:
            raise web.HTTPNotFound
        headers = {
            **self._headers,
            "Cache-Control": "no-cache",
            "ETag": f'W/"{file.tag}"',
            "Vary": "Accept-Encoding",
        }
        known = request.if_none_match or ()
        if any(tag.value in (file.tag, "*") for tag in known):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = file.media_type
        if file.compressed is not None and accepts_gzip(request.headers.get("Accept-Encoding")):
            return web.Response(body=file.compressed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=file.plain, headers=headers)
