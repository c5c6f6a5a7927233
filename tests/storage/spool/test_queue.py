"""The queue of the spool's thread: which jobs share a commit."""

from __future__ import annotations

import threading

from decahertz.clock import NS_PER_SECOND
from decahertz.event import Arrival, EventBatch, Side
from decahertz.fakes import ManualClock
from storage.spool.jobs import AckJob, Job, WriteJob
from storage.spool.queue import SpoolQueue
from tests.storage_examples import START_NS, fill

COMMIT_SECONDS = 0.005


def events() -> Job:
    batch = EventBatch(source="desk", epoch=1, first_sequence=1, events=(fill(1, Side.BUY, 1.0, 1.0),))
    return WriteJob(lambda _: None, [Arrival(batch=batch, received_ns=START_NS)], [None])


def collected(queue: SpoolQueue, first: Job, later: Job) -> list[Job]:
    """Returns the jobs that join the first one when the later one comes well after the time of a commit."""
    queue.put(first)
    timer = threading.Timer(20 * COMMIT_SECONDS, queue.put, [later])
    timer.start()
    jobs = queue.collect(has_unsaved=False)
    timer.join()
    return jobs


def test_a_job_waits_for_others_for_the_time_of_a_commit() -> None:
    first, later = AckJob([]), events()
    queue = SpoolQueue(ManualClock(), COMMIT_SECONDS)
    assert collected(queue, first, later) == [first]
    assert queue.collect(has_unsaved=False) == [later]


def test_while_no_event_arrives_jobs_wait_longer_until_one_does() -> None:
    clock = ManualClock()
    queue = SpoolQueue(clock, COMMIT_SECONDS)
    clock.advance(11 * NS_PER_SECOND)
    first, event = AckJob([]), events()
    assert collected(queue, first, event) == [first, event]
    clock.advance(9 * NS_PER_SECOND)
    assert collected(queue, first, event) == [first]
