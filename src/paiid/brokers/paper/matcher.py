"""The matching loop: in exactly one process at a time, under a lease, woken by new orders."""

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from paiid.brokers.paper.book import OpenBook
from paiid.brokers.paper.desk import QuoteOf
from paiid.brokers.paper.fills import FillEngine
from paiid.brokers.paper.queries import load_open_book
from paiid.brokers.paper.records import PaperOrder
from paiid.brokers.paper.roll import DayRoll
from paiid.brokers.paper.store import LostRace
from paiid.brokers.paper.stream import News, prune_events
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.leases import Held, LeaseLost, Leases
from paiid.domain.paper import Hours, moment_of

LEASE = "paper-matching"
LEASE_TTL_S = 2.0
_RENEW_S = 0.6
POLL_S = 0.1
"""How often quotes and other processes' orders are looked for when nothing wakes the loop."""
MAX_ROUND = 256
"""Orders in one transaction."""
KEEP_EVENTS_US = 24 * 3600 * 1_000_000
_PRUNE_EVERY_S = 60.0
_PRUNE_LIMIT = 5_000

log = structlog.get_logger("paiid.paper")


class Matcher:
    """Keeps the lease, the book in memory, and runs rounds of the fill engine."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        quote_of: QuoteOf,
        hours: Hours,
        leases: Leases,
        engine: FillEngine,
        news: News,
        roll: DayRoll,
    ) -> None:
        self._db = db
        self._clock = clock
        self._quote_of = quote_of
        self._hours = hours
        self._leases = leases
        self._engine = engine
        self._news = news
        self._roll = roll
        self._wake = asyncio.Event()
        self._offered: list[PaperOrder] = []
        self._held: Held | None = None
        self._book = OpenBook(quote_of)
        self._seq = 0
        self._clock_behind_us = 0
        """Database time less this machine's: orders go live and expire in database time."""
        self._take_at_s = 0.0
        self._poll_at_s = 0.0
        self._prune_at_s = 0.0

    @property
    def is_matching(self) -> bool:
        """Whether this process holds the lease, as far as it knows."""
        return self._held is not None

    def offer(self, order: PaperOrder) -> None:
        """An order accepted by this process: look at it as soon as it is live."""
        if self._held is not None:
            self._offered.append(order)
        self._wake.set()

    def forget(self, order: PaperOrder) -> None:
        """An order that is over: it need not be remembered until the market comes near it."""
        self._offered = [one for one in self._offered if one.id != order.id]
        self._book.keep([order], {})

    async def run(self) -> None:
        """Match until cancelled. A database that is away is waited for."""
        while True:
            try:
                more = await self._turn()
            except LeaseLost:
                self._drop_lease()
                continue
            except LostRace:
                log.warning("paper_order_moved")
                self._drop_book()
                more = False
            except DatabaseUnavailable:
                more = False
            if not more:
                await self._rest()

    async def stop(self) -> None:
        """Give the lease up, so that another process need not wait for it to run out."""
        if self._held is not None:
            self._drop_lease()
            try:
                await self._leases.release(LEASE)
            except DatabaseUnavailable:
                log.warning("paper_lease_not_released")

    async def _turn(self) -> bool:
        """One look around; True when there is more to do at once."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._take_at_s:
            await self._renew(now_s)
        if self._held is None:
            self._offered.clear()
            return False
        self._book.add(self._drain_offered())
        if now_s >= self._poll_at_s:
            self._poll_at_s = now_s + POLL_S
            await self._load_new()
        if now_s >= self._prune_at_s:
            self._prune_at_s = now_s + _PRUNE_EVERY_S
            await self._prune()
        if await self._match(self._held):
            return True
        # Behind the matching, so that what ends with the day has ended before its contracts expire.
        now_us = self._venue_now_us()
        if self._roll.is_due(now_us) and await self._roll.run(self._held, now_us):
            self._news.set()
        return False

    async def _renew(self, now_s: float) -> None:
        held = await self._leases.take(LEASE, LEASE_TTL_S)
        self._take_at_s = now_s + _RENEW_S
        if held is None:
            self._drop_lease()
        elif self._held is None or held.token != self._held.token:
            self._drop_book()
            log.info("paper_matching_here", fence=held.token)
        self._held = held

    def _drop_lease(self) -> None:
        self._held = None
        self._drop_book()

    def _drop_book(self) -> None:
        self._roll.begin_again()
        self._book = OpenBook(self._quote_of)
        self._seq = 0
        self._poll_at_s = 0.0

    def _drain_offered(self) -> Iterable[PaperOrder]:
        offered, self._offered = self._offered, []
        return offered

    async def _load_new(self) -> None:
        async with self._db.read() as tx:
            orders, unreadable, self._seq = await load_open_book(tx, self._seq)
            self._clock_behind_us = await tx.now_us() - self._clock.now_us()
        for order_id in unreadable:
            log.error("paper_order_set_aside", order_id=order_id, problem="unreadable")
        self._book.add(orders)

    async def _prune(self) -> None:
        async with self._db.begin() as tx:
            await prune_events(tx, await tx.now_us() - KEEP_EVENTS_US, _PRUNE_LIMIT)

    async def _match(self, held: Held) -> bool:
        now = self._venue_now_us()
        found = self._book.candidates(moment_of(self._hours, now))
        while found:
            batch, found = found[:MAX_ROUND], found[MAX_ROUND:]
            try:
                await self._round(held, batch)
            except BaseException:
                # The commit may or may not stand: the rows tell at the next look.
                self._book.look_again([*batch, *found])
                raise
            if self._clock.monotonic_s() >= self._take_at_s:
                self._book.look_again(found)
                return True
        return False

    async def _round(self, held: Held, batch: Sequence[PaperOrder]) -> None:
        try:
            async with self._db.begin() as tx:
                done = await self._engine.run(tx, held, batch)
        except (DatabaseUnavailable, LeaseLost, LostRace):
            raise
        except Exception as problem:  # noqa: BLE001 - one order that cannot be booked must not stop all others
            if len(batch) == 1:
                log.error("paper_order_set_aside", order_id=batch[0].id, problem=type(problem).__name__)
                self._book.keep(batch, {})
                return
            for order in batch:
                await self._round(held, [order])
            return
        self._clock_behind_us = done.now_us - self._clock.now_us()
        self._book.keep(batch, done.orders, done.again)
        if done.changed:
            self._news.set()

    def _venue_now_us(self) -> int:
        return self._clock.now_us() + self._clock_behind_us

    async def _rest(self) -> None:
        """Sleep until an order comes in, the next one goes live, or it is time to look at the quotes."""
        pause = POLL_S
        if self._held is not None and not self._offered:
            now = self._venue_now_us()
            live = self._book.next_live_us(now)
            if live is not None:
                pause = min(pause, max(0.001, (live - now) / 1_000_000))
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
