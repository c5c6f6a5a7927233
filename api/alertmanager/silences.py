"""Silences in Alertmanager, for acknowledged alerts."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import msgspec

from decahertz.alert import SEVERITY, Acknowledgement, Alert
from decahertz.clock import format_time

_SUCCESS = 200
_NOT_FOUND = 404
_MAX_TEXT = 300


class SilenceError(Exception):
    """Alertmanager did not create the silence; the message says why in one line."""


class _Silence(msgspec.Struct, frozen=True):
    """Alertmanager's answer."""

    silence_id: str = msgspec.field(name="silenceID")


class Silences:
    """Creates silences. ``url`` is the address of Alertmanager."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = f"{url.rstrip('/')}/api/v2/silences"
        self._timeout_seconds = timeout_seconds

    async def silence(self, alert: Alert, acknowledgement: Acknowledgement) -> str:
        """Silences an alert, and its twin of the other origin, while it is acknowledged; returns the id.

        The silence of an earlier acknowledgement is replaced. Raises :class:`SilenceError`.
        """
        labels = {name: value for name, value in alert.labels.items() if name != SEVERITY}
        body = {
            "matchers": [
                {"name": name, "value": value, "isRegex": False, "isEqual": True}
                for name, value in labels.items()
            ],
            "startsAt": format_time(acknowledgement.time_ns),
            "endsAt": format_time(acknowledgement.until_ns),
            "createdBy": acknowledgement.who,
            "comment": acknowledgement.comment,
        }
        earlier = alert.acknowledgement.silence_id if alert.acknowledgement is not None else None
        try:
            async with asyncio.timeout(self._timeout_seconds), aiohttp.ClientSession() as session:
                if earlier is not None:
                    made = await self._post(session, {**body, "id": earlier})
                    if made is not None:
                        return made
                made = await self._post(session, body)
        except TimeoutError as error:
            reason = f"Alertmanager did not answer within {self._timeout_seconds:g} s"
            raise SilenceError(reason) from error
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError, ValueError) as error:
            raise SilenceError(f"Alertmanager: {error}") from error
        if made is None:
            raise SilenceError("this address is not an Alertmanager: check alerts.alertmanager_url")
        return made

    async def _post(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> str | None:
        """Returns the id of the silence; ``None`` if Alertmanager answers 404."""
        async with session.post(self._url, json=body, allow_redirects=False) as response:
            data = await response.read()
            if response.status == _NOT_FOUND:
                return None
            if response.status != _SUCCESS:
                text = data.decode(errors="replace").strip()[:_MAX_TEXT]
                raise SilenceError(f"Alertmanager answered {response.status}: {text}")
            return msgspec.json.decode(data, type=_Silence).silence_id
