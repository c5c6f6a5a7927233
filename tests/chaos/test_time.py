"""A wall clock that is stepped."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.postgres.embedded import Installation
from tests.chaos import stepped
from tests.chaos.world import live_through, world
from tests.pipeline.running import IS_LONG

pytestmark = pytest.mark.timeout(3000 if IS_LONG else 120)
_ROUNDS = 20 if IS_LONG else 2


def test_the_clock_stepped_back_and_forth(installation: Installation, folder: Path) -> None:
    with world(folder, installation, program=stepped.run) as chaos:
        chaos.start_client()
        for round_ in range(_ROUNDS):
            for step in (3.0, -3.0, -0.2, 0.2) if round_ % 2 else (-2.0, 2.0, 0.07, -0.07):
                chaos.wait_acknowledged(50)
                chaos.pipeline.tell(str(step))
                live_through(0.3)
        live_through(3.5)  # until the time that was there before has come again
        chaos.wait_acknowledged()
        chaos.check()
