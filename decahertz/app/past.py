"""The past of the recorder, as far as the parts have to know it when they start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from storage.query.event_history import newest_sample_ns
from storage.query.instruments import stored_definitions
from storage.schema.emitters import recently_stored_events

if TYPE_CHECKING:
    from decahertz.alert import Alert
    from decahertz.clock import Clock
    from decahertz.event import Instrument
    from decahertz.ingest import EmitterId
    from decahertz.sample import SampleSchema
    from decahertz.sequences import SequenceSet
    from storage.database import Database
    from storage.write.alerts import AlertStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """State that earlier processes left in the database; empty before it is open."""

    firing: Sequence[Alert] = ()
    """Alerts that fire."""
    events: Mapping[EmitterId, SequenceSet] = field(default_factory=dict)
    """Stored events of the emitters that were active lately."""
    definitions: Sequence[Instrument] = ()
    """The newest definition of each instrument."""
    sampled_ns: int | None = None
    """The last cycle after now with stored samples: the clock was set back."""


async def read_past(
    database: Database, alerts: AlertStore, schemas: Sequence[SampleSchema], recorder: str, clock: Clock
) -> Past:
    """Reads the past of a recorder. Raises ``DatabaseUnavailableError``."""
    return Past(
        firing=await alerts.firing(),
        events=await recently_stored_events(database),
        definitions=await stored_definitions(database),
        sampled_ns=await newest_sample_ns(database, schemas, recorder, clock.time_ns()),
    )
