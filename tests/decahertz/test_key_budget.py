from __future__ import annotations

import pytest

from decahertz.clock import NS_PER_SECOND
from decahertz.key_budget import MAKE_ROOM_NS, MAX_LISTED, RECENTLY_NS, KeyBudget

LIMIT, EMITTER_LIMIT = 10, 6


@pytest.fixture
def budget() -> KeyBudget:
    return KeyBudget("collectors.market.max_keys", LIMIT, EMITTER_LIMIT)


def admitted(budget: KeyBudget, emitter: str, count: int, now_ns: int = 0) -> int:
    budget.emitter = emitter
    return sum(budget.admit((emitter, str(number)), now_ns) for number in range(count))


def test_one_emitter_cannot_take_the_room_of_others(budget: KeyBudget) -> None:
    assert admitted(budget, "runaway", 1000) == EMITTER_LIMIT
    assert admitted(budget, "calm", 4) == 4
    assert admitted(budget, "late", 1) == 0
    assert len(budget) == LIMIT
    assert budget.over == 1000 - EMITTER_LIMIT + 1
    assert budget.refused == 1000 - EMITTER_LIMIT + 1
    assert budget.problem() == (
        "995 keys over collectors.market.max_keys (10, 6 by emitter) are stored as events but not sampled;"
        " runaway sends 994 of them"
    )


def test_a_known_key_is_admitted_whoever_sends_it(budget: KeyBudget) -> None:
    admitted(budget, "runaway", 1000)
    budget.emitter = "another"
    assert budget.admit(("runaway", "0"), 0)
    assert len(budget) == EMITTER_LIMIT


def test_a_retired_key_gives_its_room_back(budget: KeyBudget) -> None:
    admitted(budget, "a", 7)
    assert budget.over == 1
    budget.release(("a", "0"))
    budget.release(("a", "0"))
    budget.release(("never", "seen"))
    assert budget.admit(("a", "6"), 0)
    assert budget.over == 0
    assert not budget.problem()
    assert not budget.admit(("a", "7"), 0)


def test_keys_over_budget_are_forgotten_when_no_event_names_them(budget: KeyBudget) -> None:
    admitted(budget, "a", 8, 0)
    budget.admit(("a", "7"), 30 * NS_PER_SECOND)
    budget.expire(RECENTLY_NS + 1)
    assert budget.over == 1
    budget.expire(RECENTLY_NS + 31 * NS_PER_SECOND)
    assert budget.over == 0
    assert budget.refused == 3


def test_refused_keys_are_remembered_up_to_a_number(budget: KeyBudget) -> None:
    admitted(budget, "a", MAX_LISTED + 1000)
    assert budget.over == MAX_LISTED
    assert budget.refused == MAX_LISTED + 1000 - EMITTER_LIMIT
    assert "10,000 or more keys" in budget.problem()


def test_a_full_budget_asks_for_room_at_intervals_of_the_events(budget: KeyBudget) -> None:
    asked: list[int] = []

    def make_room(now_ns: int) -> None:
        asked.append(now_ns)
        budget.release(("a", str(len(asked) - 1)))

    budget.make_room = make_room
    start_ns = 400 * 24 * MAKE_ROOM_NS
    assert admitted(budget, "a", 8, start_ns) == 7
    assert admitted(budget, "a", 8, start_ns + MAKE_ROOM_NS) == 6  # 0 again instead of 1, and 2 to 6
    assert asked == [start_ns, start_ns + MAKE_ROOM_NS]


def test_a_checkpoint_keeps_the_keys_and_whose_they_are(budget: KeyBudget) -> None:
    admitted(budget, "runaway", 1000)
    admitted(budget, "calm", 2)
    resumed = KeyBudget("collectors.market.max_keys", LIMIT, EMITTER_LIMIT)
    resumed.resume(budget.held())
    assert resumed.held() == budget.held()
    assert admitted(resumed, "runaway", 1000) == EMITTER_LIMIT
    assert admitted(resumed, "calm", 3) == 3
    for key, _ in resumed.held():
        resumed.release(key)
    assert admitted(resumed, "runaway", 1000) == EMITTER_LIMIT


def test_the_limit_of_an_emitter_is_never_above_that_of_all() -> None:
    assert KeyBudget("x", 3, 5).emitter_limit == 3
