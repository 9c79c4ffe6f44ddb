"""Paper brokers that run by themselves in real time, over a market in a test's hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, select, update

from paiid.brokers import Broker, BrokerOrder, BrokerOrderView
from paiid.brokers.paper import PaperBroker
from paiid.brokers.paper.queries import load_events
from paiid.brokers.paper.records import order_from_row
from paiid.brokers.paper.store import enter_accounts
from paiid.core.clock import SystemClock
from paiid.core.db import CommitUnknown, Database, DatabaseUnavailable, make_database, statement
from paiid.core.db.api import OPERATION_BUDGET_S, BatchFn, I, R, Tx
from paiid.core.db.writer import Writer
from paiid.core.leases import Leases
from paiid.core.tables import paper_accounts, paper_orders
from paiid.domain.instruments import multiplier_of
from paiid.domain.orders import TERMINAL_STATUSES, OrderType, Side, TimeInForce
from paiid.domain.quotes import Quote
from paiid.domain.terms import PLAIN, AccountTerms
from tests.paper_world import Market

PATIENCE_S = 20.0
"""Only guards against hanging."""
DEADLINE_S = 5.0
SET_STATUS = statement(
    update(paper_accounts).where(paper_accounts.c.number == bindparam("b_number")), columns=["status"]
)

_ALL_ORDERS = statement(select(paper_orders))


def order(
    name: str,
    side: Side = "buy",
    qty: int = 10,
    price: str | None = "100.00",
    *,
    account: str = "me",
    symbol: str = "AAPL",
    type: OrderType = "limit",
    tif: TimeInForce = "gtc",
) -> BrokerOrder:
    """A limit order, unless told otherwise."""
    at = None if price is None else Decimal(price)
    return BrokerOrder(
        account_number=account,
        client_order_id=name,
        symbol=symbol,
        side=side,
        qty=Decimal(qty),
        type=type,
        time_in_force=tif,
        limit_price=at if type == "limit" else None,
        stop_price=at if type == "stop" else None,
    )


async def until(told: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is a yes of some kind; that answer."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await told()
            if answer:
                return answer
            await asyncio.sleep(0.01)


class GatedDatabase:
    """A database that a test can hold up (while `gate` is clear, writes wait before they begin), cut off, or
    make lose the answers to its next commits. It counts its write transactions."""

    def __init__(self, db: Database) -> None:
        self.dialect = db.dialect
        self.gate = asyncio.Event()
        self.gate.set()
        self.cut = False
        self.answers_to_lose = 0
        self.least_s = 10.0
        """How long an operation may take at least: on a busy machine the first statements of a connection take longer than the
        service would wait."""
        self.begun = 0
        self._db = db
        self._writer = Writer(self.begin)

    async def start(self) -> None:
        await self._db.start()

    async def stop(self) -> None:
        self.gate.set()
        await self._writer.stop()
        await self._db.stop()

    async def ping(self) -> None:
        await self._db.ping()

    @asynccontextmanager
    async def read(self, **how: Any) -> AsyncIterator[Tx]:
        self._refuse_when_cut()
        async with self._db.read(**self._in_time(how)) as tx:
            yield tx

    @asynccontextmanager
    async def begin(self, **how: Any) -> AsyncIterator[Tx]:
        await self.gate.wait()
        self._refuse_when_cut()
        self.begun += 1
        async with self._db.begin(**self._in_time(how)) as tx:
            yield tx
        if self.answers_to_lose > 0:
            self.answers_to_lose -= 1
            raise CommitUnknown("the test has lost the answer to this commit")

    async def commit_with(self, fn: BatchFn[I, R], item: I) -> R:
        return await self._writer.commit_with(fn, item)

    def _in_time(self, how: dict[str, Any]) -> dict[str, Any]:
        return how | {"within_s": max(self.least_s, how.get("within_s", OPERATION_BUDGET_S))}

    def _refuse_when_cut(self) -> None:
        if self.cut:
            raise DatabaseUnavailable("the test has cut the connection")


class Venue:
    """One process's paper broker with a database connection of its own."""

    def __init__(
        self, url: str, market: Market, holder: str, clock: SystemClock, terms: AccountTerms
    ) -> None:
        self.db = GatedDatabase(make_database(url, clock))
        self.leases = Leases(self.db, holder)
        self.mark_of = market.mark_of
        self.broker = PaperBroker(
            self.db, clock, market.quote_of, market.hours, self.leases, terms=terms,
            close_of=market.close_of, actions_of=market.actions_of,
        )  # fmt: skip

    async def start(self) -> None:
        """As a process starts."""
        await self.db.start()
        await self.broker.start()

    async def stop(self) -> None:
        """As a process stops; after `die` only what is left."""
        await self.broker.stop()
        await self.db.stop()

    def die(self) -> None:
        """The connection is cut: nothing is released, nothing can be done any more."""
        self.db.cut = True

    async def matches(self) -> bool:
        """Whether it has the lease."""
        return self.broker.is_matching


