"""The command refuses bad input in one line, with exit code 2."""

from __future__ import annotations

import signal
import socket
import urllib.error
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.pipeline.running import RunningDecahertz, command, errors_in, run, running, started, wait_until

pytestmark = pytest.mark.timeout(90)


def refused(output: str, *words: str) -> bool:
    """One line that says all of the words, and no traceback."""
    lines = [line for line in output.splitlines() if line.startswith("decahertz: ")]
    return len(lines) == 1 and all(word in lines[0] for word in words) and "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--api-port", "eighty"], ["api.port", "eighty"]),
        (["--api-port", "70000"], ["api.port", "65535"]),
        (["--api-host", "0.0.0.0"], ["api.host", "0.0.0.0"]),  # noqa: S104 - it has to be refused
        (["--collectors-enabled", "market,weather"], ["collectors.enabled", "weather"]),
        (["--feeds-enabled", "replay"], ["feeds.replay.file"]),
        (["--feeds-enabled", "replay", "--feeds-replay-file", "/nowhere.ws"], ["/nowhere.ws"]),
        (["--database-url", "mysql://nobody:verysecret@127.0.0.1/none"], ["database_url", "postgresql://"]),
        (["--config", "missing.toml"], ["missing.toml"]),
    ],
)
def test_a_bad_setting_stops_the_start_with_one_line_and_code_2(
    env: dict[str, str],
    arguments: list[str],
    words: list[str],
) -> None:
    ended = run("up", *arguments, env=env)
    assert ended.returncode == 2, ended.stderr
    assert refused(ended.stderr, *words), ended.stderr
    assert "verysecret" not in ended.stdout + ended.stderr


def test_a_setting_that_does_not_exist_is_named_with_the_one_that_was_meant(
    env: dict[str, str],
    data_dir: Path,
) -> None:
    for name, meant in (("DECAHERTZ_API_PRT", "DECAHERTZ_API_PORT"), ("DECAHERTZ_FEEDS_REPLAY_FIEL", "")):
        ended = run("check", "--feeds-enabled", "replay", env={**env, name: "5"})
        assert ended.returncode == 2
        assert refused(ended.stderr, name, meant), ended.stderr
    (data_dir / "decahertz.toml").write_text("[api]\nprot = 8000\n")
    ended = run("up", env=env)
    assert ended.returncode == 2
    assert refused(ended.stderr, "api.prot", "did you mean api.port?", "decahertz.toml"), ended.stderr


