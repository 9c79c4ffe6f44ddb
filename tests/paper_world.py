"""The paper venue with time and market in a test's hand: once over the pure rules, once over the real books."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Protocol

from paiid.brokers import BrokerOrder, BrokerRejected, OutcomeUnknown
from paiid.brokers.paper.accounts import load_account
from paiid.brokers.paper.book import OpenBook
from paiid.brokers.paper.desk import Desk, may_wash, request_of
from paiid.brokers.paper.fills import FillEngine, Round
from paiid.brokers.paper.queries import find_order, load_open_book
from paiid.brokers.paper.records import PaperOrder
from paiid.brokers.paper.store import enter_accounts
from paiid.core.db import Database
from paiid.core.leases import Held, Leases
from paiid.domain.calendar import Session, eastern_date, session_of
from paiid.domain.corporate import CorporateAction
from paiid.domain.money import ZERO
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus, Side
from paiid.domain.paper import (
    PaperRefused,
    Step,
    Taken,
    Working,
    after_quote,
    applied,
    decide,
    moment_of,
    take,
)
from paiid.domain.paper_account import Holding, PaperAccount
from paiid.domain.paper_checks import capabilities_of, check_order, check_wash, prepare
from paiid.domain.quotes import Quote
from paiid.domain.terms import PLAIN, AccountTerms
from tests.hand_time import HandTime

START_US = 1_800_000_000_000_000
FAR_US = START_US + 10**15
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
    """Market hours that a test opens, closes and rolls, by hand or (`session_us`) by the clock.

    `extended` says whether extended hours are on while the market is closed.
    """

    def __init__(self) -> None:
        self.never_closes = False
        self.open = True
        self.extended = False
        self.roll_us = FAR_US
        self.extended_roll_us = FAR_US
        self.session_us: tuple[int, int] | None = None

    def is_open(self, at_us: int) -> bool:
        if self.session_us is not None:
            return self.session_us[0] <= at_us < self.session_us[1]
        return self.open

    def is_extended(self, at_us: int) -> bool:
        return self.is_open(at_us) or self.extended

    def next_roll_us(self, at_us: int) -> int:
        return self.roll_us if at_us < self.roll_us else self.roll_us + 86_400_000_000

    def previous_roll_us(self, at_us: int) -> int:
        return self.roll_us if at_us >= self.roll_us else self.roll_us - 86_400_000_000

    def trading_day(self, at_us: int) -> date:
        return eastern_date(self.next_roll_us(at_us))

    def extended_end_us(self, at_us: int) -> int:
        return (
            self.extended_roll_us if at_us < self.extended_roll_us else self.extended_roll_us + 86_400_000_000
        )

    def coming_session(self, at_us: int) -> Session:
        opens, closes = self.session_us or (START_US, self.roll_us)
        return Session(eastern_date(START_US), opens, closes, early=False, certain=True)

    def sessions(self, first: date, last: date) -> list[Session]:
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return [session for day in days if (session := session_of(day)) is not None]


@dataclass
class Market:
    """Quotes, hours and time."""

    clock: HandClock = field(default_factory=HandClock)
    hours: HandHours = field(default_factory=HandHours)
    quotes: dict[str, Quote] = field(default_factory=dict)
    count: int = 0
    closes: dict[str, Decimal] = field(default_factory=dict)
    """Closing prices, of whatever day."""
    actions: list[CorporateAction] = field(default_factory=list)

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

    async def close_of(self, symbol: str, roll_us: int) -> Decimal | None:
        return self.closes.get(symbol)

    async def actions_of(self, symbols: Sequence[str], ex_date: date) -> Sequence[CorporateAction]:
        return [one for one in self.actions if one.symbol in symbols and one.ex_date == ex_date]

    def mark_of(self, symbol: str, qty: Decimal) -> Decimal | None:
        quote = self.quotes.get(symbol)
        price = ZERO if quote is None else quote.ask if qty < 0 else quote.bid
        return price if price > 0 else None


@dataclass(frozen=True)
class Told:
    """An order as the venue tells it."""

    status: OrderStatus
    filled_qty: Decimal
    filled_value: Decimal
    reason: str | None
    stop_price: Decimal | None = None
    fees: Decimal = ZERO


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
    exempt: bool
    status: OrderStatus = OrderStatus.NEW
    reason: str | None = None
    fees: Decimal = ZERO

    @property
    def value(self) -> Decimal:
        return self.working.filled_value


@dataclass(frozen=True)
class Print:
    """One execution: its order, the quote it was made on, what was held of the symbol before, and when."""

    order: PureOrder
    qty: Decimal
    price: Decimal
    quote: Quote
    held_before: Decimal
    at_us: int
    taken_before: Decimal
    fee: Decimal


class PureVenue:
    """The rules of `domain/paper` and nothing else, in lists."""

    def __init__(self, market: Market, terms: AccountTerms = PLAIN) -> None:
        self.market = market
        self.terms = terms
        self.orders: list[PureOrder] = []
        self.accounts: dict[str, PaperAccount] = {}
        self.taken: dict[str, Taken] = {}
        self.prints: list[Print] = []

    async def account(self, account: str) -> PaperAccount:
        book = self.accounts.get(account)
        if book is None:
            book = PaperAccount(self.terms.starting_cash, {}, self.market.mark_of, terms=self.terms)
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
            hours = self.market.hours
            check_order(request_of(order), capabilities_of(never_closes=hours.never_closes))
            quote = self.market.quote_of(order.symbol)
            working, price = prepare(request_of(order), quote, hours, now, LATENCY_US)
            self._check_wash(order)
            (await self.account(order.account_number)).place(working, price, order.position_intent)
        except PaperRefused as refused:
            raise BrokerRejected(refused.code, refused.message) from refused
        name, exempt = order.client_order_id, not may_wash(order)
        self.orders.append(PureOrder(order.account_number, name, working, price, exempt))

    def _check_wash(self, order: BrokerOrder) -> None:
        opposite: Side = "sell" if order.side == "buy" else "buy"
        for one in self.orders:
            key = (one.account, one.working.symbol, one.working.side)
            others = key == (order.account_number, order.symbol, opposite)
            if others and may_wash(order) and not one.exempt and one.status not in TERMINAL_STATUSES:
                check_wash(order.side, order.limit_price, one.working.limit_price, one.name)

    async def cancel(self, account: str, client_order_id: str) -> None:
        order = self.find(account, client_order_id)
        if order.status in TERMINAL_STATUSES:
            raise BrokerRejected("not_cancelable", order.status.value)
        step = Step(ends=OrderStatus.CANCELED, reason="canceled_by_user")
        self._settle(await self.account(order.account), order, step)

    async def look(self) -> None:
        for order in sorted(self.orders, key=lambda one: one.working.live_at_us):
            if order.status not in TERMINAL_STATUSES:
                await self._look(order)

    async def _look(self, order: PureOrder) -> None:
        working = order.working
        quote = self.market.quote_of(working.symbol)
        taken = after_quote(self.taken.get(working.symbol), quote) if quote else None
        book = await self.account(order.account)
        step = self._means(book, order, self._decide(working, quote, taken, book.terms))
        held = book.holding(working.symbol).qty
        fee = self._settle(book, order, step)
        if taken is not None and (step.qty > 0 or step.triggers):
            self._take(taken, working, step.qty)
        if step.qty > 0:
            assert quote is not None
            at, before = self.market.clock.us, working.filled_qty
            self.prints.append(Print(order, step.qty, step.price, quote, held, at, before, fee))

    # What a test may spoil on purpose.

    def _settle(self, book: PaperAccount, order: PureOrder, step: Step) -> Decimal:
        fee = book.settle(order.working, step, order.reserve)
        order.working = applied(order.working, step, order.reserve)
        order.fees += fee
        if step.qty > 0:
            order.status = OrderStatus.PARTIALLY_FILLED
        if step.ends is not None:
            order.status, order.reason = step.ends, step.reason
        return fee

    def _decide(
        self, working: Working, quote: Quote | None, taken: Taken | None, terms: AccountTerms
    ) -> Step:
        return decide(working, quote, taken, moment_of(self.market.hours, self.market.clock.us), terms)

    def _means(self, book: PaperAccount, order: PureOrder, step: Step) -> Step:
        return book.within_means(order.working, step, order.reserve, self.market.clock.us)

    def _take(self, taken: Taken, working: Working, qty: Decimal) -> None:
        self.taken[working.symbol] = take(taken, working.side, qty)

    async def order(self, account: str, client_order_id: str) -> Told:
        found = self.find(account, client_order_id)
        working = found.working
        return Told(
            found.status, working.filled_qty, found.value, found.reason, working.stop_price, found.fees
        )


class RealVenue:
    """The venue's own desk, book and fill engine over a database, stepped by hand."""

    def __init__(self, market: Market, db: HandTime, held: Held, terms: AccountTerms) -> None:
        self.terms = terms
        self.market = market
        self.db = db
        self.held = held
        self.desk = Desk(market.clock, market.quote_of, market.hours, LATENCY_US // 1000, terms)
        self.engine = FillEngine(market.clock, market.quote_of, market.hours, self.desk)
        self.book = OpenBook(market.quote_of)
        self._seq = 0

    @classmethod
    async def open(cls, market: Market, database: Database, terms: AccountTerms = PLAIN) -> "RealVenue":
        """Over an empty database, in the market's time; this venue holds the lease."""
        db = HandTime(database, market.clock)
        held = await Leases(db, "hand").take("paper-matching", 1_000_000)
        assert held is not None
        return cls(market, db, held, terms)

    async def submit(self, order: BrokerOrder) -> None:
        try:
            check_order(request_of(order), capabilities_of(never_closes=self.market.hours.never_closes))
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
        candidates = self.book.candidates(moment_of(self.market.hours, clock.us))
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
        working = found.working
        return Told(
            found.status,
            working.filled_qty,
            found.filled_value,
            found.reason,
            working.stop_price,
            found.fees,
        )

    async def account(self, account: str) -> PaperAccount:
        async with self.db.read() as tx:
            told = await load_account(tx, account, self.terms)
        async with self.db.begin() as tx:
            _, locked, _ = await enter_accounts(tx, [account], self.market.mark_of, terms=self.terms)
        book = locked.books[account]
        assert told.cash == book.cash
        return book


def holding_of(book: PaperAccount, symbol: str) -> Holding:
    """The holding, or an empty one."""
    return book.holding(symbol)
