"""What the contract suite stands on: a broker, and what a test may do to the world behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Protocol

from paiid.brokers import Broker, BrokerActivity, BrokerOrder, BrokerOrderView
from paiid.domain.calendar import eastern_date
from paiid.domain.corporate import CorporateAction
from paiid.domain.orders import Leg, OrderStatus, PositionIntent, StopLoss, TakeProfit
from tests.contract.able_fakes import AbleFake
from tests.fakes import FakeBroker, waits_for
from tests.paper_live import DEADLINE_S, SET_STATUS, GatedDatabase, Street, found, order, until

S = DEADLINE_S
D = Decimal
C100, C105 = "AAPL401221C00100000", "AAPL401221C00105000"
DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Manners:
    """In what brokers differ and no capability says so, for nothing that we do depends on it."""

    ids_are_unique: bool = True
    """It takes one of our ids once. Where it takes it again, only that we never send one twice stands against a second
    order."""
    names_exits: bool = True
    """What hangs on an order has a name that we can look it up by."""
    tells_blocks: bool = True
    """Of an account that is blocked it says so before an order is refused."""
    tells_what_has_ended: bool = False
    """A reader of updates that comes back is also told what has ended since its cursor."""
    activities_come_overnight: bool = False
    """They are told the next day, without the symbol and what a share was paid."""


class Stage(Protocol):
    """A broker with the account `me`, and the one, the same or another, that has `bob`."""

    broker: Broker
    manners: Manners
    own_accounts: frozenset[str]
    """Those that the broker has by itself."""

    def of(self, account: str) -> Broker:
        """The broker that has this account."""

    def beginnings(self) -> int:
        """How often the stream of an account says that it begins, for one who begins to read now."""

    async def next_day(self) -> None:
        """The trading day ends, and the next one begins."""

    async def settle(self, view: BrokerOrderView) -> None:
        """Until the order may be replaced: brokers that pass it on to an exchange refuse that before."""

    async def execute(self, view: BrokerOrderView, qty: int, price: str) -> None:
        """A print of this size at this price; the order is a limit order that the price suits, or a stop."""

    async def block(self, account: str) -> None:
        """Nothing may be placed in the account any more."""

    def speechless(self, account: str) -> AbstractAsyncContextManager[None]:
        """Meanwhile the broker takes orders for this account but does not answer."""

    async def execute_spread(self, view: BrokerOrderView, units: int, prices: tuple[str, ...]) -> None:
        """A print of each leg at its price, for so many units; the spread's limit suits them."""

    def quote(self, symbol: str, price: str) -> None:
        """The market shows this symbol at about this price, but nothing of it can be had."""

    async def pay_dividend(self, account: str, symbol: str, amount: str) -> None:
        """Who holds the stock is paid so much a share, and it has been booked."""


class FakeStage:
    manners = Manners()

    def __init__(self, broker: FakeBroker | None = None) -> None:
        self.broker = broker or AbleFake()
        self.own_accounts = frozenset(one.number for one in self.broker.own)

    def of(self, account: str) -> Broker:
        return self.broker

    def beginnings(self) -> int:
        return 1

    async def next_day(self) -> None:
        self.broker.later_us += DAY_US

    async def settle(self, view: BrokerOrderView) -> None:
        """At once."""

    async def execute(self, view: BrokerOrderView, qty: int, price: str) -> None:
        self.broker.fill(view.broker_order_id, qty, price)

    async def block(self, account: str) -> None:
        self.broker.blocked.add(account)

    @asynccontextmanager
    async def speechless(self, account: str) -> AsyncIterator[None]:
        before, event = self.broker.default, asyncio.Event()
        self.broker.default = waits_for(event)
        yield
        self.broker.default = before
        event.set()

    async def execute_spread(self, view: BrokerOrderView, units: int, prices: tuple[str, ...]) -> None:
        self.broker.fill_spread(view.broker_order_id, units, prices)

    def quote(self, symbol: str, price: str) -> None:
        """It knows no market."""

    async def pay_dividend(self, account: str, symbol: str, amount: str) -> None:
        held = self.broker.positions[account][symbol]
        number = len(self.broker.activities)
        self.broker.act(
            BrokerActivity(
                account,
                f"div-{number}",
                "dividend",
                symbol,
                Decimal(0),
                Decimal(amount),
                held * Decimal(amount),
                1_900_000_000_000_000 + number,
                "a dividend",
            )
        )