@pytest.mark.parametrize("key", ["api", "exporter"])
def test_a_port_in_use_is_named_before_a_database_is_created(
    env: dict[str, str], data_dir: Path, key: str
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        ended = run("up", env={**env, f"DECAHERTZ_{key.upper()}_PORT": str(port)})
    assert ended.returncode == 2, ended.stderr
    assert refused(ended.stderr, f"{key}.port", str(port)), ended.stderr
    assert not (data_dir / "postgres").exists()


def test_check_names_each_problem_and_returns_2(env: dict[str, str]) -> None:
    well = run("check", env=env)
    assert well.returncode == 0, well.stdout + well.stderr
    assert "ok     collector market" in well.stdout
    settings = run("check", "--collectors-enabled", "weather", env=env)
    assert settings.returncode == 2
    assert "weather" in settings.stderr


def test_a_second_process_on_the_same_data_is_refused_while_the_first_goes_on(
    idle: tuple[RunningDecahertz, dict[str, str]],
) -> None:
    decahertz, env = idle
    url = run("db", "url", env=env)
    assert url.stdout.strip() == decahertz.database
    ended = run("up", env=env)
    assert ended.returncode == 2, ended.stdout
    assert refused(ended.stderr, str(decahertz.process.pid)), ended.stderr
    assert decahertz.problems() == []


def test_a_file_that_is_no_recording_is_refused(env: dict[str, str], data_dir: Path) -> None:
    file = data_dir / "notes.txt"
    file.write_text("buy low, sell high\n")
    ended = run("import", str(file), env=env)
    assert ended.returncode == 2
    assert refused(ended.stderr, "notes.txt"), ended.stderr


@pytest.mark.parametrize(
    ("option", "value", "setting"),
    [
        ("--api-host", "0.0.0.0", "api.host"),  # noqa: S104 - it has to be refused
        ("--exporter-host", "0.0.0.0", "exporter.host"),  # noqa: S104 - the same
        ("--tiers-chunk-hours", "5", "tiers.chunk_hours"),
        ("--database-url", "postgresql://nobody@127.0.0.1:1/none", "database"),
    ],
)
def test_check_refuses_what_up_refuses(env: dict[str, str], option: str, value: str, setting: str) -> None:
    ended = run("check", option, value, env=env)
    assert ended.returncode == 2
    assert f"wrong  {setting}" in ended.stdout


def test_ctrl_c_during_the_imports_ends_without_a_traceback(env: dict[str, str], data_dir: Path) -> None:
    log = data_dir / "log"
    with started(command("up"), env, log) as process:
        try:
            imported = Path(f"/proc/{process.pid}/maps")
            while "msgspec" not in imported.read_text():  # the first of the heavy imports
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
        finally:
            process.kill()
    assert "Traceback" not in log.read_text()
    assert process.returncode in (0, 130, -signal.SIGINT)


def test_a_database_that_hangs_delays_the_end_by_no_more_than_five_seconds(
    env: dict[str, str],
    data_dir: Path,
) -> None:
    with running("--demo", env=env, log=data_dir / "log") as decahertz:
        server = next(
            child
            for child in psutil.Process(decahertz.process.pid).children(recursive=True)
            if child.name().startswith("postgres") and child.ppid() == decahertz.process.pid
        )
        hung = [server, *server.children(recursive=True)]
        for process in hung:
            process.suspend()
        try:
            took, _ = decahertz.stop()
        finally:
            for process in hung:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        assert took < 8  # five seconds, and what else a stop does on a busy machine
    with running("--feeds-enabled", "", env=env, log=data_dir / "log") as decahertz:
        assert decahertz.get("/api/v1/health/ready")["ready"]


def test_a_signal_to_every_process_at_once_is_a_stop_like_any_other(
    env: dict[str, str], data_dir: Path
) -> None:
    env, log = {**env, "DECAHERTZ_API_PROCESSES": "1"}, data_dir / "log"
    with running("--demo", env=env, log=log) as decahertz:
        wait_until("a trade", 60, lambda: bool(decahertz.get("/api/v1/trades?limit=1")["items"]))
        own = psutil.Process(decahertz.process.pid)
        everybody = [own, *own.children(recursive=True)]
        assert len(everybody) > 10  # PostgreSQL's, the demo trader and the API process
        for process in everybody:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        decahertz.process.communicate(timeout=20)
    assert decahertz.process.returncode == 0
    # On a busy machine PostgreSQL may end before the recorder gets its signal: then its database is away.
    assert [line for line in errors_in(log) if "cannot use postgresql://" not in line] == []
    assert "postgres_restarting" not in log.read_text()


def test_health_grants_and_readiness_while_the_database_is_away(
    idle: tuple[RunningDecahertz, dict[str, str]], tmp_path: Path
) -> None:
    decahertz, env = idle
    ended = run("health", "--api-port", "1", env=env)
    assert ended.returncode == 1
    assert refused(ended.stderr, "127.0.0.1:1"), ended.stderr
    env = {**env, "DECAHERTZ_API_PORT": decahertz.api.rpartition(":")[2]}
    ended = run("health", env=env)
    assert ended.returncode == 0, ended.stderr
    assert {"ok        storage", "ok        api"} <= set(ended.stdout.splitlines())
    ended = run("db", "grant-read", "grafana", env=env)
    assert ended.returncode == 2
    assert refused(ended.stderr, "no role 'grafana'", "--password-file"), ended.stderr
    (tmp_path / "password").write_text("secret\n")
    ended = run("db", "grant-read", "grafana", "--password-file", str(tmp_path / "password"), env=env)
    assert ended.stdout.startswith("grafana was created and can read postgresql://"), ended.stderr

    (server,) = psutil.Process(decahertz.process.pid).children()
    server.suspend()
    server.kill()
    told: set[str] = set()

    def is_told() -> bool:
        told.update(reason.partition(": ")[0] for reason in reasons(decahertz))
        return bool(told & {"postgres", "storage"})  # an idle recorder may write only when it is back

    wait_until("the reason why it is not ready", 10, is_told)
    wait_until("it to be ready again", 20, lambda: reasons(decahertz) == [])


def reasons(decahertz: RunningDecahertz) -> list[str]:
    """Why it is not ready; empty: it is."""
    try:
        answer = decahertz.get("/api/v1/health/ready")
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        answer = msgspec.json.decode(error.read())
    assert answer["ready"] is not bool(answer["reasons"])
    found: list[str] = answer["reasons"]
    return found
