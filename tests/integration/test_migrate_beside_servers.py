"""A migration beside running servers gives way where a table is in use, and goes on when it is free."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic import command
from sqlalchemy import Connection

from paiid.core import migrate as migrating
from paiid.core.migrate import SchemaError, migrate, require_current
from tests.servers import with_database


def _to_the_first(connection: Connection) -> tuple[str | None, str]:
    config = migrating._config()
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")
    connection.commit()
    return None, "0001"


@pytest.fixture
async def first_release() -> AsyncIterator[str]:
    """A PostgreSQL database as the first release has left it."""
    server = os.environ["PAIID_TEST_POSTGRES"]
    name = f"first_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {name}")
    url = with_database(server, name)
    await asyncio.to_thread(migrating._run, url, _to_the_first)
    yield url
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


async def test_a_migration_gives_way_to_who_uses_a_table_and_is_made_once_they_are_done(
    first_release: str,
) -> None:
    reader = await asyncpg.connect(first_release)
    writer = await asyncpg.connect(first_release)
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("SELECT id FROM orders")
    trying = asyncio.create_task(asyncio.to_thread(migrate, first_release, tries=2, pause_s=0.0))
    # Somebody behind the waiting change gets his turn, although the reader stays: the change has given way.
    await _until_someone_waits(writer)
    await asyncio.wait_for(writer.execute("DELETE FROM orders"), 30)
    with pytest.raises(SchemaError, match="stays locked"):
        await trying
    assert await writer.fetchval("SELECT version_num FROM alembic_version") == "0001", "nothing by halves"
    await transaction.rollback()
    before, after = await asyncio.to_thread(migrate, first_release, tries=1)
    assert (before, after) == ("0001", await writer.fetchval("SELECT version_num FROM alembic_version"))
    await asyncio.to_thread(require_current, first_release)
    await reader.close()
    await writer.close()


async def test_a_migration_waits_for_a_reader_who_ends_soon(first_release: str) -> None:
    reader = await asyncpg.connect(first_release)
    looker = await asyncpg.connect(first_release)
    async with reader.transaction():
        await reader.fetch("SELECT id FROM accounts")
        trying = asyncio.create_task(asyncio.to_thread(migrate, first_release, tries=60, pause_s=0.01))
        await _until_someone_waits(looker)
    before, after = await trying
    assert (before, after) == ("0001", await looker.fetchval("SELECT version_num FROM alembic_version"))
    await reader.close()
    await looker.close()


async def _until_someone_waits(connection: asyncpg.Connection) -> None:
    """Until a session of this database waits for a table."""
    query = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    async with asyncio.timeout(30):
        while not await connection.fetchval(query):
            await asyncio.sleep(0.01)
