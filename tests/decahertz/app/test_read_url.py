"""The database that queries go to: its URL, its password, and how Grafana is told."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from decahertz.app.database import database_url, read_url, reads_of
from decahertz.app.settings import Settings
from decahertz.app.stack.grafana import Grafana
from storage.database import Database
from storage.settings import StorageSettings

REPLICA = "postgresql://desk@replica:6432/decahertz"
SETTINGS = Settings(
    recorder="desk",
    database_url="postgresql://desk@primary/decahertz",
    storage=StorageSettings(read_url=REPLICA),
)


def test_without_it_queries_go_to_the_database_itself() -> None:
    settings = replace(SETTINGS, storage=StorageSettings())
    database = Database(database_url(settings), settings.storage)
    assert read_url(settings) == database_url(settings)
    assert reads_of(settings, database) is database


def test_a_replica_has_the_password_of_the_file_unless_its_url_has_one(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("a b\n")
    settings = replace(SETTINGS, database_password_file=file)
    assert read_url(settings) == "postgresql://desk:a%20b@replica:6432/decahertz"
    own = replace(settings, storage=StorageSettings(read_url=REPLICA.replace("desk@", "desk:own@")))
    assert read_url(own) == "postgresql://desk:own@replica:6432/decahertz"


def test_grafana_reads_the_replica(tmp_path: Path) -> None:
    grafana = Grafana(Path("/bin/grafana"), tmp_path, "127.0.0.1:3000", SETTINGS)
    environment = grafana._environment("http://127.0.0.1:9090")
    assert environment["DECAHERTZ_GRAFANA_DATABASE_HOST"] == "replica:6432"
