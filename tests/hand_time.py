"""A database whose time is a test's own, so that rules about time can be stepped through."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from paiid.core.db import BatchFn, Database, Row, Tx
from paiid.core.db.api import I, R
from paiid.core.db.statements import Reads
from paiid.core.db.writer import Writer


class Time(Protocol):
    """Whatever tells the time."""

    def now_us(self) -> int: ...


class HandTime:
    """A database of either kind whose time is a test's clock, or as much behind it as the test says: what
    commits, commits for real."""

    def __init__(self, db: Database, clock: Time) -> None:
        self.dialect = db.dialect
        self.behind_us = 0
        self._db = db
        self._clock = clock
        self._writer = Writer(self.begin)

    def now_us(self) -> int:
        """The time of its transactions."""
        return self._clock.now_us() - self.behind_us

    async def start(self) -> None:
        await self._db.start()

    async def stop(self) -> None:
        await self._writer.stop()
        await self._db.stop()

    async def ping(self) -> None:
        await self._db.ping()

    @asynccontextmanager
    async def read(self, **how: Any) -> AsyncIterator[Tx]:
        async with self._db.read(**how) as tx:
            yield _HandTx(tx, self)

    @asynccontextmanager
    async def begin(self, **how: Any) -> AsyncIterator[Tx]:
        async with self._db.begin(**how) as tx:
            yield _HandTx(tx, self)

    async def commit_with(self, fn: BatchFn[I, R], item: I) -> R:
        return await self._writer.commit_with(fn, item)


class _HandTx:
    def __init__(self, tx: Tx, time: HandTime) -> None:
        self.dialect = tx.dialect
        self.fetch = tx.fetch
        self.fetch_one = tx.fetch_one
        self.execute = tx.execute
        self.execute_many = tx.execute_many
        self.fetch_together = tx.fetch_together
        self.write = tx.write
        self._tx = tx
        self._time = time

    async def now_us(self) -> int:
        return self._time.now_us()

    async def enter(self, reads: Reads, *, gate: bool = False) -> tuple[int, list[Sequence[Row]]]:
        _, found = await self._tx.enter(reads, gate=gate)
        return self._time.now_us(), found

    async def pass_gate(self) -> int:
        await self._tx.pass_gate()
        return self._time.now_us()

    async def close_gate(self) -> int:
        await self._tx.close_gate()
        return self._time.now_us()
