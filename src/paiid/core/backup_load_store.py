"""Writes a backup's rows into a database, all of them and what follows in one transaction: interrupted, there is nothing.

The tables are made as the backup had them, filled, and only then brought up to this code's schema.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import (
    BigInteger,
    Connection,
    MetaData,
    Table,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from paiid.core.backup import BackupError, Value
from paiid.core.backup_file import BackupReader
from paiid.core.clock import Clock
from paiid.core.db import Tx
from paiid.core.db import postgres as postgres_db
from paiid.core.db import sqlite as sqlite_db
from paiid.core.migrate import SchemaError, current_head, one_transaction, postgres_engine, upgrade_within
from paiid.core.tables import metadata, replicas, users

T = TypeVar("T")
Finish = Callable[[Tx], Awaitable[T]]
"""What else belongs to the restore, in its transaction, on the schema of this code."""

_VERSIONS = "alembic_version"
_MIGRATE_LOCK = 0x5061_6969_4D47
_LIVE_US = 30_000_000
"""A replica that was heard of this recently may live."""
_FINISH_S = 3600.0
_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name = 'paiid' AND pid <> pg_backend_pid()"
)
_DROP_FUNCTION = text("DROP FUNCTION IF EXISTS refuse_audit_change()")
"""The migrations make no other; its triggers go with their table."""
_NOW = text("SELECT (extract(epoch from clock_timestamp()) * 1000000)::bigint")


def load_sqlite(path: Path, reader: BackupReader, clock: Clock, finish: Finish[T]) -> T:
    """Make a database of the backup in a file that is not there yet. Not to be called on a running event loop.

    Raises BackupError; the file is then of no use.
    """
    try:
        with one_transaction(path) as connection:
            _load(connection, reader)
            raw: Any = connection.connection.driver_connection
            return asyncio.run(_finished(finish, sqlite_db.tx_over(raw, clock)))
    except DBAPIError as error:
        raise BackupError(f"the backup cannot be loaded: {_words(error)}") from error


async def load_postgres(url: str, reader: BackupReader, finish: Finish[T], *, replace: bool) -> T:
    """Put the backup in the place of whatever this service has in the database. Raises BackupError, also where there
    are users and not `replace`, or where a server is connected."""
    engine = postgres_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL lock_timeout = '5s'"))
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(:lock)").bindparams(bindparam("lock", _MIGRATE_LOCK))
            )
            await _refuse_live(connection)
            await connection.run_sync(_clear, replace)
            await connection.run_sync(_load, reader)
            raw = (await connection.get_raw_connection()).driver_connection
            return await finish(postgres_db.tx_over(raw, _FINISH_S))
    except DBAPIError as error:
        raise BackupError(f"the backup cannot be loaded: {_words(error)}") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise BackupError(f"the database cannot be reached ({type(error).__name__})") from error
    finally:
        await engine.dispose()


def count_users_of_sqlite(path: Path) -> int | None:
    """How many users a database file has; None where it has none of our tables. Raises BackupError where it is no database
    of ours."""
    try:
        with one_transaction(path) as connection:
            there = _tables_of(connection)
            if not there:
                return None
            if users.name not in there:
                raise BackupError(f"{path} is a database of something else; set DATABASE_URL")
            return int(connection.execute(select(func.count()).select_from(users)).scalar_one())
    except DBAPIError as error:
        raise BackupError(
            f"{path} cannot be read ({_words(error)}): move it and what lies beside it ({path.name}-wal) away first"
        ) from error


async def _finished(finish: Finish[T], tx: Tx) -> T:
    return await finish(tx)


def _words(error: DBAPIError) -> str:
    """What the database said, without the values it said it of."""
    return str(error.orig).partition("\n")[0][:200] if error.orig is not None else type(error).__name__


def _tables_of(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


# -- what is there already --------------------------------------------------------------------------


async def _refuse_live(connection: AsyncConnection) -> None:
    others = (await connection.execute(_OTHERS)).scalar_one()
    if others:
        raise BackupError(
            f"a server or command is connected to this database ({others} connections): stop all replicas first"
        )


def _clear(connection: Connection, replace: bool) -> None:
    """Drop our tables, which must be empty unless they are to be replaced."""
    found = MetaData()
    found.reflect(connection)
    ours = [one for name, one in found.tables.items() if name in metadata.tables or name == _VERSIONS]
    if ours and _VERSIONS not in found.tables:
        # Such names as users and orders are those of many.
        raise BackupError("the database has tables of something else under names of ours; set DATABASE_URL")
    if users.name in found.tables:
        count = connection.execute(select(func.count()).select_from(found.tables[users.name])).scalar_one()
        if count and not replace:
            raise BackupError(
                f"the database has {count} users. --replace drops all that it holds: make a backup of it first"
            )
    if replicas.name in found.tables:
        table = found.tables[replicas.name]
        since_us = connection.execute(_NOW).scalar_one() - _LIVE_US
        alive = connection.execute(select(table.c.id).where(table.c.seen_at > since_us)).all()
        if alive:
            raise BackupError(
                f"a replica was heard of in the last 30 seconds ({alive[0][0]}): stop all of them, and wait that long"
            )
    found.drop_all(connection, tables=ours)
    connection.execute(_DROP_FUNCTION)


# -- loading ----------------------------------------------------------------------------------------


def _load(connection: Connection, reader: BackupReader) -> None:
    """The schema of the backup, its rows, then the schema of this code."""
    try:
        upgrade_within(connection, reader.manifest.schema)
    except SchemaError as error:
        raise BackupError(f"the backup is of another version: {error}") from None
    found = MetaData()
    found.reflect(connection)
    tables = {name: one for name, one in found.tables.items() if name in metadata.tables}
    _compare(reader, tables)
    for name, table in tables.items():
        _fill(connection, reader, name, table)
    if reader.manifest.schema != current_head():
        upgrade_within(connection, current_head())


def _compare(reader: BackupReader, tables: Mapping[str, Table]) -> None:
    """What the file names must be what the schema of its revision has, so that nothing is left out."""
    told = {name: frozenset(entry.columns) for name, entry in reader.manifest.tables.items()}
    made = {name: frozenset(c.name for c in table.columns) for name, table in tables.items()}
    if told != made:
        odd = sorted(name for name in told.keys() | made.keys() if told.get(name) != made.get(name))
        raise BackupError(f"tables differ from those of schema {reader.manifest.schema}: {', '.join(odd)}")


def _fill(connection: Connection, reader: BackupReader, name: str, table: Table) -> None:
    if connection.execute(select(table).limit(1)).first() is not None:
        # Migrations leave rows of their own; not in the audit, which lets nobody delete anything.
        connection.execute(delete(table))
    columns = reader.manifest.tables[name].columns
    kinds = [int if isinstance(table.c[one].type, BigInteger) else str for one in columns]
    for batch in reader.rows(name):
        for row in batch:
            _check(name, columns, kinds, row)
        connection.execute(insert(table), [dict(zip(columns, row, strict=True)) for row in batch])


def _check(name: str, columns: tuple[str, ...], kinds: Sequence[type], row: list[Value]) -> None:
    for column, kind, value in zip(columns, kinds, row, strict=True):
        if value is not None and type(value) is not kind:
            raise BackupError(f"table {name}: {column} is of another kind in a row")
