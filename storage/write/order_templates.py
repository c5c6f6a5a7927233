"""Stores templates of order requests, each change with its entry of the audit log in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
import msgspec

from decahertz.clock import to_datetime
from decahertz.order_templates import ScheduledRun, Template, TemplateContent, TemplateVersion
from storage.write.audit import add_entry

if TYPE_CHECKING:
    from decahertz.audit import AuditEntry
    from storage.database import AnyConnection, Database

Audit: TypeAlias = Callable[[Template | None, Template | None], "AuditEntry"]
"""Makes the entry of a change: from the template before, ``None`` for a new one, and after it."""

_CONTENT: Final = msgspec.json.Decoder(TemplateContent)
_RUN: Final = msgspec.json.Decoder(ScheduledRun)
_LIVING: Final = "SELECT * FROM order_templates WHERE recorder = $1 AND deleted_ns IS NULL"
_INSERT: Final = """
INSERT INTO order_templates (
    time, template_id, recorder, name, version, content, created_ns, updated_ns, updated_by, next_ns
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_INSERT_VERSION: Final = """
INSERT INTO order_template_versions (time, template_id, version, time_ns, actor, content)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_UPDATE: Final = """
UPDATE order_templates
SET name = $2, version = $3, content = $4, updated_ns = $5, updated_by = $6, next_ns = $7
WHERE template_id = $1
"""
_DELETE: Final = "UPDATE order_templates SET deleted_ns = $2, next_ns = NULL WHERE template_id = $1"
_RAN: Final = """
UPDATE order_templates SET next_ns = $4, last_run = $5
WHERE recorder = $1 AND template_id = $2 AND next_ns = $3 RETURNING *
"""
_MOVE: Final = """
UPDATE order_templates SET next_ns = $4 WHERE recorder = $1 AND template_id = $2 AND next_ns = $3
"""
_VERSIONS: Final = """
SELECT versions.* FROM order_template_versions AS versions
JOIN order_templates AS templates USING (template_id)
WHERE templates.recorder = $1 AND template_id = $2 ORDER BY versions.version DESC LIMIT $3
"""


class NameTakenError(Exception):
    """Raised for a name that another template has."""


class VersionConflictError(Exception):
    """Raised for a change of a version that is not the current one, whose number is the text."""


class TemplateStore:
    """The tables ``order_templates`` and ``order_template_versions``.

    Every method can raise :class:`~storage.database.DatabaseUnavailableError`; the change was then made or
    not, and never in part.
    """

    def __init__(self, database: Database, recorder: str) -> None:
        self._database = database
        self._recorder = recorder

    async def all(self) -> list[Template]:
        """Every template that was not deleted, by name."""
        rows = await self._database.fetch(f"{_LIVING} ORDER BY name", [self._recorder])
        return [template_of(row) for row in rows]

    async def find(self, template_id: str) -> Template | None:
        """A template; ``None``: there is none with this id."""
        rows = await self._database.fetch(f"{_LIVING} AND template_id = $2", [self._recorder, template_id])
        return template_of(rows[0]) if rows else None

    async def versions(self, template_id: str, limit: int) -> list[TemplateVersion]:
        """The newest versions of a template, also of a deleted one, the newest first."""
        rows = await self._database.fetch(_VERSIONS, [self._recorder, template_id, limit])
        return [
            TemplateVersion(
                template_id=row["template_id"],
                version=row["version"],
                time_ns=row["time_ns"],
                actor=row["actor"],
                content=_CONTENT.decode(row["content"]),
            )
            for row in rows
        ]

    async def add(self, made: Template, audit: Audit) -> None:
        """Stores a new template. Raises :class:`NameTakenError`."""
        content = _encoded(made.content)
        try:
            async with self._database.query() as connection, connection.transaction():
                await connection.execute(
                    _INSERT,
                    to_datetime(made.created_ns),
                    made.template_id,
                    self._recorder,
                    made.name,
                    made.version,
                    content,
                    made.created_ns,
                    made.updated_ns,
                    made.updated_by,
                    made.next_ns,
                )
                await _add_version(connection, made, content)
                await add_entry(connection, audit(None, made))
        except asyncpg.UniqueViolationError as error:
            raise NameTakenError(made.name) from error

    async def change(
        self,
        template_id: str,
        version: int | None,
        compute: Callable[[Template], Template | None],
        now_ns: int,
        audit: Audit,
    ) -> Template | None:
        """Stores the next version, as ``compute`` makes it from the present one; ``None`` deletes it.

        Returns the present one; ``None``: there is none with this id. Raises :class:`VersionConflictError`
        if ``version`` is not the present one, and :class:`NameTakenError`.
        """
        try:
            async with self._database.query() as connection, connection.transaction():
                row = await connection.fetchrow(
                    f"{_LIVING} AND template_id = $2 FOR UPDATE", self._recorder, template_id
                )
                if row is None:
                    return None
                before = template_of(row)
                if version is not None and version != before.version:
                    raise VersionConflictError(str(before.version))
                after = compute(before)
                if after is None:
                    await connection.execute(_DELETE, template_id, now_ns)
                else:
                    content = _encoded(after.content)
                    await connection.execute(
                        _UPDATE,
                        template_id,
                        after.name,
                        after.version,
                        content,
                        after.updated_ns,
                        after.updated_by,
                        after.next_ns,
                    )
                    await _add_version(connection, after, content)
                await add_entry(connection, audit(before, after))
                return after or before
        except asyncpg.UniqueViolationError as error:
            raise NameTakenError(template_id) from error

    async def ran(self, template: Template, run: ScheduledRun, next_ns: int | None, audit: Audit) -> bool:
        """Stores what became of a scheduled time, and the next one.

        Returns whether it was stored: a template whose schedule was changed meanwhile is left alone.
        """
        async with self._database.query() as connection, connection.transaction():
            row = await connection.fetchrow(
                _RAN,
                self._recorder,
                template.template_id,
                template.next_ns,
                next_ns,
                msgspec.json.encode(run).decode(),
            )
            if row is None:
                return False
            await add_entry(connection, audit(template, template_of(row)))
        return True

    async def move(self, template: Template, next_ns: int | None) -> None:
        """Stores the next scheduled time, unless the schedule was changed meanwhile."""
        async with self._database.query() as connection:
            await connection.execute(_MOVE, self._recorder, template.template_id, template.next_ns, next_ns)


def template_of(row: asyncpg.Record) -> Template:
    """The template of a row."""
    content = _CONTENT.decode(row["content"])
    return Template(
        template_id=row["template_id"],
        recorder=row["recorder"],
        version=row["version"],
        created_ns=row["created_ns"],
        updated_ns=row["updated_ns"],
        updated_by=row["updated_by"],
        next_ns=row["next_ns"],
        last_run=None if row["last_run"] is None else _RUN.decode(row["last_run"]),
        **{name: getattr(content, name) for name in TemplateContent.__struct_fields__},
    )


async def _add_version(connection: AnyConnection, template: Template, content: str) -> None:
    await connection.execute(
        _INSERT_VERSION,
        to_datetime(template.updated_ns),
        template.template_id,
        template.version,
        template.updated_ns,
        template.updated_by,
        content,
    )


def _encoded(content: TemplateContent) -> str:
    return msgspec.json.encode(content).decode()
