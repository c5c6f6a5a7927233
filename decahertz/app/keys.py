"""``decahertz keys``: creates, lists and revokes keys of the API."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from api.http.access import Scope
from api.security.keys import GRANTABLE, KeyText, matches, new_key, parse_key
from decahertz.app.command_line_audit import command_line_entry
from decahertz.app.database import open_database, refuse_without_database, start_errors
from decahertz.app.own_keys import PRIVATE_FILE
from decahertz.app.start_error import StartError
from decahertz.clock import NS_PER_SECOND, SystemClock, TimeFormatError, format_time, parse_time
from storage.write.api_keys import ApiKey, ApiKeyStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from decahertz.app.settings import Settings

_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_UNIT_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}


class ShownKey(Struct, frozen=True, kw_only=True):
    """A key as ``keys list --json`` prints it."""

    id: str
    name: str
    scopes: tuple[str, ...]
    state: str
    created: str
    expires: str | None
    last_used: str | None
    revoked: str | None


async def run_create(
    settings: Settings,
    name: str,
    scopes: Sequence[str],
    *,
    expires: str,
    output: Path | None,
    given: Path | None = None,
) -> int:
    """Creates a key and prints it, once; or that in the file ``given``, which is not printed.

    Raises :class:`~decahertz.app.start_error.StartError`.
    """
    if not _NAME.fullmatch(name) or name != name.strip():
        raise StartError("The name of a key has 1 to 128 characters and no control characters.")
    now_ns = SystemClock().time_ns()
    text, key = new_key(
        name,
        _scopes(scopes),
        now_ns=now_ns,
        expires_ns=_expires_ns(expires, now_ns),
        text=None if given is None else _given(given),
    )
    with start_errors():
        async with open_database(settings, share=True) as (database, _):
            store = ApiKeyStore(database)
            stored = next((one for one in await store.all() if one.id == key.id), None)
            if stored is not None:
                return _created_before(stored, text, key)
            if output is not None:
                _write(output, text.reveal())
            granted = {"name": name, "scopes": key.scopes, "expires_ns": key.expires_ns}
            await store.add(key, command_line_entry("key.create", key.id, now_ns, None, granted))
    until = "never expires" if key.expires_ns is None else f"expires {format_time(key.expires_ns)}"
    sys.stderr.write(f"Key {key.id} ({name}): {', '.join(key.scopes)}; {until}.\n")
    if output is None and given is None:
        sys.stderr.write("It is shown once and stored nowhere:\n")
        sys.stdout.write(text.reveal() + "\n")
    return 0


async def run_list(settings: Settings, *, as_json: bool) -> int:
    """Prints every key, the oldest first. Raises :class:`~decahertz.app.start_error.StartError`."""
    refuse_without_database(settings)
    now_ns = SystemClock().time_ns()
    with start_errors():
        async with open_database(settings, share=True) as (database, _):
            keys = [_shown(key, now_ns) for key in await ApiKeyStore(database).all()]
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(keys)).decode() + "\n")
        return 0
    for key in keys:
        scopes = ",".join(key.scopes)
        used = f"last used {key.last_used}" if key.last_used else "never used"
        sys.stdout.write(f"{key.id}  {key.state:<8} {scopes:<24} {key.name}  ({used})\n")
    if not keys:
        sys.stdout.write("There are no keys: `decahertz keys create` makes one.\n")
    return 0


async def run_revoke(settings: Settings, ids: Sequence[str]) -> int:
    """Revokes keys; returns 1 if one is unknown. Raises :class:`~decahertz.app.start_error.StartError`."""
    refuse_without_database(settings)
    if not ids:
        raise StartError("Name the keys to revoke by their ids, which `decahertz keys list` shows.")
    now_ns = SystemClock().time_ns()
    missing = 0
    with start_errors():
        async with open_database(settings, share=True) as (database, _):
            store = ApiKeyStore(database)
            known = {key.id: key for key in await store.all()}
            for key_id in ids:
                if key_id not in known:
                    sys.stderr.write(f"decahertz: there is no key {key_id[:64]!r}\n")
                    missing += 1
                elif await store.revoke(
                    key_id,
                    now_ns,
                    command_line_entry(
                        "key.revoke", key_id, now_ns, {"revoked_ns": None}, {"revoked_ns": now_ns}
                    ),
                ):
                    sys.stdout.write(f"{key_id} ({known[key_id].name}) is revoked.\n")
                else:
                    sys.stdout.write(f"{key_id} ({known[key_id].name}) was revoked before.\n")
    return 1 if missing else 0


def _scopes(texts: Sequence[str]) -> list[Scope]:
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    allowed = {scope.value: scope for scope in GRANTABLE}
    unknown = sorted(set(names) - allowed.keys())
    if unknown or not names:
        wrong = f"{unknown[0]!r} is not a scope. " if unknown else ""
        raise StartError(f"{wrong}Give the key at least one scope: --scope {' | '.join(allowed)}.")
    return [allowed[name] for name in names]


def _expires_ns(text: str, now_ns: int) -> int | None:
    if not text:
        return None
    duration = _DURATION.fullmatch(text)
    if duration is not None:
        return now_ns + int(duration[1]) * _UNIT_SECONDS[duration[2]] * NS_PER_SECOND
    try:
        expires_ns = parse_time(text)
    except TimeFormatError as error:
        raise StartError(f"--expires {text[:64]!r} is neither like 90d, 12h, 30m nor RFC 3339.") from error
    if not now_ns < expires_ns < 2**63:
        raise StartError(f"--expires {text[:64]!r} is not in the future.")
    return expires_ns


def _given(file: Path) -> KeyText:
    try:
        text = parse_key(file.read_text(encoding="ascii").strip())
    except OSError as error:
        raise StartError(f"cannot read {file}: {error.strerror}") from error
    except ValueError:
        text = None
    if text is None:
        raise StartError(f"{file} has no key: dhz_ID_SECRET, with 12 of a-z2-7 and 43 of A-Za-z0-9_-")
    return text


def _created_before(stored: ApiKey, text: KeyText, wanted: ApiKey) -> int:
    if not matches(text.secret, stored.hash) or set(stored.scopes) != set(wanted.scopes):
        raise StartError(f"there is a key {stored.id} with another secret or other scopes already")
    if not stored.is_valid(wanted.created_ns):
        raise StartError(f"the key {stored.id} was revoked or has expired: put another one into the file")
    sys.stderr.write(f"Key {stored.id} ({stored.name}) exists already.\n")
    return 0


def _write(file: Path, text: str) -> None:
    try:
        file.touch(PRIVATE_FILE, exist_ok=False)
        file.write_text(text + "\n", encoding="utf-8")
    except FileExistsError as error:
        raise StartError(f"{file} exists already; the key is not written over it.") from error
    except OSError as error:
        raise StartError(f"cannot write {file}: {error.strerror}") from error


def _shown(key: ApiKey, now_ns: int) -> ShownKey:
    def time(time_ns: int | None) -> str | None:
        return None if time_ns is None else format_time(time_ns)

    state = "valid" if key.is_valid(now_ns) else "expired" if key.revoked_ns is None else "revoked"
    return ShownKey(
        id=key.id,
        name=key.name,
        scopes=key.scopes,
        state=state,
        created=format_time(key.created_ns),
        expires=time(key.expires_ns),
        last_used=time(key.last_used_ns),
        revoked=time(key.revoked_ns),
    )
