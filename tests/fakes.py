"""Stand-ins that keep the real thing's contract: a broker that does as it is told, and a clock in a test's hand."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from paiid.brokers import (
    BrokerAccount,
    BrokerExecution,
    BrokerOrder,
    BrokerOrderView,
    BrokerPosition,
    BrokerRejected,
    BrokerUpdate,
    Capabilities,
    OutcomeUnknown,
)
from paiid.domain.orders import OrderStatus
from paiid.domain.paper_account import EMPTY, Holding, trade

Script = Callable[["FakeBroker", BrokerOrder], Awaitable[BrokerOrderView]]


async def accepts(broker: "FakeBroker", order: BrokerOrder) -> BrokerOrderView:
    """A plain yes."""
    return broker.place(order)


def rejects(code: str = "insufficient_buying_power") -> Script:
    """A definite no; nothing is placed."""

    async def script(broker: "FakeBroker", order: BrokerOrder) -> BrokerOrderView:
        raise BrokerRejected(code, "refused by the script")

    return script


def raises(error: BaseException, *, placed: bool) -> Script:
    """Raises; the order is there, or is not."""

    async def script(broker: "FakeBroker", order: BrokerOrder) -> BrokerOrderView:
        if placed:
            broker.place(order)
        raise error

    return script


def loses_answer(*, placed: bool) -> Script:
    """The classic: a time-out after which nobody knows."""
    return raises(OutcomeUnknown("no answer in time"), placed=placed)


def slow(seconds: float) -> Script:
    """A yes that takes its time."""

    async def script(broker: "FakeBroker", order: BrokerOrder) -> BrokerOrderView:
        await asyncio.sleep(seconds)
        return broker.place(order)

    return script


def waits_for(event: asyncio.Event) -> Script:
    """A yes once the test says so."""

    async def script(broker: "FakeBroker", order: BrokerOrder) -> BrokerOrderView:
        await event.wait()
        return broker.place(order)

    return script


class FakeBroker:
    """A broker in memory. Each submit takes the next script, or `default`; every call is remembered."""

    capabilities = Capabilities(
        asset_classes=frozenset({"stock"}),
        order_types=frozenset({"market", "limit", "stop"}),
        times_in_force=frozenset({"day", "gtc", "ioc", "fok"}),
        fractional=False,
        short_selling=True,
        own_stop=False,
        lists_end_with_day=False,
    )
    lookup_lag_s = 0.0
    refusal_lookup_delay_s = 0.0

    def __init__(self, name: str = "paper") -> None:
        self.name = name
        self.default: Script = accepts
        self.scripts: deque[Script] = deque()
        self.submitted: list[BrokerOrder] = []
        self.canceled: list[str] = []
        self.looked_up: list[str] = []
        self.orders: dict[str, BrokerOrderView] = {}
        self.executions: list[BrokerExecution] = []
        self.positions: dict[str, dict[str, Decimal]] = {}
        self.blocked: set[str] = set()
        """Account numbers in which nothing may be placed."""
        self.hidden = False
        """True: look-ups do not see anything, as with a lagging broker."""
        self.lookup_error: Exception | None = None
        self.cancel_error: Exception | None = None
        self._holdings: dict[tuple[str, str], Holding] = {}
        self._updates: list[BrokerUpdate] = []
        self._news = asyncio.Event()
        self._count = 0

    # -- the test's side ----------------------------------------------------------------------------

    def place(self, order: BrokerOrder) -> BrokerOrderView:
        """Put the order on the books, as a broker that accepts it."""
        key = (order.account_number, order.client_order_id)
        if any((one.account_number, one.client_order_id) == key for one in self.orders.values()):
            raise OutcomeUnknown("client_order_id must be unique")
        if order.account_number in self.blocked:
            raise BrokerRejected("account_blocked", "the account is blocked")
        self._count += 1
        view = BrokerOrderView(
            account_number=order.account_number,
            broker_order_id=f"fake-{self._count}",
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            qty=order.qty,
            type=order.type,
            time_in_force=order.time_in_force,
            limit_price=order.limit_price,
            stop_price=order.stop_price,
            status=OrderStatus.NEW,
            filled_qty=Decimal(0),
            filled_avg_price=None,
            submitted_at_us=1_800_000_000_000_000 + self._count,
            updated_at_us=1_800_000_000_000_000 + self._count,
        )
        self.orders[view.broker_order_id] = view
        return view

    def fill(self, broker_order_id: str, qty: Decimal | str, price: Decimal | str) -> BrokerUpdate:
        """Execute a part, keep the books, and tell it on the update stream."""
        view = self.orders[broker_order_id]
        amount, at = Decimal(qty), Decimal(price)
        filled = view.filled_qty + amount
        value = (view.filled_avg_price or Decimal(0)) * view.filled_qty + amount * at
        status = OrderStatus.FILLED if filled >= view.qty else OrderStatus.PARTIALLY_FILLED
        view = replace(view, filled_qty=filled, filled_avg_price=value / filled, status=status)
        self.orders[broker_order_id] = view
        held = self.positions.setdefault(view.account_number, {})
        held[view.symbol] = held.get(view.symbol, Decimal(0)) + (amount if view.side == "buy" else -amount)
        spot = (view.account_number, view.symbol)
        self._holdings[spot] = trade(self._holdings.get(spot, EMPTY), view.side, amount, at)
        self._count += 1
        execution = BrokerExecution(
            account_number=view.account_number,
            execution_id=f"print-{self._count}",
            broker_order_id=broker_order_id,
            symbol=view.symbol,
            side=view.side,
            qty=amount,
            price=at,
            fee=Decimal(0),
            executed_at_us=1_800_000_000_000_000 + self._count,
        )
        self.executions.append(execution)
        return self.tell(view, execution)

    def end(self, broker_order_id: str, status: OrderStatus, reason: str | None = None) -> BrokerUpdate:
        """Bring an order to a terminal status and tell it."""
        view = replace(self.orders[broker_order_id], status=status, reason=reason)
        self.orders[broker_order_id] = view
        return self.tell(view, None)

    def tell(self, view: BrokerOrderView, execution: BrokerExecution | None) -> BrokerUpdate:
        """Put an update on the stream."""
        update = BrokerUpdate(len(self._updates) + 1, view, execution)
        self._updates.append(update)
        self._news.set()
        return update

    # -- the broker's side --------------------------------------------------------------------------

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        self.submitted.append(order)
        script = self.scripts.popleft() if self.scripts else self.default
        try:
            async with asyncio.timeout(timeout_s):
                return await script(self, order)
        except TimeoutError:
            raise OutcomeUnknown("no answer in time") from None

    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        self.looked_up.append(client_order_id)
        if self.lookup_error is not None:
            raise self.lookup_error
        if self.hidden:
            return None
        mine = [o for o in self.orders.values() if o.account_number == account_number]
        return next((o for o in mine if o.client_order_id == client_order_id), None)

    async def cancel(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        self.canceled.append(broker_order_id)
        if self.cancel_error is not None:
            raise self.cancel_error
        view = self.orders.get(broker_order_id)
        if view is None or view.account_number != account_number:
            raise BrokerRejected("not_found", "there is no such order in this account")
        if view.status not in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED):
            raise BrokerRejected("not_cancelable", "the order is in a terminal state")
        self.end(broker_order_id, OrderStatus.CANCELED)
        return self.orders[broker_order_id]

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        return [
            o
            for o in self.orders.values()
            if o.account_number == account_number
            and o.status in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)
        ]

    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        return [
            e for e in self.executions if e.account_number == account_number and e.executed_at_us >= after_us
        ]

    async def fetch_positions(self, account_number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        held = self.positions.get(account_number, {})
        kept = {symbol: self._holdings.get((account_number, symbol), EMPTY) for symbol in held}
        return [
            BrokerPosition(s, q, abs(kept[s].avg_entry_price) or Decimal(1))
            for s, q in sorted(held.items())
            if q != 0
        ]

    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        cash = Decimal(100_000)
        for one in self.executions:
            if one.account_number == account_number:
                cash += one.qty * one.price * (-1 if one.side == "buy" else 1)
        return BrokerAccount(account_number, cash, "blocked" if account_number in self.blocked else "active")

    async def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        at = after
        while True:
            while at < len(self._updates):
                at += 1
                yield self._updates[at - 1]
            self._news.clear()
            await self._news.wait()

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""


class FakeClock:
    """Time that moves only when a test or a sleep moves it."""

    def __init__(self, start_us: int = 1_800_000_000_000_000) -> None:
        self._us = start_us
        self._bytes = 0

    def now_us(self) -> int:
        return self._us

    def monotonic_s(self) -> float:
        return self._us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        self._us += int(seconds * 1_000_000)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._us += int(seconds * 1_000_000)

    def random_bytes(self, count: int) -> bytes:
        self._bytes += 1
        return self._bytes.to_bytes(8, "big").rjust(count, b"\0")[-count:]
