"""What is heard when the database is not there, breaks, is full or locked, and that it comes back (E9, E17)."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from paiid.core.clock import SystemClock
from paiid.core.db import CommitUnknown, Database, DatabaseUnavailable, Tx, make_database, statement
from tests.database_world import PATIENCE_S, opened, put, value_of, write


async def run_on(url: str, *commands: str) -> Any:
    """Commands over a connection of our own; the last one's value."""
    connection = await asyncpg.connect(url)
    try:
        for command in commands[:-1]:
            await connection.execute(command)
        return await connection.fetchval(commands[-1])
    finally:
        await connection.close()


KILL = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'paiid'"
)


async def recovers(db: Database) -> None:
    """The next calls work, after at most one failure for each pooled connection."""
    for _ in range(14):
        try:
            await db.ping()
        except DatabaseUnavailable:
            continue
        return
    raise AssertionError("the database did not come back")


async def test_E17_a_connection_killed_in_a_transaction_is_unavailable_and_the_next_works(
    postgres_url: str, clock: SystemClock
) -> None:
    async with opened(postgres_url, clock) as db:

        async def killed() -> None:
            async with db.begin() as tx:
                await put(tx, "a")
                assert await run_on(postgres_url, KILL) >= 1
                await put(tx, "b")

        with pytest.raises(DatabaseUnavailable) as told:
            await killed()
        assert not isinstance(told.value, CommitUnknown), "nothing can have been written"
        await recovers(db)
        assert await value_of(db, "a") is None
        await run_on(postgres_url, KILL)
        await recovers(db)
        async with db.begin() as tx:
            await put(tx, "c")
        assert await value_of(db, "c") == "v"


_SLOW_COMMIT = (
    "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NEW; END $$",
    "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON install_secrets DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION slowly()",
    "SELECT 1",
)


async def test_E09_a_connection_that_dies_in_commit_is_an_unknown_commit(
    postgres_url: str, clock: SystemClock
) -> None:
    await run_on(postgres_url, *_SLOW_COMMIT)
    async with opened(postgres_url, clock) as db:

        async def kill(given_up: asyncio.Event) -> None:
            sleeping = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND query = 'COMMIT' AND state = 'active'"
            )
            while not await run_on(postgres_url, sleeping):
                if given_up.is_set():
                    # On a slow machine the commit may take too long before it is found: that is unknown as well.
                    return
                await asyncio.sleep(0.01)
            await run_on(postgres_url, KILL)

        given_up = asyncio.Event()
        killing = asyncio.create_task(kill(given_up))
        with pytest.raises(CommitUnknown):
            async with db.begin() as tx:
                await put(tx, "a")
        given_up.set()
        await killing
        assert await value_of(db, "a") is None, "reading back on a new connection tells"

        async def fn(tx: Tx, items: Any) -> Any:
            calls.append(list(items))
            for item in items:
                await put(tx, item)
            return items

        calls: list[list[str]] = []
        given_up = asyncio.Event()
        killing = asyncio.create_task(kill(given_up))
        results = await asyncio.gather(*(db.commit_with(fn, n) for n in ("x", "y")), return_exceptions=True)
        given_up.set()
        await killing
        assert [type(one) for one in results] == [CommitUnknown, CommitUnknown]
        assert calls == [["x", "y"]], "what may have been written is never tried again"


async def test_E09_a_commit_that_takes_too_long_is_an_unknown_commit(
    postgres_url: str, clock: SystemClock
) -> None:
    await run_on(postgres_url, *_SLOW_COMMIT)
    async with opened(postgres_url, clock) as db:
        with pytest.raises(CommitUnknown):
            async with asyncio.timeout(PATIENCE_S), db.begin() as tx:
                await put(tx, "a")
        await recovers(db)


async def test_E17_a_file_locked_by_another_process_is_unavailable_in_time_and_recovers(
    sqlite_url: str, clock: SystemClock
) -> None:
    async with opened(sqlite_url, clock) as db:
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        loop = asyncio.get_running_loop()
        began, turns = loop.time(), 0
        waiting = asyncio.create_task(write(db, "late"))
        while not waiting.done():
            await asyncio.sleep(0.005)
            turns += 1
        with pytest.raises(DatabaseUnavailable):
            await waiting
        assert loop.time() - began < PATIENCE_S
        assert turns > 5, "the loop went on turning while the writer waited"
        assert await value_of(db, "late") is None, "readers are not stopped"
        waiting = asyncio.create_task(write(db, "soon"))
        await asyncio.sleep(0.1)
        other.execute("COMMIT")
        await waiting
        other.close()
        assert await value_of(db, "soon") == "v"


async def test_E17_a_full_disk_is_unavailable_and_recovers(sqlite_url: str, clock: SystemClock) -> None:
    async with opened(sqlite_url, clock) as db:
        async with db.begin() as tx:
            pages = (await tx.fetch(statement(text("PRAGMA page_count"))))[0][0]
            await tx.fetch(statement(text(f"PRAGMA max_page_count = {pages}")))
        with pytest.raises(DatabaseUnavailable, match="SQLITE_FULL"):
            async with db.begin() as tx:
                await put(tx, "big", "x" * 1_000_000)
        async with db.begin() as tx:
            await tx.fetch(statement(text("PRAGMA max_page_count = 1000000")))
        async with db.begin() as tx:
            await put(tx, "big", "x" * 1_000_000)
        assert await value_of(db, "big") is not None


async def test_E17_a_database_that_is_not_there_is_unavailable_at_the_start(
    tmp_path: Path, postgres_url: str, clock: SystemClock
) -> None:
    (tmp_path / "taken").mkdir()
    for url in (f"sqlite:///{tmp_path / 'taken'}", postgres_url + "_not", "postgresql://x@127.0.0.1:1/x"):
        database = make_database(url, clock)
        with pytest.raises(DatabaseUnavailable):
            await asyncio.wait_for(database.start(), PATIENCE_S)
        await database.stop()


async def test_a_closed_database_is_unavailable(db_url: str, clock: SystemClock) -> None:
    database = make_database(db_url, clock)
    await database.start()
    await database.stop()
    for use in (write(database, "a"), value_of(database, "a"), database.ping()):
        with pytest.raises(DatabaseUnavailable):
            await use