class StreetStage:
    """A broker that trades on a street, whose market is in the test's hand and whose venue keeps books in `db`."""

    manners = Manners()

    def __init__(
        self, street: Street, broker: Broker, db: GatedDatabase, own_accounts: frozenset[str] = frozenset()
    ) -> None:
        self._street, self._db = street, db
        self.broker = broker
        self.own_accounts = own_accounts

    def of(self, account: str) -> Broker:
        return self.broker

    def beginnings(self) -> int:
        return 1

    async def next_day(self) -> None:
        self._street.market.hours.roll_us = self._street.clock.now_us()

    async def settle(self, view: BrokerOrderView) -> None:
        """At once."""

    async def execute(self, view: BrokerOrderView, qty: int, price: str) -> None:
        at = Decimal(price)
        before = await now(self.broker, view)
        far = str(at + 1) if view.side == "sell" else str(at - 1)
        bid, ask = (far, price) if view.side == "buy" else (price, far)
        self._street.show(bid, ask, qty, symbol=view.symbol)
        await self._filled(view, before.filled_qty + qty)
        self._street.show("99.00", "101.00", symbol=view.symbol)

    async def _filled(self, view: BrokerOrderView, qty: Decimal) -> None:
        async def ask() -> bool:
            return (await now(self.broker, view)).filled_qty >= qty

        await until(ask)

    async def block(self, account: str) -> None:
        async with self._db.begin() as tx:
            await tx.execute(SET_STATUS, {"b_number": account, "status": "blocked"})

    @asynccontextmanager
    async def speechless(self, account: str) -> AsyncIterator[None]:
        self._db.gate.clear()
        yield
        self._db.gate.set()

    async def execute_spread(self, view: BrokerOrderView, units: int, prices: tuple[str, ...]) -> None:
        before = await now(self.broker, view)
        for leg, price in zip(view.legs, prices, strict=True):
            self._street.show(price, price, units * (leg.ratio_qty or 1), symbol=leg.symbol)
        await self._filled(view, before.filled_qty + units)

    def quote(self, symbol: str, price: str) -> None:
        self._street.show(price, price, 0, symbol=symbol)

    async def pay_dividend(self, account: str, symbol: str, amount: str) -> None:
        await self._book_dividend(self.broker, account, symbol, amount)

    async def _book_dividend(self, books: Broker, account: str, symbol: str, amount: str) -> None:
        """Until it is told in these books."""
        hours, count = self._street.market.hours, len(await books.fetch_activities(account, 0, S))
        now_us = self._street.clock.now_us()
        ends = eastern_date(now_us + DAY_US)
        self._street.market.actions = [CorporateAction(symbol, ends, "dividend", Decimal(amount))]
        hours.roll_us = now_us

        async def booked() -> bool:
            return len(await books.fetch_activities(account, 0, S)) > count

        await until(booked)


async def now(broker: Broker, view: BrokerOrderView) -> BrokerOrderView:
    """The order as it is: looked up by the broker's id, which exits and legs have too."""
    told = await broker.fetch_order_by_id(view.account_number, view.broker_order_id, S)
    assert told is not None
    return told


async def has_status(
    broker: Broker, client_order_id: str, status: OrderStatus, account: str = "me"
) -> BrokerOrderView:
    """The order, once it has this status: what was asked for may take the broker a moment."""

    async def ask() -> BrokerOrderView | None:
        view = await found(broker, client_order_id, account)
        # What has ended some other way will not end again.
        over = view.status not in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)
        return view if over or view.status == status else None

    view: BrokerOrderView = await until(ask)
    assert view.status == status
    return view


async def canceled(stage: Stage, view: BrokerOrderView) -> BrokerOrderView:
    """Cancel the order, and the order once that is done."""
    await stage.of(view.account_number).cancel(view.account_number, view.broker_order_id, S)

    async def ask() -> BrokerOrderView | None:
        told = await now(stage.of(view.account_number), view)
        working = (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.HELD)
        return None if told.status in working else told

    ended: BrokerOrderView = await until(ask)
    assert ended.status == OrderStatus.CANCELED
    return ended


def sale(
    stage: Stage, name: str, qty: int, price: str, intent: PositionIntent = "sell_to_close"
) -> BrokerOrder:
    """A limit order for the day to sell; what it does to the position is said where that is needed."""
    return said(stage, order(name, "sell", qty, price, tif="day"), intent)


def said(stage: Stage, asked: BrokerOrder, intent: PositionIntent) -> BrokerOrder:
    """The order with what it does to the position, where the broker has to be told."""
    return replace(asked, position_intent=intent) if stage.broker.capabilities.needs_intent else asked


def bracket(name: str, qty: int = 10) -> BrokerOrder:
    """A purchase at 100 with exits at 110 and 95."""
    return replace(
        order(name, qty=qty),
        order_class="bracket",
        take_profit=TakeProfit(D(110)),
        stop_loss=StopLoss(D(95)),
    )


def oco(stage: Stage, name: str, qty: int = 10) -> BrokerOrder:
    """The exits of a long position."""
    exits = replace(order(name, "sell", qty, "110"), order_class="oco", stop_loss=StopLoss(D(95)))
    return said(stage, exits, "sell_to_close")


def spread(stage: Stage, name: str = "s", limit: str = "2.00", qty: int = 3) -> BrokerOrder:
    """A bull call spread at a debit."""
    stage.quote(C100, "5.00")
    stage.quote(C105, "2.00")
    legs = (Leg(C100, "buy", 1, "buy_to_open"), Leg(C105, "sell", 1, "sell_to_open"))
    return replace(order(name, "buy", qty, limit), order_class="mleg", legs=legs)
