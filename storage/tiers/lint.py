"""Rejects contradictory settings at the start: each contradiction would lose data or stall."""

from __future__ import annotations

from itertools import pairwise

from decahertz.settings import SettingsError
from storage.settings import RetentionSettings, SpoolSettings, TiersSettings

_DAY_HOURS = 24
_TIERS = ("raw_days", "one_second_days", "one_minute_days", "one_hour_days")


def lint(spool: SpoolSettings, tiers: TiersSettings, retention: RetentionSettings) -> None:
    """Raises :class:`~decahertz.settings.SettingsError` for the first contradiction."""
    _check_chunks(tiers.chunk_hours)
    _check_order(retention)
    _check_late(tiers, retention)
    _check_spool(spool.max_age_hours, tiers)


def _check_chunks(hours: int) -> None:
    if _DAY_HOURS % hours and hours % _DAY_HOURS:
        raise SettingsError(
            "tiers.chunk_hours",
            f"{hours} hours must divide a day or be whole days, so that chunks end with the days that are"
            " rolled up and dropped",
        )


def _check_order(retention: RetentionSettings) -> None:
    for fine, coarse in pairwise(_TIERS):
        longer, shorter = getattr(retention, fine), getattr(retention, coarse)
        if shorter and (not longer or shorter < longer):
            kept = f"{longer} days" if longer else "forever"
            raise SettingsError(
                f"retention.{coarse}",
                f"{shorter} days are fewer than retention.{fine} ({kept}): a coarser tier must outlive a"
                " finer one",
            )


def _check_late(tiers: TiersSettings, retention: RetentionSettings) -> None:
    kept_hours = retention.raw_days * _DAY_HOURS
    if kept_hours and tiers.late_hours + tiers.chunk_hours > kept_hours:
        raise SettingsError(
            "tiers.late_hours",
            f"{tiers.late_hours} hours and a chunk of {tiers.chunk_hours} hours reach past retention.raw_days"
            f" ({retention.raw_days} days): buckets would be rolled up again without their dropped rows",
        )


def _check_spool(spool: float, tiers: TiersSettings) -> None:
    if spool > tiers.compress_after_hours:
        raise SettingsError(
            "spool.max_age_hours",
            f"{spool:g} hours are longer than tiers.compress_after_hours ({tiers.compress_after_hours}):"
            " rows from the spool would be written into compressed chunks",
        )
    if spool > tiers.late_hours:
        raise SettingsError(
            "spool.max_age_hours",
            f"{spool:g} hours are longer than tiers.late_hours ({tiers.late_hours}): rows from the"
            " spool would not reach every tier",
        )
