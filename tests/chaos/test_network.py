"""Faults of the network between client and pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.postgres.embedded import Installation
from tests.chaos.world import LIMIT_SECONDS, live_through, world
from tests.pipeline.running import IS_LONG, wait_until

pytestmark = pytest.mark.timeout(3000 if IS_LONG else 180)
_CUT_SECONDS = 30.0 if IS_LONG else 2.0
_CUTS = 10 if IS_LONG else 2
_LOST_ANSWERS = 100 if IS_LONG else 10


def test_the_network_cut_and_slowed_and_answers_lost_after_the_batch_was_stored(
    installation: Installation, folder: Path
) -> None:
    with world(folder, installation) as chaos:
        chaos.start_client()
        for _ in range(_CUTS):
            chaos.wait_acknowledged()
            chaos.background.call(chaos.network.cut())
            live_through(_CUT_SECONDS)
            chaos.network.is_cut = False
            chaos.network.delay_seconds, chaos.network.bytes_per_second = 0.2, 50_000
            chaos.wait_acknowledged()
            chaos.network.delay_seconds = chaos.network.bytes_per_second = 0.0
        for _ in range(_LOST_ANSWERS):
            chaos.network.lose_answers = 1
            wait_until("a lost answer", LIMIT_SECONDS, lambda: chaos.network.lose_answers == 0)
        chaos.wait_acknowledged()
        chaos.check()
        (figures,) = chaos.emitter.figures
        assert figures["acknowledged"] == figures["emitted"]
