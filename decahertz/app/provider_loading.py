"""Loads the enabled providers with the parts of the recorder that built-in ones read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collectors.host.plugins import Loaded, load_providers

if TYPE_CHECKING:
    from decahertz.app.settings import Settings
    from decahertz.clock import Clock
    from decahertz.contracts import Contracts
    from decahertz.latest import LatestSamples
    from decahertz.provider import Provider


def enabled_providers(
    settings: Settings, clock: Clock, latest: LatestSamples, contracts: Contracts
) -> Loaded[Provider]:
    """Loads them.

    Raises :class:`~decahertz.settings.SettingsError` for an unknown name or an invalid option.
    """
    parts = {"latest": latest, "definitions": contracts.definitions}
    return load_providers(settings.providers.enabled, settings.sources, clock, parts)
