"""Templates of order requests over HTTP, and their schedules over restarts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.http.access import Scope
from control.actor import Actor
from control.checks import PreTradeChecks
from control.schedules import Schedules
from control.self_metrics import ControlMetrics
from control.settings import ControlSettings
from control.templates import Templates
from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND, parse_time
from decahertz.contracts import Contracts
from decahertz.fakes import ManualClock
from decahertz.halts import HaltOrigin, HaltScope
from decahertz.order_templates import RunOutcome, ScheduledRun, Template, TemplateContent
from decahertz.risk_limits import OrderLimits
from storage.write.order_templates import TemplateStore
from tests.api.checked import Caller, Reply
from tests.api.helpers import Stack
from tests.control.requests import EQUITY
from tests.storage_examples import RECORDER as STORED_BY

PERSON = Actor(name="ada")
MINUTE_NS = 60 * NS_PER_SECOND
CONTENT: dict[str, Any] = {"name": "hedge", "description": "before the close", "order": EQUITY}


@pytest.fixture
async def desk(stored: Stack, stored_caller: Caller) -> Caller:
    """Asks an API of which a key with the scope ``trade`` exists."""
    await stored.key(Scope.TRADE)
    await stored.keys.refresh()
    return stored_caller


async def create(desk: Caller, **fields: object) -> dict[str, Any]:
    made = await desk.post("templates", json=CONTENT | fields)
    assert made.status == 201, made.body
    body: dict[str, Any] = made.body
    return body


async def put(desk: Caller, template: dict[str, Any], tag: str | None, **fields: object) -> Reply:
    headers = {} if tag is None else {"If-Match": tag}
    return await desk.ask(
        "PUT", f"templates/{template['template_id']}", json=CONTENT | fields, headers=headers
    )


async def test_a_template_is_written_read_and_deleted_with_all_its_versions(desk: Caller) -> None:
    made = await desk.post("templates", json=CONTENT)
    assert (made.status, made.headers["ETag"], made.body["version"]) == (201, '"1"', 1)
    path = f"templates/{made.body['template_id']}"
    assert made.headers["Location"] == f"/api/v1/{path}"
    read = await desk.get(path)
    assert (read.body, read.headers["ETag"]) == (made.body, '"1"')
    assert read.body["order"] == read.body["order"] | EQUITY
    changed = await put(desk, made.body, '"1"', name="hedge 2", valid_seconds=60)
    assert (changed.headers["ETag"], changed.body["name"], changed.body["valid_seconds"]) == (
        '"2"',
        "hedge 2",
        60.0,
    )
    assert (await desk.get("templates")).body["items"] == [changed.body]
    assert (await desk.ask("DELETE", path, headers={"If-Match": '"2"'})).status == 200
    assert (await desk.get(path)).status == 404
    assert (await desk.get("templates")).body["items"] == []
    versions = (await desk.get(f"{path}/versions")).body["items"]
    assert [(one["version"], one["content"]["name"]) for one in versions] == [(2, "hedge 2"), (1, "hedge")]
    entries = (await desk.get(f"audit?target={made.body['template_id']}")).body["items"]
    assert [(one["action"], one["after"] is None) for one in entries] == [
        ("template.delete", True),
        ("template.update", False),
        ("template.create", False),
    ]


async def test_nobody_overwrites_what_somebody_else_has_written(desk: Caller) -> None:
    made = await create(desk)
    (await put(desk, made, None)).problem("precondition-required")
    (await put(desk, made, "3")).problem("invalid-parameter")
    assert (await put(desk, made, '"1"', description="first")).status == 200
    late = await put(desk, made, '"1"', description="second")
    assert "the current version is 2" in late.problem("precondition-failed")["detail"]
    path = f"templates/{made['template_id']}"
    for method, suffix, body in (("DELETE", "", None), ("POST", "/submit", {}), ("POST", "/dry-run", {})):
        reply = await desk.ask(method, path + suffix, json=body, headers={"If-Match": '"1"'})
        reply.problem("precondition-failed")
    assert (await put(desk, made, "*", description="any")).body["version"] == 3
    (await desk.post("templates", json=CONTENT)).problem("name-taken")
    other = await create(desk, name="other")
    (await put(desk, other, "*", name="hedge")).problem("name-taken")


async def test_a_template_is_submitted_with_other_values(desk: Caller, stored: Stack) -> None:
    made = await create(desk, valid_seconds=60)
    path = f"templates/{made['template_id']}/submit"
    body = {"overrides": {"quantity": 2, "notes": "by hand"}}
    submitted = await desk.post(path, json=body, headers={"Idempotency-Key": "k-1"})
    again = await desk.post(path, json=body, headers={"Idempotency-Key": "k-1"})
    assert (submitted.status, again.status, again.body) == (201, 200, submitted.body)
    body["overrides"]["quantity"] = 3
    (await desk.post(path, json=body, headers={"Idempotency-Key": "k-1"})).problem("idempotency-key-reused")
    record = await stored.queue.find(submitted.body["request_id"])
    assert (record.template_id, record.template_version, record.scheduled_ns) == (
        made["template_id"],
        1,
        None,
    )
    assert (record.body.quantity, record.body.notes, record.body.strategy) == (2.0, "by hand", "momentum")
    assert record.valid_until_ns is not None
    assert 0 < record.valid_until_ns - record.created_ns <= MINUTE_NS
    (entry,) = (await desk.get(f"audit?target={record.request_id}")).body["items"]
    assert (entry["after"]["template_id"], entry["after"]["template_version"]) == (made["template_id"], 1)


@pytest.mark.parametrize(
    ("overrides", "field", "reason"),
    [
        ({"quantity": -1}, "overrides.quantity", "must be more than 0"),
        ({"side": "BUY"}, "overrides.side", "'BUY' is unknown; allowed: buy, sell"),
        ({"side": "B" * 9999}, "overrides.side", f"'{'B' * 63}… is unknown; allowed: buy, sell"),
        ({"leverage": 3}, "overrides.leverage", "there is no field leverage"),
        ({"kind": "manual_legs"}, "overrides.kind", "is that of the template"),
        ({"limit_price": None}, "overrides.limit_price", "a limit order needs it"),
        ({"order_type": "stop_limit"}, "stop_price", "a stop_limit order needs it"),
        ({"valid_until": 5}, "overrides.valid_until", "is not in the future"),
        (
            {"account": " "},
            "overrides.account",
            "an account has no control character, and no blank at either end",
        ),
    ],
)
async def test_an_override_that_does_not_fit_is_named(
    desk: Caller, overrides: dict[str, Any], field: str, reason: str
) -> None:
    made = await create(desk)
    for call in ("submit", "dry-run"):
        refused = await desk.post(f"templates/{made['template_id']}/{call}", json={"overrides": overrides})
        assert refused.problem("invalid-body")["errors"] == [{"field": field, "reason": reason}]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"order": EQUITY | {"limit_price": None}}, "order.limit_price"),
        ({"order": EQUITY | {"valid_until": 2**62}}, "order.valid_until"),
        ({"order": EQUITY | {"quantity": 0}}, "order.quantity"),
        ({"valid_seconds": 0}, "valid_seconds"),
        ({"schedule": {"cron": "99 9 * * *"}}, "schedule.cron"),
        ({"schedule": {"cron": "@daily"}}, "schedule.cron"),
        ({"schedule": {"cron": "0 9 * * *", "timezone": "Mars/Base"}}, "schedule.timezone"),
        ({"schedule": {"cron": "0 9 * * *", "calendar": "--help"}}, "schedule.calendar"),
    ],
)
async def test_a_template_that_does_not_fit_is_refused(
    desk: Caller, fields: dict[str, Any], field: str
) -> None:
    refused = await desk.post("templates", json=CONTENT | fields)
    assert [error["field"] for error in refused.problem("invalid-body")["errors"]] == [field]
    assert (await desk.get("templates")).body["items"] == []


async def test_a_dry_run_says_what_each_check_says(desk: Caller, stored: Stack) -> None:
    contracts = Contracts(AccountingSettings(), stored.clock)
    limits = OrderLimits(max_quantity=1, require_live_feed=False, price_collar_bps=50)
    stored.queue._checks = PreTradeChecks(limits, stored.latest, stored.clock, contracts)
    made = await create(desk)
    path = f"templates/{made['template_id']}/dry-run"
    tried = (await desk.post(path, json={"overrides": {"quantity": 2}})).body
    assert (tried["passes"], tried["order"]["quantity"]) == (False, 2.0)
    assert {check["rule"]: check["outcome"] for check in tried["checks"]} == {
        "halted": "passed",
        "feed-not-live": "off",
        "market-closed": "off",
        "mid-too-old": "off",
        "max-quantity": "violated",
        "max-notional": "off",
        "price-collar": "violated",
        "open-orders": "off",
    }
    market = {name: value for name, value in EQUITY.items() if name != "limit_price"} | {
        "order_type": "market"
    }
    made = await create(desk, name="at the market", order=market)
    path = f"templates/{made['template_id']}/dry-run"
    tried = (await desk.post(path, json={})).body
    outcomes = {check["rule"]: check["outcome"] for check in tried["checks"]}
    assert (tried["passes"], outcomes["price-collar"]) == (True, "not_applicable")
    await stored.halts.halt(stored.halts.new(HaltScope.DESK, HaltOrigin.PERSON, "ada", "news"), PERSON)
    tried = (await desk.post(path, json={})).body
    assert [check["outcome"] for check in tried["checks"]][:5] == [
        "violated",
        "off",
        "off",
        "off",
        "not_reached",
    ]
    assert (await desk.get("orders")).body["items"] == []


class Scheduled:
    """A template with a schedule, and the recorders that follow it one after the other."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.clock = ManualClock(parse_time("2026-07-01T12:00:30Z"))
        self.stack.queue._clock = self.clock
        self.store = TemplateStore(stack.database, STORED_BY)
        self.restart()

    def restart(self) -> None:
        """The recorder was killed: the next one knows what the database has."""
        self.templates = Templates(
            self.store,
            self.stack.queue,
            Schedules(self.clock, "UTC"),
            self.clock,
            ControlSettings(),
            recorder=STORED_BY,
        )

    async def create(self, cron: str = "* * * * *", **fields: object) -> Template:
        return await self.templates.create(content(cron, **fields), PERSON)

    async def at(self, seconds: int) -> tuple[Template, ScheduledRun | None]:
        """Lets time pass; returns the template, and what became of the newest scheduled time."""
        self.clock.advance(seconds * NS_PER_SECOND)
        await self.templates._tick()
        (found,) = await self.templates.all()
        return found, found.last_run

    async def scheduled(self) -> list[int]:
        rows = await self.stack.database.fetch(
            "SELECT scheduled_ns FROM order_requests WHERE scheduled_ns IS NOT NULL ORDER BY 1", []
        )
        return [row["scheduled_ns"] for row in rows]


