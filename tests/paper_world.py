"""The paper venue with time and market in a test's hand: once over the pure rules, once over the real books."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Protocol

from paiid.brokers import BrokerOrder, BrokerRejected, OutcomeUnknown
from paiid.brokers.paper.book import OpenBook
from paiid.brokers.paper.desk import Desk
from paiid.brokers.paper.fills import FillEngine, Round
from paiid.brokers.paper.records import PaperOrder
from paiid.brokers.paper.store import (
    find_order,
    load_account,
    load_open_book,
    lock_accounts,
)
from paiid.core.db import BatchFn, Database, Tx
from paiid.core.db.api import I, R
from paiid.core.db.writer import Writer
from paiid.core.leases import Held, Leases
from paiid.domain.money import ZERO, round_money
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus
from paiid.domain.paper import (
    STARTING_CASH,
    PaperRefused,
    Step,
    Taken,
    Working,
    after_quote,
    check_market,
    check_order,
    decide,
    reserve_price,
    short_mark,
    take,
)
from paiid.domain.paper_account import EMPTY, Holding, PaperAccount
from paiid.domain.quotes import Quote

START_US = 1_800_000_000_000_000
FAR_US = START_US + 10**12
LATENCY_US = 20_000


class HandClock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.us = START_US
        self._count = 0

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return self.us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        self.us += int(seconds * 1_000_000)

    def random_bytes(self, count: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(count, "big")


class HandHours:
    """Market hours that a test opens, closes and rolls."""

    def __init__(self) -> None:
        self.open = True
        self.roll_us = FAR_US

    def is_open(self, at_us: int) -> bool:
        return self.open

    def next_roll_us(self, at_us: int) -> int:
        return self.roll_us if at_us < self.roll_us else self.roll_us + 86_400_000_000


@dataclass
class Market:
    """Quotes, hours and time."""

    clock: HandClock = field(default_factory=HandClock)
    hours: HandHours = field(default_factory=HandHours)
    quotes: dict[str, Quote] = field(default_factory=dict)
    count: int = 0

    def show(
        self,
        symbol: str,
        bid: Decimal,
        bid_size: Decimal,
        ask: Decimal,
        ask_size: Decimal,
        *,
        stale: bool = False,
        number: int | None = None,
    ) -> Quote:
        """A new quote at the present instant; an explicit number lower than the last is an older quote."""
        before = self.quotes.get(symbol)
        older = before is not None and number is not None and number < before.sequence
        self.count = max(self.count, number) if number is not None else self.count + 1
        quote = Quote(
            symbol=symbol,
            bid=bid,
            ask=ask,
            bid_size=bid_size,
            ask_size=ask_size,
            last=bid,
            prev_close=bid,
            as_of_us=before.as_of_us - 1 if before is not None and older else self.clock.now_us(),
            sequence=self.count if number is None else number,
            source="hand",
            stale=stale,
        )
        self.quotes[symbol] = quote
        return quote

    def quote_of(self, symbol: str) -> Quote | None:
        return self.quotes.get(symbol)

    def mark_of(self, symbol: str) -> Decimal | None:
        quote = self.quotes.get(symbol)
        return None if quote is None or quote.ask <= 0 else short_mark(quote)


@dataclass(frozen=True)
class Told:
    """An order as the venue tells it."""

    status: OrderStatus
    filled_qty: Decimal
    filled_value: Decimal
    reason: str | None


class World(Protocol):
    market: Market

    async def submit(self, order: BrokerOrder) -> None:
        """Raises BrokerRejected, OutcomeUnknown."""

    async def cancel(self, account: str, client_order_id: str) -> None:
        """Raises BrokerRejected."""

    async def look(self) -> None:
        """Match once."""

    async def order(self, account: str, client_order_id: str) -> Told: ...

    async def account(self, account: str) -> PaperAccount: ...


@dataclass
class PureOrder:
    """An order of the pure venue. `reserve` is its reserve price, `value` the dollars that changed hands."""

    account: str
    name: str
    working: Working
    reserve: Decimal
    status: OrderStatus = OrderStatus.NEW
    value: Decimal = ZERO
    reason: str | None = None


@dataclass(frozen=True)
class Print:
    """One execution: its order, the quote it was made on, what was held of the symbol before, and when."""

    order: PureOrder
    qty: Decimal
    price: Decimal
    quote: Quote
    held_before: Decimal
    at_us: int


class PureVenue:
    """The rules of `domain/paper` and nothing else, in lists."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.orders: list[PureOrder] = []
        self.accounts: dict[str, PaperAccount] = {}
        self.taken: dict[str, Taken] = {}
        self.prints: list[Print] = []

    async def account(self, account: str) -> PaperAccount:
        book = self.accounts.get(account)
        if book is None:
            book = PaperAccount(STARTING_CASH, {}, self.market.mark_of)
        # Without the kept-up sum, so that it is added up afresh.
        book = PaperAccount(book.cash, dict(book.holdings), self.market.mark_of, book.open_orders)
        self.accounts[account] = book
        return book

    def find(self, account: str, name: str) -> PureOrder:
        return next(one for one in self.orders if (one.account, one.name) == (account, name))

    async def submit(self, order: BrokerOrder) -> None:
        now = self.market.clock.us
        if any(
            (one.account, one.name) == (order.account_number, order.client_order_id) for one in self.orders
        ):
            raise OutcomeUnknown("client_order_id must be unique")
        try:
            check_order(order.symbol, order.type, order.qty, order.limit_price, order.stop_price)
            quote = check_market(
                order.type,
                order.time_in_force,
                self.market.quote_of(order.symbol),
                self.market.hours.is_open(now),
            )
            price = reserve_price(order.side, order.type, order.limit_price, order.stop_price, quote)
            (await self.account(order.account_number)).place(order.symbol, order.side, order.qty, price)
        except PaperRefused as refused:
            raise BrokerRejected(refused.code, refused.message) from refused
        expires = self.market.hours.next_roll_us(now) if order.time_in_force == "day" else None
        working = Working(
            order.symbol,
            order.side,
            order.type,
            order.time_in_force,
            order.qty,
            order.limit_price,
            order.stop_price,
            now + LATENCY_US,
            expires,
        )
        self.orders.append(PureOrder(order.account_number, order.client_order_id, working, price))

    async def cancel(self, account: str, client_order_id: str) -> None:
        order = self.find(account, client_order_id)
        if order.status in TERMINAL_STATUSES:
            raise BrokerRejected("not_cancelable", order.status.value)
        await self._end(order, OrderStatus.CANCELED, "canceled_by_user")

    async def _end(self, order: PureOrder, status: OrderStatus, reason: str | None) -> None:
        working = order.working
        (await self.account(order.account)).release(working.symbol, working.side, working.left, order.reserve)
        order.status, order.reason = status, reason

    async def look(self) -> None:
        for order in sorted(self.orders, key=lambda one: one.working.live_at_us):
            if order.status not in TERMINAL_STATUSES:
                await self._look(order)

    async def _look(self, order: PureOrder) -> None:
        working = order.working
        quote = self.market.quote_of(working.symbol)
        taken = after_quote(self.taken.get(working.symbol), quote) if quote else None
        book = await self.account(order.account)
        step = self._means(book, order, self._decide(working, quote, taken))
        order.working = replace(
            working, filled_qty=working.filled_qty + step.qty, triggered=working.triggered or step.triggers
        )
        if taken is not None and (step.qty > 0 or step.triggers):
            self._take(taken, working, step.qty)
        if step.qty > 0:
            assert quote is not None
            held = book.holdings[working.symbol].qty
            book.fill(working.symbol, working.side, step.qty, step.price, order.reserve)
            order.value += round_money(step.qty * step.price)
            order.status = OrderStatus.PARTIALLY_FILLED
            self.prints.append(Print(order, step.qty, step.price, quote, held, self.market.clock.us))
        if step.ends is not None:
            await self._end(order, step.ends, step.reason)

    # What a test may spoil on purpose.

    def _decide(self, working: Working, quote: Quote | None, taken: Taken | None) -> Step:
        return decide(
            working, quote, taken, self.market.hours.is_open(self.market.clock.us), self.market.clock.us
        )

    def _means(self, book: PaperAccount, order: PureOrder, step: Step) -> Step:
        return book.within_means(order.working, step, order.reserve, self.market.clock.us)

    def _take(self, taken: Taken, working: Working, qty: Decimal) -> None:
        self.taken[working.symbol] = take(taken, working.side, qty)

    async def order(self, account: str, client_order_id: str) -> Told:
        found = self.find(account, client_order_id)
        return Told(found.status, found.working.filled_qty, found.value, found.reason)


