"""A stand-in that keeps the real thing's contract: a broker that does as it is told."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from paiid.brokers import (
    BrokerAccount,
    BrokerActivity,
    BrokerExecution,
    BrokerOrder,
    BrokerOrderView,
    BrokerPosition,
    BrokerRejected,
    BrokerReplace,
    BrokerUpdate,
    Capabilities,
    OutcomeUnknown,
)
from paiid.domain.capabilities import Holds
from paiid.domain.instruments import multiplier_of
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus
from paiid.domain.paper_account import EMPTY, Holding, trade
from tests.fake_groups import after, children_of, group_of, in_place_of, legs_in, role_of

_WORKING = (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.HELD)
_DAYS = frozenset({"day", "gtc"})
_GROUPS = frozenset({"bracket", "oto", "oco"})
Script = Callable[["FakeBroker", BrokerOrder], Awaitable[BrokerOrderView]]


AT_US = 1_800_000_000_000_000
"""When its first order is taken, unless a test moves it by `later_us`."""


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
        rows=(
            Holds(
                "stock",
                order_classes=frozenset({"simple"}),
                order_types=frozenset({"market", "limit", "stop", "stop_limit", "trailing_stop"}),
                times_in_force=frozenset({"day", "gtc", "ioc", "fok"}),
            ),
            Holds("stock", _GROUPS, frozenset({"market", "limit", "stop", "stop_limit"}), _DAYS),
            Holds("stock_notional", frozenset({"simple"}), frozenset({"market"}), frozenset({"day"})),
            Holds("option", frozenset({"simple"}), frozenset({"market", "limit"}), _DAYS),
            Holds("option_spread", frozenset({"mleg"}), frozenset({"market", "limit"}), _DAYS),
        ),
        short_selling=True,
        own_stop=False,
        lists_end_with_day=False,
        replaceable=frozenset({"simple", "bracket", "oco", "mleg"}),
    )
    lookup_lag_s = 0.0
    refusal_lookup_delay_s = 0.0
    simulated = True
    replays_updates = True
    budget_left = None

    def __init__(self, name: str = "paper") -> None:
        self.name = name
        self.order_free: float | None = None
        """Seconds until its budget has a place for an order; None: now."""
        self.close_free: float | None = None
        """The same for an order that closes."""
        self.default: Script = accepts
        self.scripts: deque[Script] = deque()
        self.submitted: list[BrokerOrder] = []
        self.canceled: list[str] = []
        self.replaced: list[tuple[str, BrokerReplace]] = []
        self.looked_up: list[str] = []
        self.orders: dict[str, BrokerOrderView] = {}
        self.executions: list[BrokerExecution] = []
        self.activities: list[BrokerActivity] = []
        self.positions: dict[str, dict[str, Decimal]] = {}
        self.blocked: set[str] = set()
        """Account numbers in which nothing may be placed."""
        self.hidden = False
        """True: neither look-ups nor lists see anything, as with a lagging broker."""
        self.lookup_error: Exception | None = None
        self.cancel_error: Exception | None = None
        self.replace_error: Exception | None = None
        self.replace_answer_lost = False
        """True: orders are replaced, but nobody is told so in time."""
        self.own: list[BrokerAccount] = []
        """Accounts that are there by themselves."""
        self.suspended: set[str] = set()
        """Account numbers whose own stop is set."""
        self.stop_error: Exception | None = None
        self.cash_before: dict[str, Decimal] = {}
        """Account number -> dollars before everything told here; 100,000 where it is not said."""
        self.terms: dict[str, tuple[bool, int]] = {}
        """Account number -> (margin, options level); a cash account with spreads where it is not said."""
        self.later_us = 0
        """How much later than at first it is now: hours pass without anybody waiting."""
        self.looked_up_by_id: list[str] = []
        self.order_page = 500
        """How many orders are on a page of `fetch_orders_since`."""
        self._holdings: dict[tuple[str, str], Holding] = {}
        self._updates: list[BrokerUpdate] = []
        self._news = asyncio.Event()
        self._count = 0

    # -- the test's side ----------------------------------------------------------------------------

    def place(self, order: BrokerOrder) -> BrokerOrderView:
        """Put the order and what hangs on it on the books, as a broker that accepts it."""
        self._refuse_used(order.account_number, order.client_order_id)
        if order.account_number in self.blocked:
            raise BrokerRejected("account_blocked", "the account is blocked")
        if order.account_number in self.suspended:
            raise BrokerRejected("account_suspended", "new orders are rejected by user request")
        if order.order_class == "bracket" and (order.take_profit is None or order.stop_loss is None):
            raise BrokerRejected("order_class_fields", "a bracket has both exits")
        view = self._enter(
            BrokerOrderView(
                account_number=order.account_number,
                broker_order_id="",
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
                submitted_at_us=0,
                updated_at_us=0,
                notional=order.notional,
                trail_price=order.trail_price,
                trail_percent=order.trail_percent,
                extended_hours=order.extended_hours,
                order_class=order.order_class,
                group_role=role_of(order),
                position_intent=order.position_intent,
            )
        )
        for child in children_of(order, view):
            self._enter(child)
        return self.view(view.broker_order_id)

    def view(self, broker_order_id: str) -> BrokerOrderView:
        """The order as it is, with what hangs on it."""
        found = self.orders[broker_order_id]
        return replace(found, legs=legs_in(self.orders, found))

    def _refuse_used(self, account_number: str, client_order_id: str) -> None:
        key = (account_number, client_order_id)
        if any((one.account_number, one.client_order_id) == key for one in self.orders.values()):
            raise OutcomeUnknown("client_order_id must be unique")

    def _enter(self, view: BrokerOrderView) -> BrokerOrderView:
        self._count += 1
        at = AT_US + self.later_us + self._count
        view = replace(view, broker_order_id=f"fake-{self._count}", submitted_at_us=at, updated_at_us=at)
        self.orders[view.broker_order_id] = view
        return view

    def fill(self, broker_order_id: str, qty: Decimal | str, price: Decimal | str) -> BrokerUpdate:
        """Execute a part, keep the books, and tell it on the update stream; then what it does to the group."""
        amount, at = Decimal(qty), Decimal(price)
        view = self._filled(broker_order_id, amount, at)
        held = self.positions.setdefault(view.account_number, {})
        held[view.symbol] = held.get(view.symbol, Decimal(0)) + (amount if view.side == "buy" else -amount)
        spot = (view.account_number, view.symbol)
        before = self._holdings.get(spot, EMPTY)
        self._holdings[spot] = trade(before, view.side, amount, at, multiplier_of(view.symbol))
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
            executed_at_us=AT_US + self.later_us + self._count,
        )
        self.executions.append(execution)
        told = self.tell(self.view(broker_order_id), execution)
        self._follow(view, amount)
        return told

    def fill_spread(self, broker_order_id: str, units: int, prices: Sequence[Decimal | str]) -> BrokerUpdate:
        """Execute whole units of a spread, each leg at its price."""
        legs = legs_in(self.orders, self.orders[broker_order_id])
        net = sum(
            (leg.ratio_qty or 1) * Decimal(price) * (1 if leg.side == "buy" else -1)
            for leg, price in zip(legs, prices, strict=True)
        )
        self._filled(broker_order_id, Decimal(units), Decimal(net))
        told = self.tell(self.view(broker_order_id), None)
        for leg, price in zip(legs, prices, strict=True):
            self.fill(leg.broker_order_id, Decimal(units * (leg.ratio_qty or 1)), price)
        return told

    def _filled(self, broker_order_id: str, amount: Decimal, at: Decimal) -> BrokerOrderView:
        view = self.orders[broker_order_id]
        filled = view.filled_qty + amount
        value = (view.filled_avg_price or Decimal(0)) * view.filled_qty + amount * at
        done = value >= view.notional if view.qty is None and view.notional else filled >= (view.qty or 0)
        status = OrderStatus.FILLED if done else OrderStatus.PARTIALLY_FILLED
        view = replace(view, filled_qty=filled, filled_avg_price=value / filled, status=status)
        self.orders[broker_order_id] = view
        return view

    def _follow(self, changed: BrokerOrderView, filled: Decimal = Decimal(0)) -> None:
        for one in after(self.orders, changed, filled):
            self.orders[one.broker_order_id] = one
            self.tell(self.view(one.broker_order_id), None)

    def act(self, activity: BrokerActivity) -> BrokerUpdate:
        """Change an account without an order, and tell it."""
        self.activities.append(activity)
        spot = (activity.account_number, activity.symbol)
        held = self.positions.setdefault(activity.account_number, {})
        held[activity.symbol] = held.get(activity.symbol, Decimal(0)) + activity.qty
        before = self._holdings.get(spot, EMPTY)
        if activity.kind == "split":
            self._holdings[spot] = replace(before, qty=before.qty + activity.qty)
        elif activity.qty != 0:
            side = "buy" if activity.qty > 0 else "sell"
            self._holdings[spot] = trade(
                before, side, abs(activity.qty), activity.price, multiplier_of(activity.symbol)
            )
        update = BrokerUpdate(len(self._updates) + 1, None, None, activity)
        self._updates.append(update)
        self._news.set()
        return update

    def end(self, broker_order_id: str, status: OrderStatus, reason: str | None = None) -> BrokerUpdate:
        """Bring an order to a terminal status and tell it."""
        view = replace(self.orders[broker_order_id], status=status, reason=reason)
        self.orders[broker_order_id] = view
        told = self.tell(self.view(broker_order_id), None)
        self._follow(view)
        return told

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
        found = next((o for o in mine if o.client_order_id == client_order_id), None)
        return None if found is None else self.view(found.broker_order_id)

    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        self.looked_up_by_id.append(broker_order_id)
        if self.lookup_error is not None:
            raise self.lookup_error
        found = self.orders.get(broker_order_id)
        if self.hidden or found is None or found.account_number != account_number:
            return None
        return self.view(broker_order_id)

    def order_free_in_s(self, account_number: str, *, closes: bool = False) -> float | None:
        return self.close_free if closes else self.order_free

    async def fetch_accounts(self, timeout_s: float) -> Sequence[BrokerAccount]:
        return list(self.own)

    async def cancel_all(self, account_number: str, timeout_s: float) -> Mapping[str, str | None]:
        outcomes: dict[str, str | None] = {}
        for view in await self.fetch_open_orders(account_number, timeout_s):
            if view.group_role == "leg" or self.orders[view.broker_order_id].status not in _WORKING:
                continue
            try:
                await self.cancel(account_number, view.broker_order_id, timeout_s)
                outcomes[view.broker_order_id] = None
            except BrokerRejected as problem:
                outcomes[view.broker_order_id] = problem.message
        return outcomes

    async def set_own_stop(self, account_number: str, stopped: bool, timeout_s: float) -> bool:
        if self.stop_error is not None:
            raise self.stop_error
        before = account_number in self.suspended
        (self.suspended.add if stopped else self.suspended.discard)(account_number)
        return before

    async def cancel(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        self.canceled.append(broker_order_id)
        if self.cancel_error is not None:
            raise self.cancel_error
        view = self.orders.get(broker_order_id)
        if view is None or view.account_number != account_number:
            raise BrokerRejected("not_found", "there is no such order in this account")
        if view.status not in _WORKING or view.group_role == "leg":
            raise BrokerRejected("not_cancelable", "the order is in a terminal state, or a leg")
        self.end(broker_order_id, OrderStatus.CANCELED)
        return self.view(broker_order_id)

    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        self.replaced.append((broker_order_id, change))
        if self.replace_error is not None:
            raise self.replace_error
        old = self.orders.get(broker_order_id)
        if old is None or old.account_number != account_number:
            raise BrokerRejected("not_found", "there is no such order in this account")
        if old.status in TERMINAL_STATUSES or old.order_class == "oto" or old.group_role == "leg":
            raise BrokerRejected("not_replaceable", f"already in {old.status.value} state")
        self._refuse_used(account_number, change.client_order_id)
        total = old.qty if change.qty is None else change.qty
        if total is None or total <= old.filled_qty:
            raise BrokerRejected("invalid_qty", "the new total is more than what has filled")
        given = {
            name: getattr(change, name)
            for name in ("limit_price", "stop_price", "trail_price", "trail_percent", "time_in_force")
            if getattr(change, name) is not None
        }
        if change.qty in (None, old.qty) and all(getattr(old, name) == one for name, one in given.items()):
            raise BrokerRejected("nothing_to_change", "it is like that already")
        new = self._replace(old, change.client_order_id, total - old.filled_qty, given)
        if self.replace_answer_lost:
            raise OutcomeUnknown("no answer in time")
        return new

    def _replace(
        self, old: BrokerOrderView, client_order_id: str, left: Decimal, given: dict[str, object]
    ) -> BrokerOrderView:
        """The new order in the old one's place, and what becomes of those that hang on it or stand beside it."""
        others = group_of(self.orders, old)
        new = self._enter(in_place_of(old, client_order_id, left, **given))
        self._tell_replaced(old, new)
        grown = left - ((old.qty or Decimal(0)) - old.filled_qty)
        for one in others:
            parent = one.parent_broker_order_id
            if parent == old.broker_order_id:
                parent = new.broker_order_id
            if one.group_role == "leg":
                name = f"{client_order_id}.{(one.client_order_id or '').rpartition('.')[2]}"
                leg = in_place_of(one, name, left * (one.ratio_qty or 1), parent_broker_order_id=parent)
                self._tell_replaced(one, self._enter(leg))
            elif (parent, grown) != (one.parent_broker_order_id, 0):
                qty = (one.qty or Decimal(0)) + grown
                self.orders[one.broker_order_id] = replace(one, parent_broker_order_id=parent, qty=qty)
                self.tell(self.view(one.broker_order_id), None)
        return self.view(new.broker_order_id)

    def _tell_replaced(self, old: BrokerOrderView, new: BrokerOrderView) -> None:
        gone = replace(old, status=OrderStatus.REPLACED, replaced_by=new.broker_order_id)
        self.orders[old.broker_order_id] = gone
        self.tell(self.view(old.broker_order_id), None)
        self.tell(self.view(new.broker_order_id), None)

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        if self.hidden:
            return []
        return [
            self.view(o.broker_order_id)
            for o in self.orders.values()
            if o.account_number == account_number and o.status in _WORKING
        ]

    async def fetch_orders_since(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerOrderView]:
        if self.lookup_error is not None:
            raise self.lookup_error
        mine = [o for o in self.orders.values() if o.account_number == account_number]
        roots = [o for o in mine if o.submitted_at_us >= after_us and o.parent_broker_order_id is None]
        roots.sort(key=lambda one: one.submitted_at_us)
        return [self.view(one.broker_order_id) for one in roots[: self.order_page]]

    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        return [
            e for e in self.executions if e.account_number == account_number and e.executed_at_us >= after_us
        ]

    async def fetch_activities(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerActivity]:
        return [a for a in self.activities if a.account_number == account_number and a.at_us >= after_us]

    async def fetch_positions(self, account_number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        held = self.positions.get(account_number, {})
        kept = {symbol: self._holdings.get((account_number, symbol), EMPTY) for symbol in held}
        return [
            BrokerPosition(s, q, abs(kept[s].avg_entry_price(multiplier_of(s))) or Decimal(1))
            for s, q in sorted(held.items())
            if q != 0
        ]

    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        cash = self.cash_before.get(account_number, Decimal(100_000))
        for one in self.executions:
            if one.account_number == account_number:
                value = one.qty * one.price * multiplier_of(one.symbol)
                cash += value * (-1 if one.side == "buy" else 1) - one.fee
        cash += sum(one.cash for one in self.activities if one.account_number == account_number)
        margin, level = self.terms.get(account_number, (False, 3))
        status = "blocked" if account_number in self.blocked else "active"
        stopped = account_number in self.suspended
        return BrokerAccount(account_number, cash, status, margin, level, suspended=stopped)

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
