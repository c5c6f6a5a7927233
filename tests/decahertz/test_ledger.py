"""The ledger balances after every change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from decahertz.ledger import Account, Changes, Ledger

STEPS = st.tuples(
    st.sampled_from(["emit", "store", "drop", "lose"]), st.sampled_from("ab"), st.integers(0, 99)
)


@given(st.lists(STEPS))
def test_every_step_keeps_the_balance(steps: list[tuple[str, str, int]]) -> None:
    book = Ledger()
    for what, stream, rows in steps:
        changes = Changes()
        if what in ("drop", "lose"):
            getattr(changes, what)(stream, "age", rows)
        else:
            getattr(changes, what)(stream, rows)
        book.apply(changes)
        assert all(ledger.imbalance == 0 for ledger in book.read())


def test_a_reading_accounts_for_every_row() -> None:
    book, changes = Ledger(), Changes()
    changes.emit("a", 10)
    changes.store("a", 4)
    changes.drop("a", "age", 1)
    changes.lose("a", "client_ring_full", 2)
    book.apply(changes)
    (found,) = book.read()
    assert (found.emitted, found.stored, found.spooled) == (12, 4, 5)
    assert found.dropped == {"age": 1, "client_ring_full": 2}


def test_an_imbalance_is_reported() -> None:
    book = Ledger()
    book.load({"a": Account(emitted=10, stored=4, spooled=5)})
    assert [ledger.imbalance for ledger in book.read()] == [1]


def test_a_reading_is_a_copy() -> None:
    book, changes = Ledger(), Changes()
    changes.lose("a", "age", 1)
    book.apply(changes)
    accounts, (found,) = book.accounts(), book.read()
    book.apply(changes)
    assert accounts["a"].dropped == found.dropped == {"age": 1}


def test_subtracting_undoes_adding() -> None:
    account = Account(5, 1, 3, {"age": 1})
    account.add(Account(2, 1, 0, {"age": 1}))
    account.subtract(Account(2, 1, 0, {"age": 1}))
    assert account == Account(5, 1, 3, {"age": 1})
