"""The venue's update stream: events by number, so that a reader can go on where it stopped."""

import asyncio
from collections.abc import AsyncIterator

from sqlalchemy import bindparam, delete, select

from paiid.brokers import BrokerUpdate
from paiid.brokers.paper.queries import load_events, mark_read
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable, Tx, statement
from paiid.core.tables import paper_events, paper_sequence

POLL_S = 0.15
PAGE = 500
_MARK_EVERY_S = 30.0
_READ_SEQ = statement(select(paper_sequence.c.read_seq))
_PRUNE = statement(
    delete(paper_events).where(
        paper_events.c.seq.in_(
            select(paper_events.c.seq)
            .where(paper_events.c.seq <= bindparam("b_seq"), paper_events.c.at < bindparam("b_at"))
            .order_by(paper_events.c.seq)
            .limit(bindparam("b_limit"))
        )
    )
)


class News:
    """Wakes every reader of this process when a transaction of it has written events."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()

    def set(self) -> None:
        """There is something new."""
        for one in self._waiting:
            one.set()

    async def wait(self, event: asyncio.Event, timeout_s: float) -> None:
        """Until `set` is called, or the time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return

    def join(self) -> asyncio.Event:
        """A reader's own bell."""
        event = asyncio.Event()
        self._waiting.add(event)
        return event

    def leave(self, event: asyncio.Event) -> None:
        """The reader is gone."""
        self._waiting.discard(event)


async def read_updates(db: Database, clock: Clock, news: News, after: int) -> AsyncIterator[BrokerUpdate]:
    """Every event behind `after`, then each new one. A database that is away is waited for.

    Asking for what is behind a number says that everything up to it has been taken in: once that is a day
    old it may be deleted.
    """
    bell = news.join()
    marked, mark_at = -1, clock.monotonic_s()
    try:
        while True:
            bell.clear()
            try:
                async with db.read() as tx:
                    page = await load_events(tx, after, PAGE)
                if after > marked and clock.monotonic_s() >= mark_at:
                    async with db.begin() as tx:
                        await mark_read(tx, after)
                    marked, mark_at = after, clock.monotonic_s() + _MARK_EVERY_S
            except DatabaseUnavailable:
                page = []
            for update in page:
                yield update
                after = update.cursor
            if len(page) < PAGE:
                await news.wait(bell, POLL_S)
    finally:
        news.leave(bell)


async def prune_events(tx: Tx, before_us: int, limit: int) -> int:
    """Delete up to `limit` of the oldest events that a reader is past and that are older than `before_us`."""
    row = await tx.fetch_one(_READ_SEQ)
    if row is None:
        return 0
    return await tx.execute(_PRUNE, {"b_seq": row["read_seq"], "b_at": before_us, "b_limit": limit})
