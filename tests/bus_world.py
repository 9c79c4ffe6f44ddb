"""Buses and replicas in one process: each with its own connections, database and feed, over real servers."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from paiid.core.bus import Bus, NoBus
from paiid.core.clock import Clock, SystemClock
from paiid.core.db import Database, make_database
from paiid.core.leases import Leases
from paiid.core.redis import RedisBus
from paiid.domain.calendar import AlwaysOpen
from paiid.market.board import Board, Shown
from paiid.market.demand import Demand
from paiid.market.leadership import Pace
from paiid.market.state import FeedState
from paiid.market.upstream import Upstream
from tests.market_world import FakeFeed

PATIENCE_S = 30.0
"""Only guards against hanging."""
QUICK = Pace(
    lease_s=2.0,
    renew_s=0.2,
    margin_s=0.2,
    try_s=0.05,
    beat_s=0.15,
    silent_s=2.6,
    sweep_s=0.1,
    batch_s=0.002,
    look_s=0.02,
    gather_s=0.005,
)
"""Everything a few times faster than in life; a machine that stands still for a second must not upset a test."""


async def until(true: Callable[[], object], what: str = "it never came to be") -> None:
    """Wait for a condition."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                await asyncio.sleep(0.005)
            return
    raise AssertionError(what)


@contextlib.asynccontextmanager
async def redis_bus(
    url: str, prefix: str, clock: Clock | None = None, **pace: float
) -> AsyncIterator[RedisBus]:
    """A bus, started; not waited for."""
    bus = RedisBus(url, prefix, clock or SystemClock(), **pace)
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()


def a_prefix() -> str:
    """Of a test's own."""
    return "test-" + secrets.token_hex(4)


@dataclass
class Replica:
    """One replica, and what it was told."""

    name: str
    feed: FakeFeed
    board: Board
    demand: Demand
    bus: Bus
    upstream: Upstream
    db: Database | None = None
    shown: list[Shown] = field(default_factory=list)
    epochs: list[tuple[int, str]] = field(default_factory=list)
    states: list[FeedState] = field(default_factory=list)
    sockets: dict[str, int] = field(default_factory=dict)

    @property
    def leads(self) -> bool:
        return self.upstream.state.leads

    @property
    def status(self) -> str:
        return self.upstream.state.status

    def bid(self, symbol: str) -> str | None:
        """The newest bid of a symbol here."""
        shown = self.board.find(symbol)
        return None if shown is None else str(shown.quote.bid)

    async def die(self) -> None:
        """End as a killed process does: the lease is not given up, nobody is told, and the feed's connection is cut."""
        upstream = self.upstream
        upstream.lead.leases = None
        upstream._say_lead = lambda **_: None  # type: ignore[method-assign]
        await upstream.stop()
        await self.bus.stop()


class Town:
    """Replicas that share a database, a bus and one market."""

    def __init__(
        self, stack: contextlib.AsyncExitStack, clock: Clock, *, db_url: str | None, bus_url: str | None
    ) -> None:
        self._stack = stack
        self._clock = clock
        self._db_url = db_url
        self._bus_url = bus_url
        self._prefix = a_prefix()
        self.replicas: list[Replica] = []
        self.most_listening = 0

    async def add(
        self,
        *wants: str,
        pace: Pace = QUICK,
        feed: FakeFeed | None = None,
        start: bool = True,
        echo_s: float = 0.3,
    ) -> Replica:
        """Another replica, whose clients subscribe to these symbols."""
        name = f"r{len(self.replicas)}"
        clock = self._clock
        db: Database | None = None
        if self._db_url is not None:
            db = make_database(self._db_url, clock)
            await db.start()
            self._stack.push_async_callback(db.stop)
        bus: Bus = NoBus()
        if self._bus_url is not None:
            bus = RedisBus(self._bus_url, self._prefix, clock, echo_s=echo_s, deadline_s=1.0)
        feed = feed or FakeFeed(heartbeat_s=1.0)
        board, demand = Board(), Demand(clock)
        sockets: dict[str, int] = {}
        leases = None if db is None else Leases(db, f"{name}-{secrets.token_hex(3)}")
        upstream = Upstream(
            leases, clock, bus, feed, AlwaysOpen(), board, demand,
            replica=name, sockets=lambda: sockets, pace=pace,
        )  # fmt: skip
        replica = Replica(name, feed, board, demand, bus, upstream, db, sockets=sockets)
        board.watch(replica.shown.append)
        upstream.on_epoch(lambda epoch, reason: replica.epochs.append((epoch, reason)))
        upstream.on_state(replica.states.append)
        demand.add(wants)
        self.replicas.append(replica)
        if start:
            await bus.start()
            await upstream.start()
            self._stack.push_async_callback(bus.stop)
            self._stack.push_async_callback(upstream.stop)
        return replica

    def set(self, symbol: str, bid: str, ask: str) -> None:
        """The market moves: every feed that is connected to it has the same quote."""
        now_us = self._clock.now_us()
        listening = sum(replica.feed.listening for replica in self.replicas)
        self.most_listening = max(self.most_listening, listening)
        for replica in self.replicas:
            replica.feed.set(symbol, bid, ask, as_of_us=now_us)

    @property
    def leader(self) -> Replica | None:
        """Who leads; None while nobody does, or (which must not be) more than one."""
        leading = [one for one in self.replicas if one.leads]
        return leading[0] if len(leading) == 1 else None

    async def until_settled(self) -> Replica:
        """One leads and all the others follow it."""
        await until(lambda: self.leader is not None and self._all_follow(), "no leader whom all follow")
        leader = self.leader
        assert leader is not None
        return leader

    def _all_follow(self) -> bool:
        epochs = {one.upstream.state.epoch for one in self.replicas}
        return len(epochs) == 1 and all(one.status == "up" for one in self.replicas)

    async def until_all_show(self, bids: Mapping[str, str]) -> None:
        """Every replica's newest quotes are these."""
        await until(
            lambda: all(one.bid(symbol) == bid for one in self.replicas for symbol, bid in bids.items()),
            f"not all show {bids}",
        )


@contextlib.asynccontextmanager
async def town(
    *, db_url: str | None = None, bus_url: str | None = None, clock: Clock | None = None
) -> AsyncIterator[Town]:
    """A town; all that was added is stopped at the end, the newest first."""
    async with contextlib.AsyncExitStack() as stack:
        yield Town(stack, clock or SystemClock(), db_url=db_url, bus_url=bus_url)
