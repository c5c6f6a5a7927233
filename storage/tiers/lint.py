"""Settings that contradict each other are refused before anything starts: each would lose data, or stall."""

from __future__ import annotations

from itertools import pairwise

from decahertz.settings import Settings, SettingsError

_DAY_HOURS = 24
_TIERS = ("raw_days", "one_second_days", "one_minute_days", "one_hour_days")


def lint(settings: Settings) -> None:
    """Raise :class:`~decahertz.settings.SettingsError`, with key and reason, for the first contradiction."""
    _check_chunks(settings)
    _check_order(settings)
    _check_late(settings)
    _check_spool(settings)


def _check_chunks(settings: Settings) -> None:
    hours = settings.tiers.chunk_hours
    if _DAY_HOURS % hours and hours % _DAY_HOURS:
        raise SettingsError(
            "tiers.chunk_hours",
            f"{hours} hours neither divide a day nor are whole days: chunks would not end with the buckets"
            " and days that are rolled up and dropped",
        )


def _check_order(settings: Settings) -> None:
    retention = settings.retention
    for fine, coarse in pairwise(_TIERS):
        longer, shorter = getattr(retention, fine), getattr(retention, coarse)
        if shorter and (not longer or shorter < longer):
            kept = f"{longer} days" if longer else "for ever"
            raise SettingsError(
                f"retention.{coarse}",
                f"{shorter} days are shorter than retention.{fine} ({kept}): a coarser tier has to outlive"
                " a finer one",
            )


def _check_late(settings: Settings) -> None:
    tiers, retention = settings.tiers, settings.retention
    kept_hours = retention.raw_days * _DAY_HOURS
    if kept_hours and tiers.late_hours + tiers.chunk_hours > kept_hours:
        raise SettingsError(
            "tiers.late_hours",
            f"{tiers.late_hours} hours and a chunk of {tiers.chunk_hours} reach past retention.raw_days"
            f" ({retention.raw_days} days): buckets would be rolled up again from rows that are gone",
        )


def _check_spool(settings: Settings) -> None:
    spool, tiers = settings.spool.max_age_hours, settings.tiers
    if spool > tiers.compress_after_hours:
        raise SettingsError(
            "spool.max_age_hours",
            f"{spool:g} hours are longer than tiers.compress_after_hours ({tiers.compress_after_hours}): what"
            " comes out of the spool would be written into chunks that are compressed already",
        )
    if spool > tiers.late_hours:
        raise SettingsError(
            "spool.max_age_hours",
            f"{spool:g} hours are longer than tiers.late_hours ({tiers.late_hours}): what comes out of the"
            " spool would not reach every tier",
        )
