"""Writes beside trading, which must never stand in an order's way: one at a time, few that wait, and the rest is shed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from paiid.core.db import Database, Tx
from paiid.domain.errors import Code, Problem

MOST_WAITING = 64
"""Writes that wait for their turn; more are refused."""
WAIT_S = 1.0
"""The longest one waits for it."""


class Aside:
    """The turn of everything here that is written for strangers and is not trading.

    An order's transaction queues behind those that came before it. Of these there is at most one at any time in this
    process, and it is small; where the database is busy they pile up here, and are told so."""

    def __init__(self, db: Database, wait_s: float = WAIT_S) -> None:
        self._db = db
        self._wait_s = wait_s
        self._turn = asyncio.Lock()
        self._waiting = 0
        self.heavy = asyncio.Lock()
        """To be held while something is read that takes long: of the readers that SQLite has, one is left for everybody else."""

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        """A write transaction as of `Database.begin`. Raises Problem (503) where there is too much of it, and what
        `begin` raises."""
        if self._waiting >= MOST_WAITING:
            raise _busy()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turn.acquire()
        except TimeoutError:
            raise _busy() from None
        finally:
            self._waiting -= 1
        try:
            async with self._db.begin() as tx:
                yield tx
        finally:
            self._turn.release()


def _busy() -> Problem:
    return Problem(Code.OVERLOADED, "The database is busy with what matters more; try again in a moment.")
