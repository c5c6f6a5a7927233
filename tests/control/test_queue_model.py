"""A model of the queue: people, processes and crashes in any order, on a real database.

Hypothesis chooses what happens next. A model with nothing but dictionaries says what has to come of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from control.actor import Actor
from control.queue import KnownRequest, RequestQueue
from control.settings import ControlSettings
from decahertz.bus import LocalBus, Message
from decahertz.clock import NS_PER_SECOND
from decahertz.fakes import ManualClock
from decahertz.order_requests import (
    FINAL_REQUEST_STATES,
    HELD,
    TOPIC,
    NackOutcome,
    Priority,
    RequestChange,
    RequestConflictError,
    RequestRecord,
    RequestState,
    Resolution,
)
from storage.database import Database
from storage.settings import StorageSettings
from storage.write.order_requests import KeyReusedError, Poll, RequestStore
from tests.control.requests import request
from tests.postgres_server import PostgresServer, create_tables
from tests.properties import examples

ResultT = TypeVar("ResultT")
PERSON = Actor(name="ada")
NAMES = ("a", "b", "c")
LEASE_NS = 10 * NS_PER_SECOND
MAX_ATTEMPTS = 3


@dataclass
class Known:
    """A request in the model."""

    number: int
    priority: Priority
    valid_until_ns: int | None
    state: RequestState = RequestState.QUEUED
    session: str | None = None
    token: int = 0
    attempts: int = 0
    lease_until_ns: int = 0
    cancel_requested: bool = False
    sent: int = 0
    """Times that a process was permitted to send its order."""
    returned: int = 0
    """Times that a process, or a person, has said that nothing was sent after all."""


@dataclass
class Process:
    """A trading process in the model, with its leases by request."""

    session: str
    leases: dict[str, int] = field(default_factory=dict)
    past: list[tuple[str, int]] = field(default_factory=list)
    """Leases that it once had."""


class Desk(RuleBasedStateMachine):
    """Submissions, three processes, a person, and time."""

    runner: ClassVar[asyncio.Runner]
    database: ClassVar[Database]
    desks: ClassVar[Any] = count(1)

    def __init__(self) -> None:
        super().__init__()
        self.recorder = f"desk-{next(self.desks)}"
        self.clock = ManualClock()
        self.bus = LocalBus()
        self.changes: list[RequestChange] = []
        self.bus.subscribe(TOPIC, self._heard)
        self.queue = self._new_queue()
        self.known: dict[str, Known] = {}
        self.keys: dict[str, str] = {}
        self.sessions = count(1)
        self.processes = {name: Process(f"{name}-0") for name in NAMES}

    def _heard(self, message: Message) -> None:
        assert isinstance(message, RequestChange)
        self.changes.append(message)

    def _new_queue(self) -> RequestQueue:
        store = RequestStore(self.database, self.recorder)
        settings_ = ControlSettings(max_attempts=MAX_ATTEMPTS)
        return RequestQueue(store, self.bus, self.clock, settings_, recorder=self.recorder)

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        return self.runner.run(work)

    @rule(
        priority=st.sampled_from(Priority),
        seconds=st.one_of(st.none(), st.integers(1, 40)),
        key=st.one_of(st.none(), st.sampled_from(["k-1", "k-2"])),
    )
    def submit(self, priority: Priority, seconds: int | None, key: str | None) -> None:
        until_ns = None if seconds is None else self.clock.time_ns() + seconds * NS_PER_SECOND
        body = request(priority=priority.value, **({} if until_ns is None else {"valid_until": until_ns}))
        before = self.keys.get(key) if key is not None else None
        try:
            record, is_new = self.run(self.queue.submit(body, PERSON, key))
        except KeyReusedError:
            assert before is not None
            return
        if not is_new:
            assert record.request_id == before
            return
        assert before is None
        if key is not None:
            self.keys[key] = record.request_id
        self.known[record.request_id] = Known(len(self.known), priority, until_ns)

    @rule(name=st.sampled_from(NAMES), capacity=st.integers(0, 4), is_lost=st.booleans())
    def poll(self, name: str, capacity: int, is_lost: bool) -> None:  # noqa: FBT001 - drawn
        """A process asks for work; its answer may be lost."""
        now_ns, process = self.clock.time_ns(), self.processes[name]
        held = {
            r: one for r, one in self.known.items() if one.session == process.session and one.state in HELD
        }
        for one in held.values():
            one.lease_until_ns = now_ns + LEASE_NS
        waiting = sorted(
            (r for r, one in self.known.items() if one.state is RequestState.QUEUED and self._is_valid(one)),
            key=lambda r: (-self.known[r].priority.rank, self.known[r].number),
        )
        expected = waiting[: max(0, capacity - len(held))]
        asked = [KnownRequest(request_id=r, token=token) for r, token in process.leases.items()]
        poll = Poll(holder=name, session=process.session, capacity=capacity, lease_ns=LEASE_NS)
        news = self.run(self.queue.poll(poll, asked, 0.0, PERSON))
        for request_id in expected:
            one = self.known[request_id]
            one.state, one.session = RequestState.TAKEN, process.session
            one.lease_until_ns = now_ns + LEASE_NS
            one.token, one.attempts = one.token + 1, one.attempts + 1
        assert {r.request_id for r in news.held} == held.keys() | set(expected)
        assert [r.request_id for r in news.taken if r.request_id in expected] == expected
        leases = {r.request_id: r.token for r in news.held}
        assert all(self.known[r].token == token for r, token in leases.items())
        assert set(news.lost) == {r for r, token in process.leases.items() if leases.get(r) != token}
        # What it holds and did not name is in ``taken``, so that nothing is forgotten.
        assert {r.request_id for r in news.taken} == {
            r for r, token in leases.items() if process.leases.get(r) != token
        }
        if not is_lost:
            process.past += [(r, t) for r, t in process.leases.items() if leases.get(r) != t]
            process.leases = leases

    @rule(name=st.sampled_from(NAMES))
    def crash(self, name: str) -> None:
        """A process is killed and starts again: it knows nothing and has another session."""
        past = [*self.processes[name].past, *self.processes[name].leases.items()]
        self.processes[name] = Process(f"{name}-{next(self.sessions)}", past=past)

    @rule()
    def restart(self) -> None:
        """The recorder is killed and starts again: every holder has a whole lease."""
        self.queue = self._new_queue()
        self._tick()

    @rule(seconds=st.sampled_from([1, 4, 9, 11, 60]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds * NS_PER_SECOND)
        self._tick()

    def _tick(self) -> None:
        is_new = self.queue._was_away
        self.run(self.queue._tick())
        now_ns = self.clock.time_ns()
        for one in self.known.values():
            if one.state in HELD:
                if is_new:
                    one.lease_until_ns = max(one.lease_until_ns, now_ns + LEASE_NS)
                if one.lease_until_ns <= now_ns:
                    self._lose(one)
            if one.state in (RequestState.QUEUED, RequestState.TAKEN) and not self._is_valid(one):
                one.state = RequestState.EXPIRED

    def _lose(self, one: Known) -> None:
        if one.state is RequestState.WORKING:
            one.state = RequestState.UNRESOLVED
        else:
            self._give_back(one)

    def _give_back(self, one: Known) -> None:
        if one.cancel_requested:
            one.state = RequestState.CANCELLED
        elif not self._is_valid(one):
            one.state = RequestState.EXPIRED
        else:
            one.state = RequestState.DEAD if one.attempts >= MAX_ATTEMPTS else RequestState.QUEUED
        one.session = None

    def _is_valid(self, one: Known) -> bool:
        return one.valid_until_ns is None or one.valid_until_ns > self.clock.time_ns()

    def _lease(self, data: st.DataObject, name: str) -> tuple[str, int] | None:
        """A lease that a process has, or believes to have, or once had."""
        process = self.processes[name]
        leases = [*process.leases.items(), *process.past]
        return data.draw(st.sampled_from(leases)) if leases else None

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def begin(self, data: st.DataObject, name: str) -> None:
        lease = self._lease(data, name)
        if lease is None:
            return
        request_id, token = lease
        one = self.known[request_id]
        permitted = one.token == token and (
            one.state is RequestState.WORKING
            or (
                one.state is RequestState.TAKEN
                and one.lease_until_ns > self.clock.time_ns()
                and self._is_valid(one)
            )
        )
        if self._done(permitted, self.queue.begin(request_id, token, PERSON)) is None:
            return
        if one.state is RequestState.TAKEN:
            one.state, one.sent = RequestState.WORKING, one.sent + 1

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def ack(self, data: st.DataObject, name: str) -> None:
        lease = self._lease(data, name)
        if lease is None:
            return
        request_id, token = lease
        one = self.known[request_id]
        ends = (RequestState.WORKING, RequestState.UNRESOLVED, RequestState.DONE)
        permitted = one.token == token and one.state in ends
        if self._done(permitted, self.queue.ack(request_id, token, None, PERSON)) is not None:
            one.state = RequestState.DONE

    @rule(data=st.data(), name=st.sampled_from(NAMES), outcome=st.sampled_from(NackOutcome))
    def nack(self, data: st.DataObject, name: str, outcome: NackOutcome) -> None:
        lease = self._lease(data, name)
        if lease is None:
            return
        request_id, token = lease
        one = self.known[request_id]
        permitted = one.token == token and one.state in (*HELD, RequestState.UNRESOLVED)
        again = one.token == token and one.state.value == outcome.value
        try:
            self.run(self.queue.nack(request_id, token, outcome, "given back", PERSON))
        except RequestConflictError:
            assert not permitted
            return
        assert permitted or again
        if not permitted:
            return
        if outcome is NackOutcome.RETRY:
            one.returned += one.state is not RequestState.TAKEN
            self._give_back(one)
        else:
            one.state = RequestState(outcome.value)

    def _done(self, permitted: bool, work: Coroutine[Any, Any, RequestRecord]) -> RequestRecord | None:  # noqa: FBT001 - a word each
        try:
            record = self.run(work)
        except RequestConflictError as refusal:
            if permitted:
                raise AssertionError(f"refused: {refusal}") from refusal
            return None
        assert permitted
        return record

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(list(self.known)))
        one = self.known[request_id]
        permitted = one.state in (RequestState.QUEUED, *HELD, RequestState.CANCELLED)
        if self._done(permitted, self.queue.cancel(request_id, "news", PERSON)) is None:
            return
        if one.state is RequestState.WORKING:
            one.cancel_requested = True
        else:
            one.state = RequestState.CANCELLED

    @precondition(lambda self: self.known)
    @rule(data=st.data(), outcome=st.sampled_from(Resolution))
    def resolve(self, data: st.DataObject, outcome: Resolution) -> None:
        request_id = data.draw(st.sampled_from(list(self.known)))
        one = self.known[request_id]
        permitted = one.state in (RequestState.UNRESOLVED, RequestState.DEAD)
        if outcome is Resolution.QUEUED:
            permitted = permitted and self._is_valid(one)
        if self._done(permitted, self.queue.resolve(request_id, outcome, "looked", PERSON)) is None:
            return
        if outcome is Resolution.QUEUED:
            one.returned += one.state is RequestState.UNRESOLVED
            one.token, one.attempts, one.cancel_requested = one.token + 1, 0, False
        one.state = RequestState(outcome.value)
        one.session = None

    @invariant()
    def every_request_is_where_the_model_has_it(self) -> None:
        for request_id, one in self.known.items():
            record = self.run(self.queue.find(request_id))
            assert (record.state, record.token, record.attempts) == (one.state, one.token, one.attempts)

    @invariant()
    def no_order_is_sent_twice_unless_somebody_says_that_the_first_was_not(self) -> None:
        for one in self.known.values():
            assert one.sent <= 1 + one.returned

    def teardown(self) -> None:
        """The audit log tells the life of each request without a gap, and so do the messages."""
        rows = self.run(
            self.database.fetch(
                "SELECT target, before, after FROM audit WHERE recorder = $1",
                [self.recorder],
            )
        )
        told: dict[str, list[tuple[Any, Any]]] = {request_id: [] for request_id in self.known}
        for row in rows:
            before = None if row["before"] is None else msgspec.json.decode(row["before"])["state"]
            told[row["target"]].append((before, msgspec.json.decode(row["after"])["state"]))
        for request_id, one in self.known.items():
            steps = told[request_id]
            heard = [change.state.value for change in self.changes if change.request_id == request_id]
            assert sorted(after for _, after in steps) == sorted(heard)
            assert heard[0] == "queued"
            assert heard[-1] == one.state.value
            assert [before for before, _ in steps].count(None) == 1
            if one.state in FINAL_REQUEST_STATES:
                assert not any(r == request_id for r in self.run(self._held_ids()))

    async def _held_ids(self) -> list[str]:
        rows = await self.database.fetch(
            "SELECT request_id FROM order_requests WHERE recorder = $1 AND lease_until_ns IS NOT NULL",
            [self.recorder],
        )
        return [row["request_id"] for row in rows]


@pytest.mark.timeout(600)
def test_the_queue_does_what_the_model_says(postgres_server: PostgresServer) -> None:
    async def opened(stack: AsyncExitStack) -> Database:
        url = await stack.enter_async_context(postgres_server.database(create_tables))
        database = Database(url, StorageSettings())
        await database.open()
        stack.push_async_callback(database.close)
        return database

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        Desk.runner = runner
        Desk.database = runner.run(opened(stack))
        try:
            run_state_machine_as_test(
                Desk,
                settings=settings(
                    max_examples=examples(60),
                    stateful_step_count=40,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(stack.aclose())
