"""The schema that migrations make is the one the code expects, on both databases, whoever makes it and when."""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    create_engine,
    inspect,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from paiid.core.clock import SystemClock
from paiid.core.db import make_database, statement
from paiid.core.db.connect import is_postgres
from paiid.core.migrate import SchemaError, migrate, require_current
from paiid.core.tables import audit, halt_epoch, metadata
from tests.servers import with_database

_MIGRATE = "import sys; from paiid.core.migrate import migrate; print(*migrate(sys.argv[1]))"


@pytest.fixture
async def blank_url(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A database with nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'blank.db'}"
        return
    server = os.environ["PAIID_TEST_POSTGRES"]
    name = f"blank_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {name}")
    yield with_database(server, name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


both = pytest.mark.parametrize("blank_url", ["sqlite", "postgresql"], indirect=True)


async def on_connection(url: str, work: Any) -> Any:
    """`work` with a SQLAlchemy connection, for its inspection."""
    if not is_postgres(url):
        engine = create_engine(url)
        with engine.connect() as connection:
            found = work(connection)
        engine.dispose()
        return found
    async_engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with async_engine.connect() as async_connection:
        found = await async_connection.run_sync(work)
    await async_engine.dispose()
    return found


async def execute(url: str, sql: str) -> None:
    database = make_database(url, SystemClock())
    await database.start()
    async with database.begin() as tx:
        await tx.execute(statement(text(sql)))
    await database.stop()


def shape_of(connection: Connection) -> dict[str, Any]:
    """Every table as the database itself tells it."""
    found = inspect(connection)
    shape: dict[str, Any] = {}
    for table in found.get_table_names():
        if table == "alembic_version":
            continue
        shape[table] = {
            "columns": {
                one["name"]: (
                    "integer" if isinstance(one["type"], BigInteger) else str(one["type"]).lower(),
                    one["nullable"],
                    _plain(one["default"]),
                )
                for one in found.get_columns(table)
            },
            "key": found.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(one["column_names"] for one in found.get_unique_constraints(table)),
            "indexes": sorted(
                one["column_names"]
                for one in found.get_indexes(table)
                if not one["unique"] and not one.get("duplicates_constraint")
            ),
        }
    return shape


def shape_wanted(tables: MetaData) -> dict[str, Any]:
    """The same as core/tables says it."""
    return {
        table.name: {
            "columns": {
                column.name: (
                    "integer" if isinstance(column.type, BigInteger) else "text",
                    column.nullable,
                    _plain(None if column.server_default is None else column.server_default.arg),  # type: ignore[attr-defined]
                )
                for column in table.columns
            },
            "key": [column.name for column in table.primary_key.columns],
            "unique": sorted(
                [column.name for column in one.columns]
                for one in table.constraints
                if isinstance(one, UniqueConstraint)
            ),
            "indexes": sorted([column.name for column in one.columns] for one in table.indexes),
        }
        for table in tables.sorted_tables
    }


def _plain(default: Any) -> str | None:
    """`'0'::bigint`, `'0'` and `0` are one default."""
    return None if default is None else str(default).partition("::")[0].strip("'()")


def differences(connection: Connection, wanted: MetaData) -> list[Any]:
    """What autogenerate would still change."""
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    return list(compare_metadata(context, wanted))


@both
async def test_from_nothing_the_migrations_make_exactly_the_tables_of_the_code(blank_url: str) -> None:
    before, after = await asyncio.to_thread(migrate, blank_url)
    assert before is None
    assert await on_connection(blank_url, shape_of) == shape_wanted(metadata)
    assert await on_connection(blank_url, lambda connection: differences(connection, metadata)) == []
    assert await asyncio.to_thread(migrate, blank_url) == (after, after), "a second time changes nothing"
    await asyncio.to_thread(require_current, blank_url)


def _with(change: Any) -> MetaData:
    planted = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(planted)
    change(planted.tables["orders"])
    return planted


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.append_column(Column("forgotten", Text)),
        lambda table: table.append_constraint(UniqueConstraint("client_order_id")),
        lambda table: Index(None, table.c.symbol),
        lambda table: setattr(table.c.symbol, "nullable", True),
    ],
    ids=["a column", "a unique constraint", "an index", "a null"],
)
async def test_a_table_of_the_code_that_no_migration_makes_is_noticed(sqlite_url: str, change: Any) -> None:
    planted = _with(change)
    assert await on_connection(sqlite_url, shape_of) != shape_wanted(planted)
    assert await on_connection(sqlite_url, lambda connection: differences(connection, planted)) != []


async def test_a_database_newer_than_the_code_is_refused_and_left_alone(db_url: str) -> None:
    await execute(db_url, "UPDATE alembic_version SET version_num = '9999'")
    for work in (migrate, require_current):
        with pytest.raises(SchemaError, match="newer than this code"):
            await asyncio.to_thread(work, db_url)
    assert await on_connection(db_url, shape_of) == shape_wanted(metadata)


@both
async def test_a_database_without_the_schema_is_not_served(blank_url: str) -> None:
    with pytest.raises(SchemaError, match="paiid migrate"):
        await asyncio.to_thread(require_current, blank_url)


@both
async def test_processes_that_migrate_at_once_make_it_once_and_all_succeed(blank_url: str) -> None:
    def run() -> Iterator[tuple[int, str, str]]:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", _MIGRATE, blank_url],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for one in processes:
            out, err = one.communicate(timeout=60)
            yield one.returncode, out.strip(), err[-2000:]

    ended = await asyncio.to_thread(lambda: list(run()))
    assert [code for code, _, _ in ended] == [0, 0, 0, 0], ended
    assert sorted(out.split()[0] for _, out, _ in ended).count("None") == 1, "one of them made it"
    assert await on_connection(blank_url, shape_of) == shape_wanted(metadata)
    database = make_database(blank_url, SystemClock())
    await database.start()
    async with database.read() as tx:
        assert len(await tx.fetch(statement(halt_epoch.select()))) == 1
    await database.stop()


@both
async def test_a_migration_that_breaks_off_leaves_nothing_and_can_be_run_again(blank_url: str) -> None:
    if not is_postgres(blank_url):
        Path(blank_url.removeprefix("sqlite:///")).parent.mkdir()
    # The last table it makes is there already.
    await execute(blank_url, "CREATE TABLE users (id BIGINT PRIMARY KEY)")
    with pytest.raises(DBAPIError, match="already exists"):
        await asyncio.to_thread(migrate, blank_url)
    assert list(await on_connection(blank_url, shape_of)) == ["users"]
    await execute(blank_url, "DROP TABLE users")
    await asyncio.to_thread(migrate, blank_url)
    assert await on_connection(blank_url, shape_of) == shape_wanted(metadata)


async def test_K11_the_database_itself_refuses_to_change_or_remove_an_audit_row(db_url: str) -> None:
    database = make_database(db_url, SystemClock())
    await database.start()
    row = {"id": "aud_1", "at": 1, "actor_kind": "system", "actor_id": "x", "action": "a", "subject": "s",
           "request_id": None, "detail": "{}"}  # fmt: skip
    async with database.begin() as tx:
        await tx.execute(statement(audit.insert()), row)

    async def change(stmt: Any) -> None:
        async with database.begin() as tx:
            await tx.execute(statement(stmt))

    for stmt in (audit.update().values(action="b"), audit.delete()):
        with pytest.raises(Exception, match="append-only"):
            await change(stmt)
    async with database.read() as tx:
        assert [dict(one) for one in await tx.fetch(statement(audit.select()))] == [row]
    await database.stop()
