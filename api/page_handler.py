"""Serves the page: the files below ``api/page``, with headers that confine it to this server."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Final

from aiohttp import web

from api.http.files import StaticFiles, read_files

PAGE_FOLDER: Final = Path(__file__).with_name("page")
SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Content-Security-Policy: nothing inline, nothing from other servers, no text that becomes HTML."""
_HEADERS: Final = {
    "Content-Security-Policy": SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def page(request: web.Request) -> web.Response:
    """Serves ``/`` and ``/page/{file}``. The first request reads the files."""
    return await (await asyncio.to_thread(_files))(request)


@functools.cache
def _files() -> StaticFiles:
    return StaticFiles(read_files(PAGE_FOLDER), _HEADERS, "index.html")
