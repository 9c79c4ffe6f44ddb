"""What the tests of the channels share: a hub that writes everything down, a reader of a log, a bus in memory, and writers of the ledger."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

from sqlalchemy import bindparam, delete, insert

from paiid.core.bus import Bus, Hear, NoBus
from paiid.core.clock import Clock, SystemClock
from paiid.core.db import Database, DatabaseUnavailable, Statement, Tx, statement
from paiid.core.tables import accounts, events
from paiid.stream.events import CatchUp, Event, Place
from paiid.stream.hub import Hub
from paiid.stream.journal import Journal
from paiid.trading.answers import position_event
from paiid.trading.book import Book
from paiid.trading.channel_snapshot import ChannelSnapshot
from tests.ledger_world import account_row

_ACCOUNT = statement(insert(accounts))
_PRUNE = statement(
    delete(events).where(
        events.c.account_id == bindparam("b_id"),
        events.c.seq >= bindparam("b_from"),
        events.c.seq <= bindparam("b_to"),
    )
)


@dataclass(frozen=True)
class Reset:
    """A channel began anew."""

    channel: str
    place: Place | None
    reason: str
    snapshot: bytes | None


@dataclass
class RecordingHub:
    """Keeps what producers hand over, by channel."""

    told: dict[str, list[Event | Reset]] = field(default_factory=dict)

    def put(self, event: Event) -> None:
        self.told.setdefault(event.channel, []).append(event)

    def append(self, events: Sequence[Event]) -> None:
        for event in events:
            self.put(event)

    def reset(
        self, prefix: str, place: Place | None, reason: str, snapshot: bytes | None = None, name: str = ""
    ) -> None:
        channel = f"{prefix}:{name}"
        self.told.setdefault(channel, []).append(Reset(channel, place, reason, snapshot))

    def of(self, channel: str) -> list[Event | Reset]:
        """What was told of a channel."""
        return self.told.get(channel, [])

    def events(self, channel: str) -> list[Event]:
        """The events among it."""
        return [one for one in self.of(channel) if isinstance(one, Event)]

    def resets(self, channel: str) -> list[Reset]:
        """The resets among it."""
        return [one for one in self.of(channel) if isinstance(one, Reset)]

    @property
    def as_hub(self) -> Hub:
        """For those who want a hub."""
        return cast("Hub", self)


class Street:
    """A bus in memory for several processes; what it carries can be lost."""

    def __init__(self) -> None:
        self.stops: list[Stop] = []
        self.lost = False

    def stop(self) -> "Stop":
        """One process's end of it."""
        made = Stop(self)
        self.stops.append(made)
        return made


