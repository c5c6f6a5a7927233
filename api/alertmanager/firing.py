"""Alerts that fire in Alertmanager, reported or not."""

from __future__ import annotations

import asyncio

import aiohttp
import msgspec

from decahertz.clock import NS_PER_SECOND, Clock, parse_time
from storage.write.alert_queue import AlertmanagerError

_SETTLED_NS = 300 * NS_PER_SECOND
"""After a start Alertmanager knows no alert until Prometheus has sent them all again: a minute or two."""


class _Status(msgspec.Struct, frozen=True):
    uptime: str
    """When it started."""


class _Alert(msgspec.Struct, frozen=True):
    fingerprint: str


class FiringAlerts:
    """Asks Alertmanager which alerts fire. ``url`` is its address."""

    def __init__(self, url: str, timeout_seconds: float, clock: Clock) -> None:
        self._url = f"{url.rstrip('/')}/api/v2"
        self._timeout_seconds = timeout_seconds
        self._clock = clock

    async def fingerprints(self) -> set[str] | None:
        """Fingerprints of all that fire, silenced and inhibited ones too.

        Returns ``None`` while Alertmanager, which has just started, does not know them all. Raises
        :class:`~storage.write.alert_queue.AlertmanagerError`.
        """
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                aiohttp.ClientSession(raise_for_status=True) as session,
            ):
                async with session.get(f"{self._url}/status", allow_redirects=False) as response:
                    status = msgspec.json.decode(await response.read(), type=_Status)
                if self._clock.time_ns() - parse_time(status.uptime) < _SETTLED_NS:
                    return None
                async with session.get(f"{self._url}/alerts", allow_redirects=False) as response:
                    alerts = msgspec.json.decode(await response.read(), type=list[_Alert])
        except TimeoutError as error:
            reason = f"Alertmanager did not answer within {self._timeout_seconds:g} s"
            raise AlertmanagerError(reason) from error
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError, ValueError) as error:
            raise AlertmanagerError(f"Alertmanager: {error}") from error
        return {alert.fingerprint for alert in alerts}
