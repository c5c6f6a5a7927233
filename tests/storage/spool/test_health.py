"""Conditions of the spool: logged once when they begin and once when they end."""

from __future__ import annotations

from structlog.testing import capture_logs

from decahertz.testing import START_NS, ManualClock
from storage.spool.health import SpoolHealth


def test_a_failing_disk_is_logged_once_until_it_recovers() -> None:
    with capture_logs() as logs:
        health = SpoolHealth(ManualClock(START_NS))
        for reason in ("disk full", "disk full", "I/O error"):
            health.note_write_error(reason)
        assert str(health) == "I/O error; events are refused, samples go on in memory"
        for _ in range(2):
            health.note_written()
        assert not str(health)
        health.note_write_error("disk full")
    assert [line["event"] for line in logs] == [
        "spool_write_failed",
        "spool_write_recovered",
        "spool_write_failed",
    ]
    assert (logs[0]["reason"], logs[1]["failures"]) == ("disk full", 3)


def test_rows_dropped_by_a_limit_are_counted_until_the_backlog_is_empty() -> None:
    with capture_logs() as logs:
        health = SpoolHealth(ManualClock(START_NS))
        health.note_dropped(0, has_backlog=True)
        health.note_dropped(10, has_backlog=True)
        health.note_dropped(5, has_backlog=True)
        assert str(health).startswith("15 rows dropped: ")
        health.note_dropped(0, has_backlog=True)
        assert str(health)
        health.note_dropped(0, has_backlog=False)
        assert not str(health)
    assert [line["event"] for line in logs] == ["spool_capacity_failed", "spool_capacity_recovered"]
    assert logs[1]["rows"] == 15


def test_samples_that_cannot_be_encoded_are_logged_until_a_commit_has_only_good_ones() -> None:
    with capture_logs() as logs:
        health = SpoolHealth(ManualClock(START_NS))
        health.note_encoding("TypeError: no", has_samples=True)
        health.note_encoding("", has_samples=False)
        assert str(health) == "samples cannot be encoded: TypeError: no"
        health.note_encoding("", has_samples=True)
        assert not str(health)
    assert [line["event"] for line in logs] == ["sample_encoding_failed", "sample_encoding_recovered"]
