"""The page of the recorder at ``/``, and Swagger UI at ``/docs``: static files, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from api.http.files import StaticFiles

PAGE_FOLDER: Final = Path(__file__).with_name("page")
DOCS_FOLDER: Final = Path(__file__).with_name("docs_page")
_OWN_ONLY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src {images};"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_NO_MARKUP: Final = "; require-trusted-types-for 'script'; trusted-types 'none'"
"""No text becomes HTML."""


def page() -> StaticFiles:
    """Serves ``/`` and ``/page/{file}``."""
    return StaticFiles(PAGE_FOLDER, _OWN_ONLY.format(images="'self'") + _NO_MARKUP)


def docs() -> StaticFiles:
    """Serves ``/docs`` and ``/docs/{file}``; the style sheet embeds its icons as ``data:`` URLs."""
    return StaticFiles(DOCS_FOLDER, _OWN_ONLY.format(images="'self' data:"))
