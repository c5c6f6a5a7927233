"""The spool file, one operation at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from decahertz.event import Arrival
from decahertz.sample import SampleBatch
from decahertz.testing import START_NS, ManualClock
from storage.entry import Ack, Entry
from storage.spool.errors import SpoolTooNewError, SpoolUnwritableError
from storage.spool.recovery import FILE_NAME
from tests.storage.spool.files import OpenedFile
from tests.storage_examples import arrival, book, books, quotes

HOUR_NS = 3_600_000_000_000


def stored(*entries: Entry, **dropped: int) -> list[Ack]:
    return [Ack(entry, dict(dropped)) for entry in entries]


def sequences(entry: Entry) -> tuple[int, int]:
    assert isinstance(entry.content, Arrival)
    return entry.content.batch.first_sequence, entry.content.batch.last_sequence


def test_entries_survive_closing_and_opening_the_file(tmp_path: Path) -> None:
    first = OpenedFile(tmp_path)
    batch = books(3, book("a", mid=1.5, gaps=7, crossed=True), book("b"))
    written = first.file.write([quotes(1, 3)], [batch])
    first.file.close()
    again = OpenedFile(tmp_path)
    assert again.account("events:loop") == (3, 0, 3, {})
    assert again.account("samples:book") == (2, 0, 2, {})
    events, samples = again.file.read_backlog(100)
    ((_, (stored,)),) = written.events
    assert (events.content, events.batch_id) == (stored.content, stored.batch_id)
    assert events.content == msgspec.structs.replace(quotes(1, 3), number=events.id)
    assert isinstance(samples.content, SampleBatch)
    assert samples.batch_id == written.samples[0].batch_id
    assert samples.content.time_ns == batch.time_ns
    read = [[getattr(row, name) for name in row.__struct_fields__] for row in samples.content.samples]
    assert read == [["sim", "a", 1.5, 7, "live", True], ["sim", "b", None, 0, "live", None]]


def test_a_resent_batch_is_stored_once_even_after_a_restart(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    ((receipt, _),) = spool.file.write([quotes(1, 3)]).events
    assert (receipt.accepted, receipt.duplicates, receipt.durable_sequence) == (3, 0, 3)
    ((receipt, entries),) = spool.file.write([quotes(2, 5)]).events
    assert (receipt.accepted, receipt.duplicates, receipt.durable_sequence) == (2, 2, 5)
    assert [sequences(entry) for entry in entries] == [(4, 5)]
    spool.file.close()
    again = OpenedFile(tmp_path)
    ((receipt, entries),) = again.file.write([quotes(1, 5)]).events
    assert (receipt.accepted, receipt.duplicates, entries) == (0, 5, [])
    assert again.account("events:loop") == (5, 0, 5, {})


def test_a_new_file_rejects_duplicates_of_stored_events(tmp_path: Path) -> None:
    old, new = OpenedFile(tmp_path), OpenedFile(tmp_path / "..", max_age_hours=1)
    old.file.write([quotes(1, 3)])
    new.file.adopt(old.file.state.sequences)
    ((receipt, _),) = new.file.write([quotes(1, 4)]).events
    assert (receipt.accepted, receipt.duplicates) == (1, 3)


def test_acked_entries_leave_the_file_with_the_next_transaction(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    entry = spool.file.write([quotes(1, 3)]).events[0][1][0]
    spool.file.ack(stored(entry))
    spool.file.close()  # a crash before the next transaction
    spool = OpenedFile(tmp_path)
    assert spool.account("events:loop") == (3, 0, 3, {})
    assert [found.batch_id for found in spool.file.read_backlog(10)] == [entry.batch_id]
    written = spool.file.write(samples=[books(0)])
    spool.file.ack(stored(entry, dead_letter=1))
    assert spool.account("events:loop") == (3, 2, 0, {"dead_letter": 1})
    assert spool.file.has_unsaved
    spool.file.write()
    assert spool.ids() == [written.samples[0].id]
    spool.file.close()
    assert OpenedFile(tmp_path).account("events:loop") == (3, 2, 0, {"dead_letter": 1})


def test_a_batch_is_forgettable_after_the_checkpoint_of_its_deletion(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    (entry,) = spool.file.write(samples=[books(0)]).samples
    spool.file.tidy()
    spool.file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spool.file.ack(stored(entry))
    assert spool.file.write().forgettable == []
    (tmp_path / "older").mkdir()
    shutil.copyfile(spool.file.path, tmp_path / "older" / FILE_NAME)  # without the log
    older = OpenedFile(tmp_path / "older").file
    assert [found.batch_id for found in older.read_backlog(10)] == [entry.batch_id]
    older.close()
    assert spool.file.tidy() == [entry.batch_id]
    shutil.copyfile(spool.file.path, tmp_path / "older" / FILE_NAME)
    assert OpenedFile(tmp_path / "older").ids() == []


def test_batches_become_forgettable_under_load(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    entries = spool.file.write(samples=[books(tick) for tick in range(1_200)]).samples
    spool.file.ack(stored(*entries))
    assert set(spool.file.write().forgettable) == {entry.batch_id for entry in entries}
    assert spool.file.tidy() == []


def payloads(spool: OpenedFile) -> list[bytes]:
    return [row[0] for row in spool.file.connection.execute("SELECT payload FROM entries ORDER BY id")]


def test_a_batch_is_stored_with_the_bytes_it_was_decoded_from_unless_it_is_cut(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    batch = quotes(1, 3).batch
    fields = msgspec.to_builtins(batch)
    encoded = msgspec.msgpack.encode({name: fields[name] for name in reversed(fields)})  # not as we would
    ((_, (entry,)),) = spool.file.write([Arrival(batch=batch, received_ns=9, encoded=encoded)]).events
    assert payloads(spool) == [encoded]
    assert entry.content == Arrival(batch=batch, received_ns=9, number=entry.id), "no bytes in memory"
    spool.file.close()
    again = OpenedFile(tmp_path)
    (read,) = again.file.read_backlog(10)
    assert read.content == entry.content
    longer = quotes(1, 4).batch
    arrived = Arrival(batch=longer, received_ns=9, encoded=msgspec.msgpack.encode(longer))
    ((_, (entry,)),) = again.file.write([arrived]).events
    assert sequences(entry) == (4, 4), "the rest is known"
    assert payloads(again)[1] == msgspec.msgpack.encode(quotes(4, 4).batch)
    ((receipt, entries),) = again.file.write([quotes(5, 4504)]).events
    assert receipt.accepted == 4500
    assert [sequences(entry) for entry in entries] == [(5, 2004), (2005, 4004), (4005, 4504)]


def test_the_backlog_holds_all_entries_that_are_not_in_flight(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    entries = [spool.file.write([quotes(n, n)]).events[0][1][0] for n in range(1, 6)]
    assert (spool.file.backlog.entries, spool.file.read_backlog(100)) == (0, [])
    spool.file.release([entry.id for entry in entries[:3]])
    assert (spool.file.backlog.entries, spool.file.backlog.rows) == (3, 3)
    assert [sequences(entry) for entry in spool.file.read_backlog(2)] == [(1, 1), (2, 2)]
    assert spool.file.backlog.rows == 1
    assert [sequences(entry) for entry in spool.file.read_backlog(100)] == [(3, 3)]


def test_the_backlog_is_read_oldest_events_and_newest_samples_first(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    for n in range(1, 9):
        spool.file.write([quotes(n, n)], [books(n)])
    spool.file.close()
    spool = OpenedFile(tmp_path)
    found = spool.file.read_backlog(4)
    assert [sequences(entry) for entry in found[:2]] == [(1, 1), (2, 2)]
    assert [e.content.samples[0].gaps for e in found[2:] if isinstance(e.content, SampleBatch)] == [8, 7]  # type: ignore[attr-defined]


def test_losses_of_an_emitter_are_counted_once_per_epoch(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    for lost in ({"ring_full": 5}, {"ring_full": 5}, {"ring_full": 7, "closed": 1}):
        spool.file.write([arrival(1, [], dropped=lost)])
    spool.file.write([arrival(1, [], epoch=8, dropped={"ring_full": 2})])
    expected = {"client_closed": 1, "client_ring_full": 9}
    assert spool.account("events:loop") == (10, 0, 0, expected)
    spool.file.close()
    again = OpenedFile(tmp_path)
    again.file.write([arrival(1, [], dropped={"ring_full": 7})])
    assert again.account("events:loop") == (10, 0, 0, expected)
    assert len(again.file.read_backlog(10)) == 3  # the database is to hear of each change


def test_the_ledger_is_bounded_in_reasons_and_in_emitters(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    for number in range(200):
        spool.file.write([arrival(1, [], dropped={f"reason {number}": 1})])
    emitted, _, _, dropped = spool.account("events:loop")
    assert emitted == 200
    assert len(dropped) <= 33
    assert dropped["client___other__"] == 168
    spool.file.write([quotes(1, 1, source=f"s{number}") for number in range(1009)])
    assert len(spool.ledger) == 1001
    assert spool.account("events:__other__")[0] == 10


def test_above_the_size_limit_the_oldest_samples_are_dropped_first_and_events_last(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path, max_bytes=100_000)
    history = []
    for tick in range(100):
        written = spool.file.write(
            [quotes(50 * tick + 1, 50 * tick + 50)],
            [books(tick, *(book(f"i{n}", gaps=tick) for n in range(50)))] if tick < 20 else [],
        )
        spool.file.release(entry.id for entry in [*written.events[0][1], *written.samples])
        history.append((spool.account("samples:book"), spool.account("events:loop")))
    first_loss = next(n for n, (samples, _) in enumerate(history) if samples[3])
    first_lost_event = next(n for n, (_, events) in enumerate(history) if events[3])
    assert 0 < first_loss < first_lost_event
    samples, events = history[first_lost_event]
    assert samples[2] == 0  # no sample is left when the first event goes
    assert (samples[3], list(events[3])) == ({"cap_bytes": 1000}, ["cap_bytes"])
    assert spool.file.state.size <= 100_000
    kept = [sequences(entry) for entry in spool.file.read_backlog(100_000)]
    assert kept[-1] == (4951, 5000)
    assert spool.account("events:loop")[2] == sum(last - first + 1 for first, last in kept)


def test_entries_in_flight_are_not_dropped(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path, max_bytes=100_000)
    for tick in range(100):
        spool.file.write([], [books(tick, *(book(f"i{n}") for n in range(100)))])
    assert spool.account("samples:book") == (10_000, 0, 10_000, {})


def test_entries_above_the_age_limit_are_dropped(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path, max_age_hours=1)
    spool.file.release([spool.file.write([quotes(1, 2)]).events[0][1][0].id])
    spool.clock.advance(HOUR_NS // 2)
    spool.file.release([spool.file.write([], [books(0)]).samples[0].id])
    spool.clock.advance(HOUR_NS // 2 + 1)
    spool.file.write()
    assert spool.account("events:loop") == (2, 0, 0, {"cap_age": 2})
    assert spool.account("samples:book") == (1, 0, 1, {})


def test_a_full_disk_refuses_writes_until_there_is_room(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    entry = spool.file.write([quotes(1, 1000)]).events[0][1][0]
    spool.file._reserve_bytes = 2**62
    with pytest.raises(SpoolUnwritableError, match="full"):
        spool.file.write([quotes(1001, 3000)], [books(0)])
    assert spool.account("events:loop") == (1000, 0, 1000, {})
    spool.file.ack(stored(entry))
    spool.file.write()
    ((receipt, _),) = spool.file.write([quotes(1001, 1500)]).events
    assert receipt.accepted == 500
    assert spool.account("events:loop") == (1500, 1000, 500, {})


def test_samples_that_cannot_be_encoded_are_counted_and_the_others_written(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    written = spool.file.write(
        [], [books(0, book("good"), book("bad", gaps=2**80), book("bad", mid=object()))]
    )
    assert spool.account("samples:book") == (3, 0, 1, {"refused": 2})
    assert written.encoding_error.startswith("TypeError")
    assert [entry.rows for entry in written.samples] == [1]


def test_a_spool_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    spool.file.connection.execute("PRAGMA user_version = 99")
    spool.file.close()
    with pytest.raises(SpoolTooNewError):
        OpenedFile(tmp_path)


DAY_NS = 24 * HOUR_NS


def emitters(spool: OpenedFile) -> set[str]:
    """The known emitters; memory and file have to agree."""
    found = {source for source, _ in spool.file.state.sequences}
    assert found == {row[0] for row in spool.file.connection.execute("SELECT source FROM emitters")}
    assert spool.file.state.last_seen_ns.keys() == spool.file.state.sequences.keys()
    return found


def test_an_emitter_that_is_silent_for_a_week_is_evicted(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    for source in ("silent", "heard"):
        spool.file.ack(stored(*spool.file.write([quotes(1, 3, source)]).events[0][1]))
    spool.clock.advance(5 * DAY_NS)
    spool.file.write([quotes(2, 3, "heard")])  # no more than duplicates
    assert emitters(spool) == {"silent", "heard"}
    spool.clock.advance(2 * DAY_NS + 1)
    spool.file.write([quotes(1, 1, "new")])
    assert {source for source, _ in spool.file.state.sequences} == {"heard", "new"}
    ((receipt, _),) = spool.file.write([quotes(3, 4, "heard")]).events
    assert (receipt.accepted, receipt.duplicates, receipt.durable_sequence) == (1, 1, 4)
    assert emitters(spool) == {"heard", "new"}
    assert spool.account("events:silent") == (3, 3, 0, {})


def test_an_emitter_with_waiting_events_is_not_evicted(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path)
    spool.file.write([quotes(1, 3)])
    spool.clock.advance(30 * DAY_NS)
    spool.file.write([quotes(1, 3, "other")])
    ((receipt, entries),) = spool.file.write([quotes(1, 3)]).events
    assert (receipt.duplicates, entries) == (3, [])
    spool.file.close()
    again = OpenedFile(tmp_path)
    again.clock.advance(60 * DAY_NS)
    again.file.write()
    assert emitters(again) == {"loop", "other"}


def test_evicted_emitters_are_not_loaded_and_emitters_of_the_database_are_evicted_too(
    tmp_path: Path,
) -> None:
    spool = OpenedFile(tmp_path)
    spool.file.ack(stored(*spool.file.write([quotes(1, 3)]).events[0][1]))
    spool.file.write()
    known = dict(spool.file.state.sequences)
    spool.file.close()
    clock = ManualClock(START_NS + 8 * DAY_NS)
    file = OpenedFile(tmp_path, clock).file
    assert (file.state.sequences, file.state.last_seen_ns) == ({}, {})
    file.adopt(known)
    file.write()
    assert list(file.state.sequences) == list(known)
    clock.advance(8 * DAY_NS)
    file.write()
    assert (file.state.sequences, file.state.last_seen_ns) == ({}, {})


def test_emitters_are_kept_longer_than_their_events_may_wait(tmp_path: Path) -> None:
    spool = OpenedFile(tmp_path, max_age_hours=30 * 24)
    spool.file.ack(stored(*spool.file.write([quotes(1, 3)]).events[0][1]))
    spool.clock.advance(30 * DAY_NS)
    spool.file.write()
    assert emitters(spool) == {"loop"}
    spool.clock.advance(2 * DAY_NS)
    spool.file.write()
    assert emitters(spool) == set()
