"""Reads every table of a database as of one instant, beside a running server and without holding its writers up."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import Text, column, select
from sqlalchemy import table as any_table

from paiid.core.backup import BATCH, BackupError, Value
from paiid.core.backup_file import Rows
from paiid.core.clock import Clock
from paiid.core.db import Statement, statement
from paiid.core.db.connect import is_postgres, postgres_dsn, sqlite_path
from paiid.core.tables import metadata

_WAIT_S = 5.0
_VERSION = statement(select(any_table("alembic_version", column("version_num", Text)).c.version_num))
_LOCKED = ("alembic_version", *sorted(metadata.tables))
_STARTED = "(extract(epoch from transaction_timestamp()) * 1000000)::bigint"


def tables_of_this_code() -> list[tuple[str, tuple[str, ...]]]:
    """Every table with its columns."""
    return [(one.name, tuple(c.name for c in one.columns)) for one in metadata.sorted_tables]


def _select_all(table: str) -> Statement:
    return statement(select(*metadata.tables[table].columns))


@asynccontextmanager
async def snapshot(url: str, clock: Clock, needs: str) -> AsyncIterator[Rows]:
    """All rows as of about now. Raises BackupError unless the schema is the one that this code `needs`, or where the
    database cannot be read."""
    try:
        async with _postgres(url, needs) if is_postgres(url) else _sqlite(url, clock) as rows:
            _require(rows.schema, needs)
            yield rows
    except (sqlite3.Error, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise BackupError(f"the database cannot be read ({type(error).__name__})") from error


def _require(schema: str, needs: str) -> None:
    if schema != needs:
        raise BackupError(f"the database is at schema {schema}, this code needs {needs}: run `paiid migrate`")


class _SqliteRows:
    dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection, taken_at_us: int) -> None:
        self._connection = connection
        self.taken_at_us = taken_at_us
        # The first read is what fixes the instant: all that was committed before is in it.
        version = connection.execute(_VERSION.sqlite().sql).fetchone()
        self.schema = "none" if version is None else str(version[0])

    def tables(self) -> Sequence[tuple[str, tuple[str, ...]]]:
        return tables_of_this_code()

    async def rows(self, table: str) -> AsyncIterator[Sequence[Sequence[Value]]]:
        cursor = self._connection.execute(_select_all(table).sqlite().sql)
        while found := cursor.fetchmany(BATCH):
            yield found


@asynccontextmanager
async def _sqlite(url: str, clock: Clock) -> AsyncIterator[Rows]:
    """A read transaction of a connection of its own: in WAL mode it sees no later commit, and no commit waits for it."""
    path = sqlite_path(url)
    if not path.exists():
        raise BackupError(f"there is no database at {path}")
    connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("BEGIN")
        yield _SqliteRows(connection, clock.now_us())
    finally:
        connection.close()


class _PostgresRows:
    dialect = "postgresql"

    def __init__(self, connection: Any, schema: str, taken_at_us: int) -> None:
        self._connection = connection
        self.schema = schema
        self.taken_at_us = taken_at_us

    def tables(self) -> Sequence[tuple[str, tuple[str, ...]]]:
        return tables_of_this_code()

    async def rows(self, table: str) -> AsyncIterator[Sequence[Sequence[Value]]]:
        cursor = await self._connection.cursor(_select_all(table).postgres().sql)
        while found := await cursor.fetch(BATCH):
            yield [tuple(row) for row in found]


@asynccontextmanager
async def _postgres(url: str, needs: str) -> AsyncIterator[Rows]:
    """One repeatable-read, read-only transaction: a snapshot, which blocks nobody but who changes tables."""
    try:
        connection = await asyncpg.connect(
            postgres_dsn(url),
            timeout=_WAIT_S,
            server_settings={"application_name": "paiid-backup", "timezone": "UTC"},
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise BackupError(f"the database cannot be reached ({type(error).__name__})") from error
    try:
        _require(str(await connection.fetchval(_VERSION.postgres().sql)), needs)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # Before the snapshot: a table that is made anew meanwhile, by a migration or a restore, would be read as empty.
            await connection.execute(f"SET LOCAL lock_timeout = '{_WAIT_S}s'")
            await connection.execute(f"LOCK TABLE {', '.join(_LOCKED)} IN ACCESS SHARE MODE")
            # The transaction begins before its snapshot is taken, never after.
            started = await connection.fetchval(f"SELECT {_STARTED}")
            schema = await connection.fetchval(_VERSION.postgres().sql)
            yield _PostgresRows(connection, str(schema), int(started))
    finally:
        connection.terminate()
