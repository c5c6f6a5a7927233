"""Keys of the API: ``dhz_{id}_{secret}``.

The id is public and finds the key. The secret has 256 random bits; only its scrypt hash is stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from api.http.access import Scope
from storage.write.api_keys import ApiKey

_KEY: Final = re.compile(r"dhz_([a-z2-7]{12})_([A-Za-z0-9_-]{43})")
_SECRET_BYTES: Final = 32
_SALT_BYTES: Final = 16
_COST, _BLOCK, _PARALLEL = 2**14, 8, 1
_MAX_MEMORY: Final = 64 * 1024 * 1024
GRANTABLE: Final = tuple(scope for scope in Scope if scope is not Scope.PUBLIC)
"""Scopes that a key may have."""


class KeyText(Struct, frozen=True):
    """A key as its owner holds it. Its ``repr`` hides the secret."""

    id: str
    secret: str

    def reveal(self) -> str:
        """The key in full, to hand to its owner once."""
        return f"dhz_{self.id}_{self.secret}"

    def __repr__(self) -> str:
        """Without the secret."""
        return f"KeyText({self.id!r}, …)"

    __str__ = __repr__


def parse_key(text: str) -> KeyText | None:
    """Parses a key; ``None`` for a text that is none."""
    match = _KEY.fullmatch(text)
    return None if match is None else KeyText(match[1], match[2])


def new_key(
    name: str,
    scopes: Iterable[Scope],
    *,
    now_ns: int,
    expires_ns: int | None = None,
    text: KeyText | None = None,
) -> tuple[KeyText, ApiKey]:
    """Makes a key: what its owner gets, and what is stored. Takes some 50 ms.

    ``text`` is one that its owner has already; by default it is random.
    """
    if text is None:
        key_id = base64.b32encode(secrets.token_bytes(8))[:12].decode().lower()
        text = KeyText(key_id, secrets.token_urlsafe(_SECRET_BYTES))
    stored = ApiKey(
        id=text.id,
        name=name,
        scopes=tuple(scope.value for scope in Scope if scope in set(scopes)),
        hash=_hashed(text.secret, secrets.token_bytes(_SALT_BYTES)),
        created_ns=now_ns,
        expires_ns=expires_ns,
    )
    return text, stored


def matches(secret: str, stored_hash: str) -> bool:
    """Whether the hash is of this secret. Takes some 50 ms; runs outside the interpreter's lock."""
    try:
        kind, cost, block, parallel, salt, _ = stored_hash.split("$")
        found = _hashed(secret, base64.b64decode(salt), int(cost), int(block), int(parallel))
    except ValueError:
        return False
    return kind == "scrypt" and hmac.compare_digest(found, stored_hash)


def _hashed(
    secret: str, salt: bytes, cost: int = _COST, block: int = _BLOCK, parallel: int = _PARALLEL
) -> str:
    digest = hashlib.scrypt(
        secret.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=_MAX_MEMORY, dklen=32
    )
    texts = (base64.b64encode(value).decode() for value in (salt, digest))
    return "$".join(("scrypt", str(cost), str(block), str(parallel), *texts))