class HandTime:
    """A database of either kind whose time is a test's clock, or as much behind it as the test says: what
    commits, commits for real."""

    def __init__(self, db: Database, clock: HandClock) -> None:
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
    async def read(self, *, brief: bool = False) -> AsyncIterator[Tx]:
        async with self._db.read(brief=brief) as tx:
            yield _HandTx(tx, self)

    @asynccontextmanager
    async def begin(self, *, urgent: bool = False) -> AsyncIterator[Tx]:
        async with self._db.begin(urgent=urgent) as tx:
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
        self.write = tx.write
        self._tx = tx
        self._time = time

    async def now_us(self) -> int:
        return self._time.now_us()

    async def pass_gate(self) -> int:
        await self._tx.pass_gate()
        return self._time.now_us()

    async def close_gate(self) -> int:
        await self._tx.close_gate()
        return self._time.now_us()


class RealVenue:
    """The venue's own desk, book and fill engine over a database, stepped by hand."""

    def __init__(self, market: Market, db: HandTime, held: Held) -> None:
        self.market = market
        self.db = db
        self.held = held
        self.desk = Desk(market.clock, market.quote_of, market.hours, LATENCY_US // 1000)
        self.engine = FillEngine(market.clock, market.quote_of, market.hours, self.desk)
        self.book = OpenBook(market.quote_of)
        self._seq = 0

    @classmethod
    async def open(cls, market: Market, database: Database) -> "RealVenue":
        """Over an empty database, in the market's time; this venue holds the lease."""
        db = HandTime(database, market.clock)
        held = await Leases(db, "hand").take("paper-matching", 1_000_000)
        assert held is not None
        return cls(market, db, held)

    async def submit(self, order: BrokerOrder) -> None:
        try:
            check_order(order.symbol, order.type, order.qty, order.limit_price, order.stop_price)
        except PaperRefused as refused:
            raise BrokerRejected(refused.code, refused.message) from refused
        await self.db.commit_with(self.desk.place, order)

    async def cancel(self, account: str, client_order_id: str) -> None:
        async with self.db.read() as tx:
            found = await find_order(tx, account, client_order_id)
        assert found is not None
        await self.db.commit_with(self.desk.cancel, (account, found.id))

    async def look(self) -> None:
        async with self.db.read() as tx:
            orders, unreadable, self._seq = await load_open_book(tx, self._seq)
        assert not unreadable
        self.book.add(orders)
        clock = self.market.clock
        candidates = self.book.candidates(self.market.hours.is_open(clock.us), clock.us)
        if candidates:
            async with self.db.begin() as tx:
                done = await self.engine.run(tx, self.held, candidates)
            self._keep(candidates, done)

    def _keep(self, candidates: Sequence[PaperOrder], done: Round) -> None:
        self.book.keep(candidates, done.orders, done.again)

    async def order(self, account: str, client_order_id: str) -> Told:
        async with self.db.read() as tx:
            found = await find_order(tx, account, client_order_id)
        assert found is not None
        return Told(found.status, found.working.filled_qty, found.filled_value, found.reason)

    async def account(self, account: str) -> PaperAccount:
        async with self.db.read() as tx:
            told = await load_account(tx, account)
        async with self.db.begin() as tx:
            book = (await lock_accounts(tx, [account], self.market.mark_of, START_US)).books[account]
        assert told.cash == book.cash
        return book


def holding_of(book: PaperAccount, symbol: str) -> Holding:
    """The holding, or an empty one."""
    return book.holdings.get(symbol, EMPTY)
