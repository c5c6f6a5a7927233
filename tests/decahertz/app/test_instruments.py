"""The part that watches the user's file of instruments."""

from __future__ import annotations

from pathlib import Path

from decahertz.accounting import AccountingSettings
from decahertz.app.instruments import SOURCE, InstrumentsFile
from decahertz.bus import LocalBus
from decahertz.contracts import Contracts
from decahertz.event import Instrument, InstrumentKind
from decahertz.health import Health
from decahertz.ingest import Ingest
from decahertz.testing import START_NS, ManualClock, MessageLog
from tests.decahertz.test_ingest import SECOND, Sink

ONE = '[[instrument]]\nvenue = "v"\ninstrument = "{}"\nkind = "future"\nmultiplier = {}\n'


class Watched:
    """The part, with a file whose content the test sets."""

    def __init__(self, path: Path) -> None:
        clock, bus = ManualClock(START_NS), LocalBus()
        self.log = MessageLog(bus)
        self.path = path
        self.contracts = Contracts(AccountingSettings(), clock)
        ingest = Ingest(bus, Sink(), clock, max_future_ns=SECOND, timeout_seconds=1, contracts=self.contracts)
        self.part = InstrumentsFile(path, ingest, self.contracts, clock)

    async def write(self, text: str) -> list[Instrument]:
        """The definitions that a new content of the file emits."""
        before = len(self.log.events())
        self.path.write_text(text)
        await self.part._look()
        return [one for one in self.log.events()[before:] if isinstance(one, Instrument)]

    def multiplier(self, name: str) -> float | None:
        found = self.contracts.definitions.get("v", name)
        return None if found is None else found.multiplier


async def test_a_change_of_the_file_emits_what_has_changed(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "i.toml")
    both = ONE.format("A", 2) + ONE.format("B", 3)
    assert [one.instrument for one in await watched.write(both)] == ["A", "B"]
    await watched.part._look()
    assert len(watched.log.events()) == 2, "the same content says nothing new"
    assert await watched.write(ONE.format("A", 2) + ONE.format("B", 40)) == [
        Instrument(time_ns=START_NS, venue="v", instrument="B", kind=InstrumentKind.FUTURE, multiplier=40.0)
    ]
    assert watched.multiplier("B") == 40.0
    assert {message.batch.source for message in watched.log.messages} == {SOURCE}  # type: ignore[union-attr]


async def test_a_bad_file_is_in_health_and_changes_nothing_until_it_is_put_right(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "i.toml")
    await watched.part._look()
    assert "No such file" in watched.part.status().detail
    await watched.write(ONE.format("A", 2))
    assert watched.part.status().health is Health.OK
    assert await watched.write(ONE.format("A", -2)) == []
    status = watched.part.status()
    assert status.health is Health.DEGRADED
    assert "i.toml: instrument 1 (A): Expected `float` > 0.0 (multiplier)" in status.detail
    assert watched.multiplier("A") == 2.0
    assert len(await watched.write(ONE.format("A", 4))) == 1
    assert watched.part.status().health is Health.OK


async def test_without_a_file_nothing_is_watched() -> None:
    watched = Watched(Path())
    await watched.part.start()
    await watched.part.stop()
    await watched.part.stop()
    assert watched.part.status().health is Health.OK
    assert watched.log.messages == []


async def test_a_file_is_read_before_the_start_returns(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "i.toml")
    watched.path.write_text(ONE.format("A", 2))
    await watched.part.start()
    assert watched.multiplier("A") == 2.0
    await watched.part.stop()
