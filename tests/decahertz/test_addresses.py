"""Addresses at which this machine reaches its own listeners."""

from __future__ import annotations

import pytest

from decahertz.addresses import reachable_address


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1:9464"),
        ("", "127.0.0.1:9464"),
        ("0.0.0.0", "127.0.0.1:9464"),  # noqa: S104 - no listener
        ("::1", "[::1]:9464"),
        ("::", "[::1]:9464"),
        ("localhost", "localhost:9464"),
    ],
)
def test_an_address_of_ipv6_is_in_brackets(host: str, expected: str) -> None:
    assert reachable_address(host, 9464) == expected