def content(cron: str, **fields: object) -> TemplateContent:
    made: TemplateContent = msgspec.convert(CONTENT | {"schedule": {"cron": cron}} | fields, TemplateContent)
    return made


@pytest.fixture
async def scheduled(stored: Stack) -> Scheduled:
    await stored.templates.stop()  # the test's own follow the schedule, on a clock by hand
    await stored.key(Scope.TRADE)
    await stored.keys.refresh()
    return Scheduled(stored)


def metrics(scheduled: Scheduled) -> dict[tuple[str, str], float]:
    """Values by family and the value of its label."""
    families = ControlMetrics(scheduled.stack.queue, scheduled.templates, scheduled.clock).collect()
    samples = [sample for family in families for sample in family.samples]
    return {(one.name, "".join(one.labels.values())): one.value for one in samples}


async def test_each_scheduled_time_becomes_one_request(scheduled: Scheduled) -> None:
    made = await scheduled.create()
    first_ns = parse_time("2026-07-01T12:01:00Z")
    assert made.next_ns == first_ns
    assert (await scheduled.at(29))[1] is None
    found, run = await scheduled.at(1)
    assert run is not None
    assert (run.outcome, run.scheduled_ns, found.next_ns) == (
        RunOutcome.SUBMITTED,
        first_ns,
        first_ns + MINUTE_NS,
    )
    assert run.request_id is not None
    record = await scheduled.stack.queue.find(run.request_id)
    assert (record.submitted_by, record.scheduled_ns, record.template_version) == ("recorder", first_ns, 1)
    await scheduled.at(1)
    await scheduled.at(59)
    assert await scheduled.scheduled() == [first_ns, first_ns + MINUTE_NS]
    await scheduled.at(10)
    await scheduled.stack.queue._tick()
    shown = metrics(scheduled)
    assert shown["decahertz_schedule_times_total", "submitted"] == 2
    assert shown["decahertz_schedule_next_timestamp_seconds", ""] == (first_ns + 2 * MINUTE_NS) / 1e9
    assert shown["decahertz_order_requests", "queued"] == 2
    assert shown["decahertz_order_request_age_seconds", "queued"] == pytest.approx(70)
    assert shown["decahertz_order_request_changes_total", "order_submitted"] == 2


