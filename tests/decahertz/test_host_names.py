from __future__ import annotations

import pytest

from decahertz.host_names import HostNames


@pytest.mark.parametrize(
    "header",
    [
        "localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "recorder", "Recorder:9464",
        "10.0.0.7:9464", "[fe80::1]", "192.0.2.7",
    ],
)  # fmt: skip
def test_names_of_this_machine_and_addresses_are_accepted(header: str) -> None:
    names = HostNames(("0.0.0.0", "Recorder"))  # noqa: S104 - no listener
    assert names.accepts(header)
    assert names.accepts(header)


@pytest.mark.parametrize(
    "header",
    [
        "", "evil.example", "127.0.0.1.evil.example:8000", "localhost@evil.example", "evil@localhost",
        "[::1", "localhost/evil", "localhost#", "localhost:port", "10.0.0.256", "recorder.evil.example",
    ],
)  # fmt: skip
def test_other_names_are_refused(header: str) -> None:
    assert not HostNames(("recorder",)).accepts(header)


def test_a_scan_does_not_fill_the_memory() -> None:
    names = HostNames(())
    assert all(names.accepts(f"localhost:{port}") for port in range(1, 5000))
    assert len(names._accepted) <= 100
