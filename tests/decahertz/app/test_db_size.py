"""``decahertz db size``."""

from __future__ import annotations

import pytest

from decahertz.app.cli import main


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("days", "nan"),
        ("days", "inf"),
        ("years", "101"),
        ("quotes-per-second", "nan"),
        ("ticks-per-second", "-1"),
        ("fills-per-day", "1e400"),
    ],
)
def test_a_count_that_is_none_is_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["db", "size", "--instruments", "1", "--strategies", "1", f"--{option}", value])
    assert ended.value.code == 2
    assert "Counts and rates are 0 to" in capsys.readouterr().err
