"""All settings of the program: the sections of its parts in one struct."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, field

from api.settings import ApiSettings
from collectors.feeds.settings import FeedsSettings
from collectors.host.settings import CollectorsSettings, SamplerSettings
from collectors.news.settings import NewsSettings
from control.settings import ControlSettings
from control.signals.settings import SignalsSettings
from decahertz.accounting import AccountingSettings
from decahertz.app.alertmanager import REPORTED_AGAIN_SECONDS, AlertmanagerSettings
from decahertz.app.logs import LogSettings
from decahertz.app.stack.settings import StackSettings
from decahertz.event import Name
from decahertz.ingest import IngestSettings
from decahertz.risk_limits import RiskSettings, check_limits
from decahertz.settings import LoadedSettings, SettingsError, default_data_dir, load_settings
from decahertz.thresholds import AlertsSettings, check_thresholds
from decahertz.trading_days import TradingDays
from decahertz.urls import UrlError
from exporter.settings import ExporterSettings
from providers.settings import ProvidersSettings
from storage.database_url import check_database_url
from storage.settings import (
    ArchiveSettings,
    RetentionSettings,
    SpoolSettings,
    StorageSettings,
    TiersSettings,
    following,
)
from storage.tiers.lint import lint

_NAME_LENGTH = 128
_HOUR_SECONDS = 3600


def default_recorder() -> str:
    """The host name as a valid :data:`~decahertz.event.Name`."""
    return re.sub(r"[^\w.-]+", "-", socket.gethostname()).strip("-")[:_NAME_LENGTH] or "recorder"


class Settings(LoadedSettings, frozen=True, kw_only=True):
    """All settings. :func:`load` reads them; tests may construct them directly."""

    recorder: Annotated[
        Name,
        Meta(description="Name of this recorder, unique among those that share a database."),
    ] = field(default_factory=default_recorder)
    standby: Annotated[
        bool,
        Meta(
            description="Wait while another process runs under this recorder's name, and take over when its"
            " lease expires."
        ),
    ] = False
    data_dir: Annotated[
        Path,
        Meta(description="Folder of the embedded database and the spool."),
    ] = Path()
    database_url: Annotated[
        str,
        Meta(description="URL of your own PostgreSQL; empty uses the embedded one."),
    ] = ""
    database_password_file: Annotated[
        Path,
        Meta(description="File with the password for database_url, such as a container's secret."),
    ] = Path()
    instruments_file: Annotated[
        Path,
        Meta(description="Your definitions of instruments, a TOML or CSV file; read again when it changes."),
    ] = Path()
    api: ApiSettings = ApiSettings()
    exporter: ExporterSettings = ExporterSettings()
    sampler: SamplerSettings = SamplerSettings()
    ingest: IngestSettings = IngestSettings()
    accounting: AccountingSettings = AccountingSettings()
    risk: RiskSettings = RiskSettings()
    control: ControlSettings = ControlSettings()
    signals: SignalsSettings = SignalsSettings()
    news: NewsSettings = NewsSettings()
    storage: StorageSettings = StorageSettings()
    spool: SpoolSettings = SpoolSettings()
    tiers: TiersSettings = TiersSettings()
    retention: RetentionSettings = RetentionSettings()
    archive: ArchiveSettings = ArchiveSettings()
    alerts: AlertsSettings = AlertsSettings()
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    log: LogSettings = LogSettings()
    stack: StackSettings = StackSettings()
    collectors: CollectorsSettings = CollectorsSettings()
    feeds: FeedsSettings = FeedsSettings()
    providers: ProvidersSettings = ProvidersSettings()


def check_contradictions(settings: Settings) -> None:
    """Raises :class:`~decahertz.settings.SettingsError` for the first two settings that contradict."""
    lint(settings.spool, settings.tiers, settings.retention)
    check_limits(settings.risk)
    settings.api.certificate()
    if settings.api.redis_url:
        from decahertz.shared_cache import check_redis_url  # noqa: PLC0415 - needs much that few want

        check_redis_url(settings.api.redis_url)
    settings.alertmanager.check()
    TradingDays(settings.accounting)
    if settings.alerts.expire_hours * _HOUR_SECONDS <= REPORTED_AGAIN_SECONDS:
        raise SettingsError(
            "alerts.expire_hours",
            f"{settings.alerts.expire_hours:g} h are not above the {REPORTED_AGAIN_SECONDS // 60} minutes"
            " after which Alertmanager repeats its reports: alerts that still fire would be resolved",
        )
    check_thresholds(settings.alerts, spool_age_seconds=settings.spool.max_age_hours * _HOUR_SECONDS)


def load(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Settings:
    """Loads the settings of the program; see :func:`~decahertz.settings.load_settings`.

    Every command checks the URLs of databases here, before a driver reads them and quotes pieces of them.
    """
    environ = os.environ if environ is None else environ
    defaults = {"data_dir": default_data_dir(environ)}
    settings = load_settings(
        Settings,
        file=file,
        environ=environ,
        arguments=arguments,
        defaults=defaults,
        following=following,
    )
    for key, url in (
        ("database_url", settings.database_url),
        ("storage.read_url", settings.storage.read_url),
    ):
        if url:
            try:
                check_database_url(url)
            except UrlError as error:
                raise SettingsError(key, str(error)) from error
    return settings
