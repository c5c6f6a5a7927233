from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client_server import KillableRecorder, Recorder


@pytest.fixture
def server() -> Iterator[Recorder]:
    """A recorder that listens."""
    recorder = Recorder()
    recorder.start()
    yield recorder
    recorder.close()


@pytest.fixture
def killable(tmp_path: Path) -> Iterator[KillableRecorder]:
    """A recorder that listens, in a process of its own."""
    recorder = KillableRecorder(tmp_path / "stored")
    recorder.start()
    yield recorder
    recorder.kill()
