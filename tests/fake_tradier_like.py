"""A stand-in for a broker like Tradier: it tells no prints, and changes an order where it stands (ADR 0023, 0024)."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from paiid.brokers import (
    BrokerExecution,
    BrokerOrderView,
    BrokerRejected,
    BrokerReplace,
    BrokerUpdate,
    OutcomeUnknown,
)
from paiid.domain.orders import TERMINAL_STATUSES
from tests.fakes import FakeBroker


class TradierLike(FakeBroker):
    """A broker in memory of which only cumulative quantities and averages are told."""

    capabilities = replace(
        FakeBroker.capabilities,
        replaceable=frozenset({"simple"}),
        tells_prints=False,
        replaces_in_place=True,
        replaces_qty=False,
        notes={"replace_qty": "Tradier cannot change how many; cancel and place another."},
    )
    replays_updates = False

    def __init__(self, name: str = "paper") -> None:
        super().__init__(name)
        self.mute = False
        """True: nothing is told on the stream, as if it had been lost."""
        self.refusal: BrokerRejected | None = None
        """Raised by `replace` once the change is made, or not (`replace_error` makes none)."""
        self.numbers_late = False
        """True: what has filled shows in the status alone (tradier.md 7)."""
        self.replace_lost = False
        """True: the next changes do not reach the order, and nobody is told so."""

    def view(self, broker_order_id: str) -> BrokerOrderView:
        """The order as it is shown; while its numbers are late, with a status that runs ahead of them."""
        found = super().view(broker_order_id)
        if not self.numbers_late:
            return found
        return replace(found, filled_qty=Decimal(0), filled_avg_price=None, last_fill=None)

    def tell(self, view: BrokerOrderView, execution: BrokerExecution | None) -> BrokerUpdate:
        """Put the order as it is on the stream; the newest print is only a trait of it."""
        if execution is not None:
            newest = (execution.qty, execution.price)
            self.orders[view.broker_order_id] = replace(self.orders[view.broker_order_id], last_fill=newest)
            view = replace(view, last_fill=newest)
        return BrokerUpdate(0, view) if self.mute else super().tell(view, None)

    def tell_again(self, view: BrokerOrderView) -> None:
        """A word on an order that is late, or was told before."""
        super().tell(view, None)

    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        return []

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        if self.lookup_error is not None:
            # All that it tells of orders comes from one list.
            raise self.lookup_error
        return await super().fetch_open_orders(account_number, timeout_s)

    async def cancel(self, account_number: str, broker_order_id: str, timeout_s: float) -> None:
        await super().cancel(account_number, broker_order_id, timeout_s)

    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        self.replaced.append((broker_order_id, change))
        if self.replace_error is not None:
            raise self.replace_error
        if self.replace_lost:
            raise OutcomeUnknown("no answer in time")
        self.change(broker_order_id, change)
        if self.refusal is not None:
            raise self.refusal
        if self.replace_answer_lost:
            raise OutcomeUnknown("no answer in time")
        return self.view(broker_order_id)

    def change(self, broker_order_id: str, change: BrokerReplace) -> None:
        """What a PUT does to the order; it keeps its id and the tag of the first of them."""
        order = self.orders[broker_order_id]
        if order.status in TERMINAL_STATUSES:
            raise BrokerRejected(
                "not_replaceable", f"order already in finalized state: {order.status.value.lower()}"
            )
        if change.qty is not None:
            raise BrokerRejected("invalid_parameter", "Invalid parameter, quantity: is not valid.")
        given = {
            name: value
            for name in ("limit_price", "stop_price", "time_in_force")
            if (value := getattr(change, name)) is not None
        }
        self.orders[broker_order_id] = replace(order, **given)
        self.tell(self.view(broker_order_id), None)

    def counted(self, broker_order_id: str) -> tuple[Decimal, Decimal]:
        """Cumulative quantity, and what it came to."""
        order = self.orders[broker_order_id]
        return order.filled_qty, order.filled_qty * (order.filled_avg_price or Decimal(0))