async def test_a_recorder_that_is_killed_after_the_submission_does_not_submit_again(
    scheduled: Scheduled,
) -> None:
    made = await scheduled.create()
    first_ns = made.next_ns
    assert first_ns is not None
    _, run = await scheduled.at(30)
    async with scheduled.stack.database.query() as connection:  # as if the kill came before the last write
        await connection.execute("UPDATE order_templates SET next_ns = $1, last_run = NULL", first_ns)
    scheduled.restart()
    for seconds in (0, 3600):  # at once, and long after the grace time
        found, again = await scheduled.at(seconds)
        assert again is not None
        assert run is not None
        if not seconds:
            assert (again.outcome, again.request_id) == (RunOutcome.SUBMITTED, run.request_id)
    assert found.next_ns == first_ns + 61 * MINUTE_NS
    assert (await scheduled.scheduled())[0] == first_ns
    assert len(await scheduled.scheduled()) == len(set(await scheduled.scheduled()))


async def test_missed_times_are_told_and_not_made_up_for(scheduled: Scheduled, stored_caller: Caller) -> None:
    made = await scheduled.create("0 * * * *")
    assert made.next_ns == parse_time("2026-07-01T13:00:00Z")
    scheduled.restart()
    found, run = await scheduled.at(5 * 3600)  # 17:00:30
    assert run is not None
    # The newest is within the grace time; the four before it are missed.
    assert (run.outcome, run.missed, run.scheduled_ns) == (
        RunOutcome.SUBMITTED,
        4,
        parse_time("2026-07-01T17:00:00Z"),
    )
    found, run = await scheduled.at(2 * 3600 + 600)  # 19:10:30
    assert run is not None
    assert (run.outcome, run.missed, found.next_ns) == (
        RunOutcome.MISSED,
        1,
        parse_time("2026-07-01T20:00:00Z"),
    )
    assert "was away for 630 s" in str(run.reason)
    assert metrics(scheduled)["decahertz_schedule_times_total", "missed"] == 6
    assert await scheduled.scheduled() == [parse_time("2026-07-01T17:00:00Z")]
    entries = (await stored_caller.get(f"audit?target={made.template_id}&action=template.run")).body["items"]
    assert [one["after"]["last_run"]["outcome"] for one in entries] == ["missed", "submitted"]