class Street:
    """A market, and venues over one database."""

    def __init__(self, url: str, terms: AccountTerms = PLAIN) -> None:
        self.url = url
        self.terms = terms
        self.clock = SystemClock()
        self.market = Market(clock=self.clock)
        self._stack = AsyncExitStack()
        self.show("99.00", "101.00")

    async def __aenter__(self) -> "Street":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def show(
        self, bid: str, ask: str, size: int = 10_000, *, symbol: str = "AAPL", stale: bool = False
    ) -> Quote:
        """The next quote."""
        amount = Decimal(size)
        return self.market.show(symbol, Decimal(bid), amount, Decimal(ask), amount, stale=stale)

    async def venue(self, holder: str = "one", *, runs: bool = True, matching: bool = True) -> Venue:
        """A venue; by default it runs, and is the one that matches."""
        made = Venue(self.url, self.market, holder, self.clock, self.terms)
        self._stack.push_async_callback(made.stop)
        if not runs:
            await made.db.start()
            return made
        await made.start()
        if matching:
            await until(made.matches)
        return made


async def found(broker: Broker, client_order_id: str, account: str = "me") -> BrokerOrderView:
    """An order that must be there."""
    view = await broker.fetch_order(account, client_order_id, DEADLINE_S)
    assert view is not None
    return view


async def over(broker: Broker, client_order_id: str, account: str = "me") -> BrokerOrderView:
    """The order once nothing can happen to it any more."""

    async def ask() -> BrokerOrderView | None:
        view = await found(broker, client_order_id, account)
        return view if view.status not in ("NEW", "PARTIALLY_FILLED") else None

    view: BrokerOrderView = await until(ask)
    return view


async def filled(broker: Broker, client_order_id: str, qty: int, account: str = "me") -> BrokerOrderView:
    """The order once at least so much of it has filled."""

    async def ask() -> BrokerOrderView | None:
        view = await found(broker, client_order_id, account)
        return view if view.filled_qty >= qty else None

    view: BrokerOrderView = await until(ask)
    return view


async def audit(venue: Venue, accounts: Sequence[str]) -> None:
    """Add the venue's books up from its executions and events. Raises AssertionError."""
    async with venue.db.begin() as tx:
        _, books, _ = await enter_accounts(tx, accounts, venue.mark_of)
        rows = await tx.fetch(_ALL_ORDERS)
        orders = [order_from_row(row) for row in rows if row["account_number"] in accounts]
        told = await load_events(tx, 0, 1_000_000)
    assert [one.cursor for one in told] == list(range(1, len(told) + 1)), "event numbers with a hole"
    for account in accounts:
        prints = await venue.broker.fetch_executions(account, 0, DEADLINE_S)
        book = books.books[account]
        cash = Decimal(100_000)
        held: dict[str, Decimal] = {}
        for one in prints:
            sign = 1 if one.side == "buy" else -1
            cash -= sign * one.qty * one.price * multiplier_of(one.symbol) + one.fee
            held[one.symbol] = held.get(one.symbol, Decimal(0)) + sign * one.qty
        assert book.cash == cash, "cash"
        assert {s: h.qty for s, h in book.holdings.items() if h.qty} == {s: q for s, q in held.items() if q}
        mine = [one for one in orders if one.account_number == account]
        for order in mine:
            assert order.fees == sum(one.fee for one in prints if one.broker_order_id == order.id), "fees"
        for order in mine:
            of_it = [one for one in prints if one.broker_order_id == order.id]
            assert order.working.filled_qty == sum(one.qty for one in of_it) <= order.working.qty, "quantity"
            life = [one for one in told if one.order.broker_order_id == order.id]
            assert [one.execution for one in life if one.execution] == of_it, (
                "prints told otherwise than booked"
            )
            ends = [n for n, one in enumerate(life) if one.order.status in TERMINAL_STATUSES]
            assert ends in ([], [len(life) - 1]), "something happened after the end"
            assert life[-1].order == order.view(), "the last thing told is not how it is"
        working = [one for one in mine if not one.is_over]
        assert book.open_orders == len(working), "open orders"
        for symbol, holding in book.holdings.items():
            for side, qty, value in (
                ("buy", holding.open_buy_qty, holding.open_buy_value),
                ("sell", holding.open_sell_qty, holding.open_sell_value),
            ):
                these = [
                    o for o in working if (o.working.symbol, o.working.side) == (symbol, side) and o.counts
                ]
                assert qty == sum(o.working.left for o in these), "reserved shares"
                assert value == sum(o.working.left * o.reserve_price for o in these), "reserved dollars"
