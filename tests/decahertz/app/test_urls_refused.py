"""Every command refuses an unreadable URL in one line, with exit code 2 and nothing of the password."""

from __future__ import annotations

import pytest

from decahertz.app import cli
from decahertz.app.cli import main

COMMANDS = (
    ["up"],
    ["stack"],
    ["check"],
    ["settings"],
    ["db", "url"],
    ["db", "status"],
    ["db", "grant-read", "grafana"],
    ["dead-letters"],
    ["dead-letters", "list"],
    ["dead-letters", "replay"],
    ["keys", "list"],
    ["export", "ticks.csv", "ticks"],
    ["import", "ticks.csv"],
    ["backup", "file"],
    ["restore", "file"],
)


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the log of this process as it is."""
    monkeypatch.setattr(cli, "configure_logs", lambda _: None)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_password_of_a_url_is_never_in_the_output(
    command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--database-url", "postgresql://me:hun#ter/2@127.0.0.1/db"])
    written = capfd.readouterr()
    assert ended.value.code == 2
    assert written.out == ""
    assert written.err.startswith("decahertz: database_url: ")
    assert written.err.count("\n") == 1
    assert "write # as %23" in written.err
    assert "hun" not in written.err
    assert "ter" not in written.err.replace("character", "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hun/ter@host/db",
        "postgresql://me:hun?ter@host/db",
        "postgresql://me:hun[ter@host/db",
        "postgresql://me:hun]ter@host/db",
        "postgresql://host/db?pgbouncer=true",
        "postgresql://host/db?hostaddr=127.0.0.1",
        "postgresql://host:abc/db",
        "me:hunter@host/db",
    ],
)
@pytest.mark.parametrize("command", [["check"], ["db", "status"]], ids=" ".join)
def test_every_url_that_cannot_be_read_is_one_line(
    command: list[str], url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--database-url", url])
    written = capfd.readouterr()
    assert ended.value.code == 2
    assert written.err.startswith("decahertz: database_url: ")
    assert written.err.count("\n") == 1
    assert "hun" not in written.err


def test_a_url_that_the_driver_refuses_is_one_line_too(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["db", "status", "--database-url", "postgresql://me:hunter2@127.0.0.1:1/db?sslmode=maybe"])
    written = capfd.readouterr()
    assert ended.value.code == 2
    assert "sslmode" in written.err
    assert written.err.count("\n") == 1
    assert "hunter2" not in written.err


@pytest.mark.parametrize(
    "url", ["redis://:hun#ter@host:6379/0", "redis://:12/ter@host:6379/0", "host:6379", "redis://host:abc"]
)
def test_check_refuses_such_a_url_of_redis(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "--api-redis-url", url, "--api-port", "0", "--exporter-port", "0"])
    written = capfd.readouterr()
    assert ended.value.code == 2
    assert "wrong  api.redis_url: " in written.out
    assert "ter@" not in written.out + written.err
