"""SIGKILL for pipeline and client."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from storage.postgres.embedded import Installation
from tests.chaos.world import live_through, world
from tests.pipeline.running import IS_LONG

pytestmark = pytest.mark.timeout(3000 if IS_LONG else 180)
_PIPELINE_KILLS = 20 if IS_LONG else 3
_CLIENT_KILLS = 20 if IS_LONG else 3


def test_the_pipeline_killed_at_random_moments_and_while_the_database_is_away(
    installation: Installation, folder: Path
) -> None:
    with world(folder, installation) as chaos:
        chaos.start_client(rate=1000)
        for _ in range(_PIPELINE_KILLS):
            chaos.wait_acknowledged()
            live_through(random.uniform(0.0, 1.0))
            chaos.pipeline.kill()
            chaos.start_pipeline()
        chaos.wait_acknowledged()
        chaos.postgres.stop()
        chaos.wait_acknowledged(1000)  # safe in the spool alone
        chaos.pipeline.kill()
        chaos.postgres.start()
        chaos.start_pipeline()
        chaos.wait_acknowledged()
        chaos.check()


def test_the_client_killed_and_started_again(installation: Installation, folder: Path) -> None:
    with world(folder, installation) as chaos:
        for _ in range(_CLIENT_KILLS):
            chaos.start_client(rate=1000)
            chaos.wait_acknowledged()
            live_through(random.uniform(0.0, 0.5))
            chaos.emitter.kill()
        chaos.start_client()
        chaos.wait_acknowledged()
        chaos.check()
        assert len(chaos.emitter.promised()) == _CLIENT_KILLS + 1
