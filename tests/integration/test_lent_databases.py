"""One test after the other gets the same PostgreSQL database: none may find anything of the one before."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tests.lent_databases import LentDatabases


@pytest.fixture
def databases() -> Iterator[LentDatabases]:
    one = LentDatabases(os.environ["PAIID_TEST_POSTGRES"])
    yield one
    one.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def rows_of(connection: Any) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables that have any."""
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    found = {name: await connection.fetch(f'SELECT * FROM "{name}"') for (name,) in tables}
    return {name: [tuple(row) for row in rows] for name, rows in found.items() if rows}


async def test_rows_of_every_kind_are_gone_and_those_of_the_migrations_are_back(
    databases: LentDatabases,
) -> None:
    url = databases.lend()
    async with connected(url) as one:
        fresh = await rows_of(one)
        assert {"alembic_version", "halt_epoch"} <= set(fresh)
        await one.execute("UPDATE halt_epoch SET epoch = epoch + 7")
        await one.execute("DELETE FROM alembic_version")
        # Neither a row that nobody may delete nor a table that has grown is left.
        await one.execute(
            "INSERT INTO audit SELECT (jsonb_populate_record(null::audit, jsonb_object_agg(column_name, 0) ||"
            " jsonb_build_object('id', n))).* FROM information_schema.columns, generate_series(1, 3000) n"
            " WHERE table_name = 'audit' AND is_nullable = 'NO' GROUP BY n"
        )
    assert databases.lend() == url
    async with connected(url) as one:
        assert await rows_of(one) == fresh


async def test_whoever_was_connected_is_thrown_out_with_what_he_holds(databases: LentDatabases) -> None:
    async with connected(databases.lend()) as before:
        await before.execute("BEGIN")
        await before.execute("LOCK TABLE users")
        await before.execute("SELECT pg_advisory_lock(7)")
        async with connected(databases.lend()) as one:
            assert await one.fetchval("SELECT pg_try_advisory_lock(7)")
            assert await one.fetchval("SELECT count(*) FROM users") == 0
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await before.execute("COMMIT")


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE orders ADD COLUMN more text",
        "DROP TABLE activities CASCADE",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP TRIGGER audit_append_only ON audit",
    ],
)
async def test_a_database_whose_schema_was_changed_is_not_lent_again(
    databases: LentDatabases, change: str
) -> None:
    url = databases.lend()
    async with connected(url) as one:
        await one.execute(change)
    again = databases.lend()
    assert again != url
    async with connected(again) as one:
        assert {"alembic_version", "halt_epoch"} <= set(await rows_of(one))