class Stop:
    """See `Street`."""

    shared = True

    def __init__(self, street: Street) -> None:
        self._street = street
        self._hear: dict[str, list[Hear]] = {}
        self._changed: list[Callable[[bool], None]] = []
        self.published: list[tuple[str, bytes]] = []

    @property
    def up(self) -> bool:
        return not self._street.lost

    def publish(self, channel: str, body: bytes) -> None:
        self.published.append((channel, body))
        if self._street.lost:
            return
        for other in self._street.stops:
            if other is not self:
                for hear in other._hear.get(channel, []):
                    asyncio.get_running_loop().call_soon(hear, body)

    def subscribe(self, channel: str, hear: Hear) -> None:
        self._hear.setdefault(channel, []).append(hear)

    def on_change(self, tell: Callable[[bool], None]) -> None:
        self._changed.append(tell)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Reader:
    """A client of one account's channel: checks every step, and keeps what the events tell."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.place: Place | None = None
        self.resets: list[str] = []
        self.log: list[Place] = []
        self.orders: dict[str, Any] = {}
        self.positions: dict[str, Any] = {}
        self.cash: Any = None

    def caught_up(self, given: CatchUp, since: Place | None) -> None:
        """What he gets first, having named this place."""
        self.place = since
        if given.reset is not None:
            assert given.snapshot is not None
            self._begin(given.place, given.reset, given.snapshot)
        for event in given.events:
            self.hear(event)
        if since is not None:
            assert self.place == given.place, "the end of a catch-up is its place"
        self.place = given.place

    def hear(self, told: Event | Reset) -> None:
        """The next of the channel."""
        if isinstance(told, Reset):
            assert told.place is not None
            assert told.snapshot is not None
            self._begin(told.place, told.reason, told.snapshot)
            return
        assert self.place is not None
        assert (told.epoch, told.sequence) == (self.place.epoch, self.place.sequence + 1), (
            self.place,
            told,
        )
        self.place = Place(told.epoch, told.sequence)
        self.log.append(self.place)
        data = json.loads(told.data, parse_float=Decimal)
        assert data["account" if "account" in data else "id"]
        if data["event"] == "order":
            self._order(data)
        elif data["event"] == "position":
            self.positions[data["symbol"]] = data
        elif data["event"] == "cash":
            self.cash = data["cash"]

    def _order(self, data: dict[str, Any]) -> None:
        data.pop("event")
        self.orders[data["id"]] = data

    def _begin(self, place: Place, reason: str, snapshot: bytes) -> None:
        self.place = place
        self.resets.append(reason)
        state = json.loads(snapshot, parse_float=Decimal)
        assert state["account"] == self.account
        self.orders, self.positions, self.cash = {}, {}, state["cash"]
        for order in state["orders"]:
            for leg in order.pop("legs"):
                self.orders[leg["id"]] = leg
            self.orders[order["id"]] = order
        for position in state["positions"]:
            self.positions[position["symbol"]] = position

    @property
    def held(self) -> dict[str, Any]:
        """symbol -> quantity of what is not flat."""
        return {symbol: one["qty"] for symbol, one in self.positions.items() if one["qty"] != 0}


@dataclass
class Replica:
    """One process with its journal."""

    db: Database
    journal: Journal
    hub: RecordingHub


def replica(db: Database, clock: Clock, bus: Bus | None = None, **times: float) -> Replica:
    """A journal over a database that is open."""
    hub = RecordingHub()
    journal = Journal(db, clock, hub.as_hub, bus or NoBus(), ChannelSnapshot(db), **times)
    return Replica(db, journal, hub)


async def open_accounts(db: Database, *names: str) -> None:
    """Accounts without cash."""
    async with db.begin() as tx:
        now = await tx.now_us()
        await tx.execute_many(_ACCOUNT, [account_row(name, 0, now) for name in names])


async def write(db: Database, account: str, count: int = 1, symbol: str = "AAPL", qty: int = 1) -> None:
    """One transaction that moves a position `count` times: as many events."""
    async with db.begin() as tx:
        book = Book(tx, SystemClock(), await tx.now_us())
        await book.open([account])
        position = book.position(account, symbol)
        for _ in range(count):
            position.qty += qty * 10**9
            position.version += 1
            book.touch_position(position)
            book.tell(account, "position", "test", position_event(position))
        await book.flush()
    assert book.told_accounts == {account}


async def reset_account(db: Database, account: str) -> None:
    """What a reset does to the channel: positions gone, the next epoch, and its event."""
    async with db.begin() as tx:
        book = Book(tx, SystemClock(), await tx.now_us())
        await book.open([account])
        for (owner, _), position in list(book._positions.items()):
            if owner == account:
                position.qty = 0
                book.touch_position(position)
        book.accounts[account].event_epoch += 1
        book.tell(account, "reset", "test", {"account": account, "cash": 0})
        await book.flush()


async def prune(db: Database, account: str, first: int, last: int) -> None:
    """Rows of the channel that are gone."""
    async with db.begin() as tx:
        await tx.execute(_PRUNE, {"b_id": account, "b_from": first, "b_to": last})


async def until(holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for something that must come."""
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.005)


class Counting:
    """A database that counts its statements, and can be away; everything else is the real one."""

    def __init__(self, real: Database) -> None:
        self._real = real
        self.dialect = real.dialect
        self.statements = 0
        self.away = False

    @asynccontextmanager
    async def read(self, **how: Any) -> AsyncIterator[Tx]:
        if self.away:
            raise DatabaseUnavailable("taken away")
        async with self._real.read(**how) as tx:
            yield cast("Tx", _CountingTx(tx, self))


class _CountingTx:
    def __init__(self, tx: Tx, counter: Counting) -> None:
        self._tx = tx
        self._counter = counter
        self.dialect = tx.dialect

    def _count(self) -> None:
        if self._counter.away:
            raise DatabaseUnavailable("taken away")
        self._counter.statements += 1

    async def fetch(self, stmt: Statement, params: Any = None) -> Any:
        self._count()
        return await self._tx.fetch(stmt, params)

    async def fetch_one(self, stmt: Statement, params: Any = None) -> Any:
        self._count()
        return await self._tx.fetch_one(stmt, params)

    async def fetch_together(self, reads: Any) -> Any:
        self._count()
        return await self._tx.fetch_together(reads)

    async def now_us(self) -> int:
        self._count()
        return await self._tx.now_us()
