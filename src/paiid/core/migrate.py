"""Brings a database's schema up to this code, and refuses one that is newer than the code."""

import asyncio
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from paiid.core.db.connect import is_postgres, postgres_dsn, sqlite_path

_MIGRATE_LOCK = 0x5061_6969_4D47
_LOCK_WAIT_MS = 500
"""A change of a table that waits for its lock holds up everybody behind it, orders too: it gives way after so long."""
_TRIES = 60
_PAUSE_S = 1.0
_LOCK_NOT_AVAILABLE = "55P03"


class SchemaError(Exception):
    """The schema does not fit this code; the text says what to do."""


def migrations_directory() -> Path:
    """Where the migrations lie: inside an installed package, or at the root of a checkout."""
    packaged = Path(__file__).parents[1] / "_migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _check(connection: Connection) -> tuple[str | None, str]:
    script = ScriptDirectory.from_config(_config())
    head = script.get_current_head()
    if head is None:
        raise SchemaError("this installation has no migrations; install it again")
    current = MigrationContext.configure(connection).get_current_revision()
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        raise SchemaError(
            f"the database is at schema {current}, which is newer than this code ({head}); "
            "run the newer version of paiid, or restore a backup made by this one"
        )
    return current, head


def _upgrade(connection: Connection) -> tuple[str | None, str]:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _MIGRATE_LOCK})
        # Not the wait for another process that migrates: that one is behind us.
        connection.execute(text(f"SET lock_timeout = {_LOCK_WAIT_MS}"))
        connection.commit()
    current, head = _check(connection)
    connection.rollback()
    if current != head:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    return current, head


def _inspect(connection: Connection) -> tuple[str | None, str]:
    return _check(connection)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time migrates a file; PostgreSQL has an advisory lock for it. The lock is the kernel's and
    goes with the process; SQLite's own locks are of another kind and not touched by it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_transactional(engine: Engine, begin: str) -> None:
    """Python's driver commits before each change of the schema unless it is told not to manage transactions: a
    migration that breaks off half-way must leave nothing."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _run(url: str, work: Any) -> tuple[str | None, str]:
    if not is_postgres(url):
        path = sqlite_path(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 5})
        _make_transactional(engine, "BEGIN IMMEDIATE" if work is _upgrade else "BEGIN")
        with engine.connect() as connection:
            found: tuple[str | None, str] = work(connection)
        engine.dispose()
        return found

    async def over_asyncpg() -> tuple[str | None, str]:
        engine = postgres_engine(url)
        try:
            async with engine.connect() as connection:
                result: tuple[str | None, str] = await connection.run_sync(work)
                return result
        finally:
            await engine.dispose()

    return asyncio.run(over_asyncpg())


def _patiently(url: str, tries: int, pause_s: float) -> tuple[str | None, str]:
    """Again and again where others hold a table. What one try has reached stays: each migration is one transaction."""
    for left in reversed(range(tries)):
        try:
            return _run(url, _upgrade)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
        if left:
            time.sleep(pause_s)
    raise SchemaError(
        "a table stays locked by others, and nothing is changed by halves: look for a long transaction in pg_stat_activity, "
        "end it, and run `paiid migrate` again"
    )


def migrate(url: str, *, tries: int = _TRIES, pause_s: float = _PAUSE_S) -> tuple[str | None, str]:
    """Bring the database up to date; the revisions before and after. One process at a time does it, and beside running
    servers: it never holds their orders up for longer than half a second at a time.

    Must not be called on a running event loop. Raises SchemaError for a newer database, or one that stays locked.
    """
    if is_postgres(url):
        return _patiently(url, tries, pause_s)
    with _alone(sqlite_path(url)):
        return _run(url, _upgrade)


@cache
def current_head() -> str:
    """The revision that this code needs; read once a process. Raises SchemaError where the installation has no migrations."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise SchemaError("this installation has no migrations; install it again")
    return head


@cache
def known_revisions() -> frozenset[str]:
    """All revisions that this code has heard of; read once a process."""
    return frozenset(one.revision for one in ScriptDirectory.from_config(_config()).walk_revisions())


def upgrade_within(connection: Connection, revision: str) -> None:
    """Bring the schema up to a revision inside the open transaction of a connection; nothing is committed.

    Raises SchemaError for a revision that this code does not know.
    """
    if revision not in known_revisions():
        raise SchemaError(
            f"schema {revision} is not known to this code ({current_head()}): run the newer version of paiid"
        )
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@contextmanager
def one_transaction(path: Path) -> Iterator[Connection]:
    """A connection to a SQLite file in one transaction, changes of the schema included; committed if the block ends well."""
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 5})
    _make_transactional(engine, "BEGIN IMMEDIATE")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def postgres_engine(url: str) -> AsyncEngine:
    """An engine for one connection at a time, to be disposed of by the caller."""
    dsn, _, query = postgres_dsn(url).partition("?")
    arguments = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name == "sslmode":
            arguments["ssl"] = value
    return create_async_engine(
        dsn.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool, connect_args=arguments
    )


def require_current(url: str) -> None:
    """Raises SchemaError unless the database is exactly at this code's schema."""
    current, head = _run(url, _inspect)
    if current != head:
        raise SchemaError(
            f"the database is at schema {current or 'none'}, this code needs {head}: run `paiid migrate`"
        )
