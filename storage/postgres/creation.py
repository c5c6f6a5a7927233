"""Creates a data directory in one step: after a crash it is complete or absent."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from storage.files import sync_folder
from storage.postgres.cluster import ROLE, ClusterPaths
from storage.postgres.installation import Installation
from storage.postgres.log import ServerLog
from storage.postgres.process import ProgramRunner, in_thread

_PREFIX = "initdb-"


async def create_cluster(
    paths: ClusterPaths, runner: ProgramRunner, installation: Installation, log: ServerLog
) -> None:
    """Creates the data directory in a temporary folder and renames it into place.

    Raises :class:`~storage.postgres.installation.EmbeddedPostgresError` with the message of ``initdb``.
    """
    workspace = await in_thread(_make_workspace, paths, runner)
    options = ["-D", runner.seen(workspace), *_options(installation)]
    code = await runner.run(installation.program("initdb"), *options, directory=workspace)
    if code != 0:
        raise await in_thread(log.failure, f"initdb failed with exit code {code}")
    await in_thread(_adopt, paths, workspace)


def remove_leftovers(paths: ClusterPaths) -> None:
    """Removes the temporary folders of starts that were killed."""
    for leftover in paths.root.glob(f"{_PREFIX}*"):
        shutil.rmtree(leftover)


def _options(installation: Installation) -> list[str]:
    """Returns the options of ``initdb``: UTF-8, sorted by code points, with page checksums."""
    options = ["-U", ROLE, "-E", "UTF8", "--locale=C", "--data-checksums", "--no-instructions"]
    options += ["--auth-local=peer", "--auth-host=reject"]
    if installation.major >= 17:  # noqa: PLR2004 - has a built-in locale provider
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return options


def _make_workspace(paths: ClusterPaths, runner: ProgramRunner) -> Path:
    workspace = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=paths.root))
    if runner.user is not None:
        os.chown(workspace, runner.user.uid, runner.user.gid)
    return workspace


def _adopt(paths: ClusterPaths, workspace: Path) -> None:
    workspace.rename(paths.cluster)
    sync_folder(paths.root)