async def test_a_very_long_absence_is_not_counted_to_its_end(scheduled: Scheduled) -> None:
    await scheduled.create()
    _, run = await scheduled.at(30 * 86_400)
    assert run is not None
    assert (run.outcome, run.missed) == (RunOutcome.MISSED, 1_000)
    assert await scheduled.scheduled() == []
    _, run = await scheduled.at(60)
    assert run is not None
    assert run.outcome is RunOutcome.SUBMITTED


async def test_a_scheduled_request_that_a_check_refuses_is_told(scheduled: Scheduled) -> None:
    await scheduled.create()
    halts = scheduled.stack.halts
    halted = halts.new(HaltScope.DESK, HaltOrigin.PERSON, "ada", "news")
    await halts.halt(halted, PERSON)
    _, run = await scheduled.at(30)
    assert run is not None
    assert (run.outcome, run.request_id) == (RunOutcome.REFUSED, None)
    assert "the desk is halted: news" in str(run.reason)
    await scheduled.templates._tick()  # it reads the templates again
    shown = metrics(scheduled)
    assert shown["decahertz_schedule_times_total", "refused"] == 1
    assert shown["decahertz_schedule_templates", "refused"] == 1
    assert shown["decahertz_order_requests_refused_total", "halted"] == 1
    await halts.resume(halted.halt_id, "over", PERSON)
    await scheduled.at(1)
    assert await scheduled.scheduled() == []
    scheduled.templates.may_submit = lambda: False
    assert (await scheduled.at(59))[1] == run  # keys may not be read yet
    _, run = await scheduled.at(15)
    assert run is not None
    assert "no key has the scope 'trade'" in str(run.reason)


async def test_a_schedule_ends_with_its_template_and_follows_its_changes(scheduled: Scheduled) -> None:
    made = await scheduled.create()
    written = content("* * * * *", description="a word more")
    changed = await scheduled.templates.update(made.template_id, 1, written, PERSON)
    assert changed.next_ns == made.next_ns
    off = content("* * * * *", schedule={"cron": "* * * * *", "enabled": False})
    assert (await scheduled.templates.update(made.template_id, 2, off, PERSON)).next_ns is None
    assert (await scheduled.at(120))[1] is None
    back = await scheduled.templates.update(made.template_id, 3, written, PERSON)
    assert back.next_ns == parse_time("2026-07-01T12:03:00Z")  # not the times in between
    await scheduled.templates.delete(made.template_id, None, PERSON)
    scheduled.clock.advance(120 * NS_PER_SECOND)
    await scheduled.templates._tick()
    assert await scheduled.scheduled() == []


async def test_without_a_key_that_may_trade_templates_are_read_only(stored_caller: Caller) -> None:
    assert (await stored_caller.get("templates")).body["items"] == []
    for method, path, body in (
        ("POST", "templates", CONTENT),
        ("PUT", "templates/t-1", CONTENT),
        ("DELETE", "templates/t-1", None),
        ("POST", "templates/t-1/submit", {}),
        ("POST", "templates/t-1/dry-run", {}),
    ):
        refused = await stored_caller.ask(method, path, json=body, headers={"If-Match": "*"})
        refused.problem("not-enabled")
