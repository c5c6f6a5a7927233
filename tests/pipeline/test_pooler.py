"""The whole product through PgBouncer in transaction mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.embedded_server import connected
from tests.pipeline.running import environment, errors_in, run, running, wait_until
from tests.postgres_server import PostgresServer
from tests.servers import pgbouncer

pytestmark = pytest.mark.timeout(120)


async def test_the_demo_records_and_commands_work_through_pgbouncer(
    postgres_server: PostgresServer, data_dir: Path
) -> None:
    # Each transaction gets the session that was unused for longest, and there are few.
    async with postgres_server.database() as direct, pgbouncer(direct, default_pool_size="8") as url:
        env = environment(data_dir, DECAHERTZ_DATABASE_URL=url)
        checked = run("check", env=env)
        assert checked.returncode == 0, checked.stdout
        assert ", through a pooler" in checked.stdout
        with running("--demo", env=env, log=data_dir / "log") as decahertz:
            wait_until("a trade", 60, lambda: bool(decahertz.get("/api/v1/trades?limit=1")["items"]))
            history = "/api/v1/metrics/history?collector=market&instrument=BTC-USD&fields=mid"
            wait_until("a history", 30, lambda: bool(decahertz.get(history)["series"]))
            for arguments in (
                ("db", "status"),
                ("dead-letters",),
                ("keys", "create", "reader", "--scope", "read"),
                ("export", str(data_dir / "ticks.csv"), "ticks"),
                ("export", str(data_dir / "ticks.parquet"), "ticks"),
            ):
                ended = run(*arguments, env=env)
                assert ended.returncode == 0, ended.stderr
            assert decahertz.problems() == []
            decahertz.stop()
        assert (data_dir / "ticks.csv").read_text().count("\n") > 1
        assert errors_in(data_dir / "log") == []
        async with connected(direct) as connection:
            assert await connection.fetchval("SELECT count(*) FROM market_samples") > 0
            assert await connection.fetchval("SELECT count(*) FROM dead_letters") == 0
