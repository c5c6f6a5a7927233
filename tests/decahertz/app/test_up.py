from __future__ import annotations

from pathlib import Path

import pytest

from decahertz.app.database import start_errors
from decahertz.app.start_error import StartError
from decahertz.app.up import killed
from storage.write.lease import HolderFile


def test_rows_that_wait_safely_are_not_called_lost() -> None:
    assert killed(10_000_000, 0) == (
        "killed after 5 seconds: 10,000,000 rows wait in the spool for the next start\n"
    )
    assert killed(3, 12).endswith("next start, 12 rows that had not reached the disk are lost\n")


def test_a_folder_that_cannot_be_used_is_told_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StartError) as refusal, start_errors():
        HolderFile(file / "holder")
    assert str(refusal.value) == (
        f"cannot use {file}/holder: Not a directory; `decahertz check` tells what else is in the way"
    )
