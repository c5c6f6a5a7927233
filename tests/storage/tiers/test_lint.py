from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from decahertz.app.pipeline import Pipeline
from decahertz.app.settings import Settings, check_contradictions, load
from decahertz.settings import SettingsError
from storage.settings import RetentionSettings, SpoolSettings, TiersSettings
from storage.tiers.lint import lint


def check(
    *,
    spool: SpoolSettings = SpoolSettings(),  # noqa: B008 - frozen
    tiers: TiersSettings = TiersSettings(),  # noqa: B008 - frozen
    retention: RetentionSettings = RetentionSettings(),  # noqa: B008 - frozen
) -> None:
    lint(spool, tiers, retention)


def test_the_defaults_do_not_contradict_each_other() -> None:
    check()


@pytest.mark.parametrize("hours", [1, 2, 3, 4, 6, 8, 12, 24, 48])
def test_chunks_that_end_with_days_are_taken(hours: int) -> None:
    check(tiers=TiersSettings(chunk_hours=hours, late_hours=100))


@pytest.mark.parametrize("hours", [5, 7, 36, 100])
def test_chunks_that_cut_through_days_are_refused(hours: int) -> None:
    with pytest.raises(SettingsError, match=rf"tiers\.chunk_hours: {hours} hours must divide a day"):
        check(tiers=TiersSettings(chunk_hours=hours, late_hours=72))


@pytest.mark.parametrize(
    ("retention", "key"),
    [
        (RetentionSettings(raw_days=7, one_second_days=6), "retention.one_second_days"),
        (RetentionSettings(raw_days=0), "retention.one_second_days"),
        (RetentionSettings(one_second_days=30, one_minute_days=29), "retention.one_minute_days"),
        (RetentionSettings(one_minute_days=730, one_hour_days=729), "retention.one_hour_days"),
    ],
)
def test_a_coarse_tier_that_goes_before_a_fine_one_is_refused(retention: RetentionSettings, key: str) -> None:
    with pytest.raises(SettingsError, match="a coarser tier must outlive") as refused:
        check(retention=retention)
    assert refused.value.key == key


def test_a_roll_up_that_reaches_past_the_raw_rows_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"tiers\.late_hours: 163 hours .* dropped rows"):
        check(tiers=TiersSettings(late_hours=163))
    check(tiers=TiersSettings(late_hours=162))


def test_raw_rows_that_are_kept_for_ever_take_any_lateness() -> None:
    for_ever = RetentionSettings(raw_days=0, one_second_days=0, one_minute_days=0)
    check(retention=for_ever, tiers=TiersSettings(late_hours=100_000))


def test_a_spool_that_outlasts_the_time_to_compression_is_refused() -> None:
    spool = SpoolSettings(max_age_hours=73)
    with pytest.raises(SettingsError, match=r"spool\.max_age_hours: 73 hours .* compressed chunks"):
        check(spool=spool)
    check(spool=spool, tiers=TiersSettings(compress_after_hours=73))


def test_a_spool_whose_rows_would_be_too_late_for_the_tiers_is_refused() -> None:
    tiers = TiersSettings(late_hours=48, compress_after_hours=72)
    with pytest.raises(SettingsError, match=r"spool\.max_age_hours: 72 hours .* not reach every tier"):
        check(tiers=tiers)


@pytest.mark.parametrize("days", [*range(8), 14, 31, 365, 731, 36_500])
def test_the_retention_of_raw_samples_is_the_only_setting_needed(days: int) -> None:
    settings = load(environ={}, arguments={"retention.raw_days": days})
    check_contradictions(settings)
    assert settings.retention.raw_days == days
    assert settings.retention.quotes_days == settings.retention.ticks_days == days
    assert settings.retention.logs_days == 30


def test_two_days_of_raw_samples_bound_what_is_late_and_what_waits() -> None:
    settings = load(environ={"DECAHERTZ_RETENTION_RAW_DAYS": "2"})
    assert (settings.tiers.late_hours, settings.spool.max_age_hours) == (42, 42.0)
    assert settings.retention.one_second_days == 30


def test_without_a_setting_everything_has_its_default() -> None:
    settings = load(environ={})
    assert (settings.spool, settings.tiers) == (SpoolSettings(), TiersSettings())
    assert settings.retention == RetentionSettings()
    assert settings.retention.quotes_days == settings.retention.ticks_days == 30


@pytest.mark.parametrize(
    ("given", "followed", "value"),
    [
        ({"retention.raw_days": 2, "retention.quotes_days": 90}, "retention.quotes_days", 90),
        ({"retention.raw_days": 60}, "retention.one_second_days", 60),
        ({"retention.raw_days": 0}, "retention.one_minute_days", 0),
        ({"retention.one_second_days": 1000}, "retention.one_minute_days", 1000),
        ({"tiers.late_hours": 48}, "spool.max_age_hours", 48.0),
        ({"tiers.compress_after_hours": 24}, "spool.max_age_hours", 24.0),
        ({"spool.max_age_hours": 100}, "tiers.compress_after_hours", 100),
    ],
)
def test_what_is_not_set_follows_what_is(given: dict[str, Any], followed: str, value: float) -> None:
    settings = load(environ={}, arguments=given)
    check_contradictions(settings)
    section, name = followed.split(".")
    assert getattr(getattr(settings, section), name) == value


def test_a_contradiction_of_what_is_set_is_refused() -> None:
    settings = load(environ={}, arguments={"retention.raw_days": 2, "tiers.late_hours": 144})
    with pytest.raises(SettingsError, match=r"tiers\.late_hours"):
        check_contradictions(settings)


async def test_a_start_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    pipeline = Pipeline(Settings(data_dir=tmp_path / "data", tiers=TiersSettings(chunk_hours=5)))
    with pytest.raises(SettingsError, match=r"tiers\.chunk_hours"):
        await pipeline.start()
    await pipeline.stop()
    assert not (tmp_path / "data").exists()
