"""A new data directory: complete or not there at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from storage.postgres.cluster import ROLE, Layout
from storage.postgres.installation import Installation
from storage.postgres.log import ServerLog
from storage.postgres.process import ProgramRunner, in_thread

_PREFIX = "initdb-"


async def create_cluster(
    layout: Layout, runner: ProgramRunner, installation: Installation, log: ServerLog
) -> None:
    """Make the data directory beside its place and move it there whole.

    Raises :class:`~storage.postgres.installation.EmbeddedPostgresError` with what ``initdb`` said.
    """
    workspace = await in_thread(_make_workspace, layout, runner)
    options = ["-D", runner.seen(workspace), *_options(installation)]
    code = await runner.run(installation.program("initdb"), *options, directory=workspace)
    if code != 0:
        raise await in_thread(log.failure, f"initdb failed with exit code {code}")
    await in_thread(_adopt, layout, workspace)


def remove_leftovers(layout: Layout) -> None:
    """Remove what a first start that was killed left behind."""
    for leftover in layout.root.glob(f"{_PREFIX}*"):
        shutil.rmtree(leftover)


def _options(installation: Installation) -> list[str]:
    """UTF-8, ordered by code points, with checksums."""
    options = ["-U", ROLE, "-E", "UTF8", "--locale=C", "--data-checksums", "--no-instructions"]
    options += ["--auth-local=peer", "--auth-host=reject"]
    if installation.major >= 17:  # noqa: PLR2004 - the first that knows upper and lower case without a library
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return options


def _make_workspace(layout: Layout, runner: ProgramRunner) -> Path:
    workspace = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=layout.root))
    if runner.account is not None:
        os.chown(workspace, runner.account.user, runner.account.group)
    return workspace


def _adopt(layout: Layout, workspace: Path) -> None:
    workspace.rename(layout.cluster)
    descriptor = os.open(layout.root, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the new name has to survive a power cut like the data below it
    finally:
        os.close(descriptor)
