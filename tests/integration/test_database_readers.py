"""SQLite's reading connections are few: none may be lost, whoever is cancelled at whatever moment."""

import asyncio

from sqlalchemy import select

from paiid.core.clock import SystemClock
from paiid.core.db import Database, make_database, statement
from paiid.core.tables import accounts

_ALL = statement(select(accounts))


async def read(db: Database) -> None:
    async with db.read() as tx:
        await tx.fetch(_ALL)


async def test_a_reader_who_is_cancelled_at_any_moment_gives_the_connection_back(sqlite_url: str) -> None:
    db = make_database(sqlite_url, SystemClock())
    await db.start()
    try:
        for turns in range(40):
            for _ in range(4):
                task = asyncio.create_task(read(db))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
        # More at a time than there are connections, each of which must come free again.
        await asyncio.gather(*(read(db) for _ in range(16)))
    finally:
        await db.stop()


async def test_a_reader_who_is_cancelled_while_his_transaction_ends_gives_the_connection_back(
    sqlite_url: str,
) -> None:
    db = make_database(sqlite_url, SystemClock())
    await db.start()

    async def leave(at_the_end: asyncio.Event) -> None:
        async with db.read() as tx:
            await tx.fetch(_ALL)
            at_the_end.set()

    try:
        for _ in range(16):
            at_the_end = asyncio.Event()
            task = asyncio.create_task(leave(at_the_end))
            async with asyncio.timeout(20):
                await at_the_end.wait()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        await asyncio.gather(*(read(db) for _ in range(16)))
    finally:
        await db.stop()
