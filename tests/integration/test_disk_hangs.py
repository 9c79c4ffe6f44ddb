"""A disk that takes a COMMIT and does not answer: nobody waits for it for longer than for any other database that is away (E17)."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import insert, select

from paiid.core.db import CommitUnknown, Database, DatabaseUnavailable, statement
from paiid.core.tables import install_secrets
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.orders_world import BUY, QUICK, Trading, final_answer
from tests.world import fresh_key

pytestmark = pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)

PROMISED_S = 2.0
MACHINE_S = 1.5
"""What a busy machine adds."""
_PUT = statement(insert(install_secrets))
_NAMES = statement(select(install_secrets.c.name).order_by(install_secrets.c.name))


class Disk:
    """Between a database and its file: while it hangs, a COMMIT comes back only when it is let go, done or failed."""

    def __init__(self, db: Any) -> None:
        self._connection: sqlite3.Connection = db._connection
        self._answers = threading.Event()
        self._answers.set()
        self.fails = False
        self._writes = ""
        self._written = False
        db._connection = self

    def hang(self, writes: str = "") -> None:
        """From now on, with transactions that have run such a statement."""
        self._writes = writes
        self._answers.clear()

    def answer(self) -> None:
        """Again."""
        self._answers.set()

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql.startswith("BEGIN"):
            self._written = False
        self._written |= self._writes in sql
        if sql == "COMMIT" and self._written:
            self._answers.wait(60)
            if self.fails:
                raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(sql, *args)

    def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
        self._written |= self._writes in sql
        return self._connection.executemany(sql, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.fixture
async def disk(db: Database) -> AsyncIterator[Disk]:
    one = Disk(db)
    yield one
    one.answer()


async def put(db: Database, name: str) -> None:
    async with db.begin() as tx:
        await tx.execute(_PUT, {"name": name, "value": "x", "created_at": 1})


async def names(db: Database) -> list[str]:
    async with db.read() as tx:
        return [row["name"] for row in await tx.fetch(_NAMES)]


async def comes_back(db: Database, name: str) -> None:
    """Until somebody gets a turn again."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await put(db, name)
            except CommitUnknown:
                raise
            except DatabaseUnavailable:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("fails", [False, True], ids=["done in the end", "failed in the end"])
async def test_E17_a_commit_that_hangs_is_in_doubt_and_nobody_comes_past_it(
    db: Database, disk: Disk, fails: bool
) -> None:
    await put(db, "before")
    disk.hang()
    began_s = time.monotonic()
    with pytest.raises(CommitUnknown):
        await put(db, "hangs")
    assert time.monotonic() - began_s < PROMISED_S + MACHINE_S
    with pytest.raises(DatabaseUnavailable, match="free in time"):
        await put(db, "behind")
    assert await names(db) == ["before"], "what is committed can be read all the while"
    disk.fails = fails
    disk.answer()
    if fails:
        await asyncio.sleep(0.1)
        disk.fails = False
    await comes_back(db, "again")
    assert await names(db) == ["again", "before", *([] if fails else ["hangs"])]


async def test_E17_an_order_whose_claim_hangs_is_503_and_never_sent(make_app: MakeApp) -> None:
    broker = FakeBroker()
    app = await make_app(broker=broker, timings=QUICK)
    trading, key = Trading(app, broker, await app.owner()), fresh_key()
    disk = Disk(trading.db)
    disk.hang("INTO intents")
    try:
        began_s = time.monotonic()
        answer = await trading.owner.execute(BUY, key=key)
        assert time.monotonic() - began_s < PROMISED_S + MACHINE_S
        assert answer.status_code == 503, answer.text
    finally:
        disk.answer()
    # The claim is there in the end. Its stamp is lost, so that it is not sent: the key says so.
    async with asyncio.timeout(30):
        while (told := await final_answer(trading.owner, key, BUY)).status_code == 503:
            await asyncio.sleep(0.1)
    assert told.json()["orders"][0]["state"] == "NOT_PLACED", told.text
    assert broker.submitted == []


async def test_a_caller_who_is_cancelled_waits_for_the_commit_that_he_has_begun(
    db: Database, disk: Disk
) -> None:
    disk.hang()
    task = asyncio.create_task(put(db, "his"))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.sleep(0.2)
    assert not task.done()
    disk.answer()
    with pytest.raises(asyncio.CancelledError):
        await task
    await put(db, "another")
    assert await names(db) == ["another", "his"]
