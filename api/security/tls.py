"""TLS of the API: the context of its listener, and a certificate that is reloaded when its files change."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import Gauge

from api.security.certificate import checked_expiry, server_context
from decahertz.clock import NS_PER_SECOND, format_time
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.settings import SettingsError
from decahertz.supervision import end, supervise

if TYPE_CHECKING:
    import ssl

    from prometheus_client import CollectorRegistry

    from api.security.certificate import CertificateFiles
    from decahertz.clock import Clock

LOOK_SECONDS: Final = 1.0
"""Interval between checks of the files. They are loaded once they have not changed for this long."""
_DAY_NS: Final = 24 * 3600 * NS_PER_SECOND
WARN_NS: Final = 14 * _DAY_NS
"""A certificate that expires within this time is logged once a day."""


class ServerTls:
    """Loads the certificate at the start, and again whenever its files change.

    ::

        files change ──► the same for a second? ──► a new pair that works ──► loaded: new connections get it
                                                └── a broken one ──► the old one stays, one incident
    """

    def __init__(
        self,
        files: CertificateFiles,
        clock: Clock,
        registry: CollectorRegistry,
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.context: ssl.SSLContext = server_context()
        """For the listener; connections that are open keep their certificate."""
        self._files = files
        self._clock = clock
        self._look_seconds = look_seconds
        self._expires_ns = 0
        self._warned_ns = 0
        self._log = structlog.get_logger(part="tls", certificate=str(files.certificate))
        self._incident = Incident("certificate_reload", self._log)
        self._task: asyncio.Task[None] | None = None
        Gauge(
            "decahertz_api_certificate_expiry_timestamp_seconds",
            "When the certificate of the API expires, in seconds since the Unix epoch.",
            registry=registry,
        ).set_function(lambda: self._expires_ns / NS_PER_SECOND)

    async def start(self) -> None:
        """Loads the certificate and keeps it current. Raises :class:`~decahertz.settings.SettingsError`."""
        signature = await asyncio.to_thread(self._files.signature)
        # Even if it has expired: recording matters more than clients that must be told to trust it.
        self._expires_ns = await asyncio.to_thread(self._files.load, self.context)
        self._warn()
        self._task = supervise(partial(self._watch, signature), "certificate")

    async def stop(self) -> None:
        """Stops watching the files. Safe without ``start``, and twice."""
        task, self._task = self._task, None
        await end(task)

    def status(self) -> ComponentStatus:
        """Degraded while the files cannot be used, and once the certificate has expired."""
        detail = ""
        if self._incident.active:
            detail = f"the new certificate cannot be used, the old one stays: {self._incident.problem}"
        elif self._expires_ns <= self._clock.time_ns():
            detail = f"the certificate expired at {format_time(self._expires_ns)}"
        return ComponentStatus(name="tls", health=Health.DEGRADED if detail else Health.OK, detail=detail)

    async def _watch(self, loaded: tuple[object, ...]) -> None:
        before = loaded
        while True:
            await asyncio.sleep(self._look_seconds)
            self._warn()
            signature = await asyncio.to_thread(self._files.signature)
            # A certificate and its key are written one after the other.
            if signature == before and signature != loaded:
                loaded = signature
                await self._reload()
            before = signature

    async def _reload(self) -> None:
        try:
            await asyncio.to_thread(self._load)
        except SettingsError as error:
            self._incident.fail(self._clock.monotonic_ns(), reason=str(error))
            self._incident.problem = error.reason
        else:
            self._incident.recover()
            self._warned_ns = 0
            self._log.info("certificate_loaded", expires=format_time(self._expires_ns))

    def _load(self) -> None:
        # First into a context of its own: a certificate without its key would break the one in use.
        checked_expiry(self._files, self._clock.time_ns())
        self._expires_ns = self._files.load(self.context)

    def _warn(self) -> None:
        now_ns = self._clock.time_ns()
        if self._expires_ns - now_ns < WARN_NS and now_ns - self._warned_ns >= _DAY_NS:
            self._warned_ns = now_ns
            event = "certificate_expired" if self._expires_ns <= now_ns else "certificate_expiry_neared"
            self._log.warning(event, expires=format_time(self._expires_ns))
