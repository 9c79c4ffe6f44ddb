"""Rows to write and read in tests of the database seam itself."""

import contextlib
from collections.abc import AsyncIterator

from sqlalchemy import bindparam, insert, select

from paiid.core.clock import SystemClock
from paiid.core.db import Database, Tx, make_database, statement
from paiid.core.tables import install_secrets

PUT = statement(insert(install_secrets))
GET = statement(select(install_secrets.c.value).where(install_secrets.c.name == bindparam("b_name")))
PATIENCE_S = 20.0


async def put(tx: Tx, name: str, value: str = "v") -> None:
    """Write a row."""
    await tx.execute(PUT, {"name": name, "value": value, "created_at": 1})


async def write(db: Database, name: str) -> None:
    """Write a row in a transaction of its own."""
    async with db.begin() as tx:
        await put(tx, name)


async def value_of(db: Database, name: str) -> str | None:
    """What is committed of a row."""
    async with db.read() as tx:
        row = await tx.fetch_one(GET, {"b_name": name})
    return None if row is None else str(row["value"])


@contextlib.asynccontextmanager
async def opened(url: str, clock: SystemClock) -> AsyncIterator[Database]:
    """A database of this URL, open."""
    database = make_database(url, clock)
    await database.start()
    try:
        yield database
    finally:
        await database.stop()
