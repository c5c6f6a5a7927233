"""Read-only access to the database for another program, such as Grafana.

It uses psycopg, because libpq hashes passwords.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from storage.database import Database, DatabaseError, DatabaseUnavailableError, first_line

_READ_GRANTS = (
    "GRANT CONNECT ON DATABASE {database} TO {role}",
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "REVOKE ALL ON {schema}.api_keys, {schema}.audit FROM {role}",
    # Tables of later versions and plugins: they are created by this user.
    "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {role}",
)
_LIMITS = (
    "ALTER ROLE {role} SET default_transaction_read_only = on",
    "ALTER ROLE {role} SET statement_timeout = '30s'",
)


class UnknownRoleError(DatabaseError):
    """Raised for a role that does not exist when there is no password to create it with."""


def grant_read(database: Database, role: str, password: str | None = None) -> bool:
    """Lets ``role`` read every table and view but keys and audit log, now and later; blocking. Repeatable.

    With a password a missing role is created, read-only and with a statement time-out, and an existing one
    gets the password. Returns whether the role was created. Raises :class:`UnknownRoleError`,
    :class:`~storage.database.DatabaseUnavailableError`, and :class:`~storage.database.DatabaseError` when
    PostgreSQL refuses.
    """
    try:
        with psycopg.connect(
            database.url,
            application_name="decahertz grants",
            connect_timeout=max(2, round(database.settings.connect_timeout_seconds)),
        ) as connection:
            row = connection.execute("SELECT current_database(), current_schema()").fetchone()
            assert row is not None  # noqa: S101 - the statement yields one row
            names = {
                "role": sql.Identifier(role),
                "database": sql.Identifier(row[0]),
                "schema": sql.Identifier(row[1]),
            }
            exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
            if not exists and password is None:
                raise UnknownRoleError(
                    f"{database.name} has no role {role!r}: create it, or give --password-file to create it"
                )
            statements = list(_READ_GRANTS)
            if password is not None:
                # Hashed here: the server's log may show statements.
                hashed = connection.pgconn.encrypt_password(
                    password.encode(), role.encode(), b"scram-sha-256"
                )
                verb = "ALTER" if exists else "CREATE"
                connection.execute(
                    sql.SQL(f"{verb} ROLE {{role}} LOGIN PASSWORD {{password}}").format(
                        **names, password=sql.Literal(hashed.decode())
                    )
                )
                statements += () if exists else _LIMITS
            for statement in statements:
                connection.execute(sql.SQL(statement).format(**names))
    except psycopg.OperationalError as error:
        raise DatabaseUnavailableError(f"cannot use {database.name}: {first_line(error)}") from error
    except psycopg.Error as error:
        raise DatabaseError(f"{database.name} refused the grants: {first_line(error)}") from error
    return not exists
