"""Serves Swagger UI at ``/docs``: the files below ``api/docs_page``, confined to this server."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Final

from aiohttp import web

from api.http.files import StaticFiles, read_files

DOCS_FOLDER: Final = Path(__file__).with_name("docs_page")
SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: nothing inline and nothing from other servers; Swagger UI's style sheet embeds its
icons as ``data:`` URLs."""
_HEADERS: Final = {
    "Content-Security-Policy": SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def docs(request: web.Request) -> web.Response:
    """Serves ``/docs`` and ``/docs/{file}``. The first request reads the files: few recorders need them."""
    return await (await asyncio.to_thread(_files))(request)


@functools.cache
def _files() -> StaticFiles:
    return StaticFiles(read_files(DOCS_FOLDER), _HEADERS, "index.html")
