"""A broker that takes every order in no time, so that only our own time is measured."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
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
)
from paiid.domain.capabilities import Holds
from paiid.domain.orders import OrderStatus


class InstantBroker:
    """Accepts at once and ends the order as unfilled, as a venue without a counterparty ends an
    immediate-or-cancel order: the account stays below its limit of open orders however long the run lasts."""

    name = "paper"
    capabilities = Capabilities(
        rows=(
            Holds(
                "stock",
                order_classes=frozenset({"simple", "bracket"}),
                order_types=frozenset({"market", "limit", "stop"}),
                times_in_force=frozenset({"day", "gtc", "ioc", "fok"}),
            ),
        ),
        short_selling=True,
        own_stop=False,
        lists_end_with_day=False,
    )
    lookup_lag_s = 0.0
    refusal_lookup_delay_s = 0.0
    simulated = True
    replays_updates = True
    budget_left = None

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def order_free_in_s(self, account_number: str, *, closes: bool = False) -> float | None:
        return None

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        view = self._view(order)
        if order.order_class != "bracket" or order.take_profit is None or order.stop_loss is None:
            return view
        exits = replace(order, side="sell" if order.side == "buy" else "buy", limit_price=None)
        profit = self._view(replace(exits, type="limit", limit_price=order.take_profit.limit_price))
        loss = self._view(replace(exits, type="stop", stop_price=order.stop_loss.stop_price))
        parent = view.broker_order_id
        legs = (
            replace(profit, group_role="take_profit", parent_broker_order_id=parent),
            replace(loss, group_role="stop_loss", parent_broker_order_id=parent),
        )
        return replace(view, group_role="entry", legs=legs)

    def _view(self, order: BrokerOrder) -> BrokerOrderView:
        return BrokerOrderView(
            order_class=order.order_class,
            account_number=order.account_number,
            broker_order_id=f"instant-{order.client_order_id}-{next(self._numbers)}",
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            qty=order.qty,
            type=order.type,
            time_in_force=order.time_in_force,
            limit_price=order.limit_price,
            stop_price=order.stop_price,
            status=OrderStatus.CANCELED,
            filled_qty=Decimal(0),
            filled_avg_price=None,
            submitted_at_us=1_800_000_000_000_000,
            updated_at_us=1_800_000_000_000_000,
        )

    async def fetch_order(self, number: str, client_id: str, timeout_s: float) -> BrokerOrderView | None:
        return None

    async def fetch_order_by_id(
        self, number: str, broker_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        return None

    async def fetch_accounts(self, timeout_s: float) -> Sequence[BrokerAccount]:
        return []

    async def cancel_all(self, number: str, timeout_s: float) -> Mapping[str, str | None]:
        return {}

    async def set_own_stop(self, number: str, stopped: bool, timeout_s: float) -> bool:
        raise BrokerRejected("no_own_stop", "this broker has no stop of its own")

    async def cancel(self, number: str, broker_id: str, timeout_s: float) -> BrokerOrderView | None:
        return None

    async def replace(
        self, number: str, broker_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        raise BrokerRejected("not_replaceable", "this broker replaces nothing")

    async def fetch_open_orders(self, number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        return []

    async def fetch_orders_since(
        self, number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerOrderView]:
        return []

    async def fetch_executions(
        self, number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        return []

    async def fetch_activities(
        self, number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerActivity]:
        return []

    async def fetch_positions(self, number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        return []

    async def fetch_account(self, number: str, timeout_s: float) -> BrokerAccount:
        return BrokerAccount(number, Decimal(100_000), "active")

    async def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""
