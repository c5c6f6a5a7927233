"""The texts of ``decahertz up``."""

from decahertz.app.up import killed


def test_rows_that_wait_safely_are_not_called_lost() -> None:
    assert killed(10_000_000, 0) == (
        "killed after 5 seconds: 10,000,000 rows wait in the spool for the next start\n"
    )
    assert killed(3, 12).endswith("next start, 12 rows that had not reached the disk are lost\n")
