"""Brokers that break a promise which only some tables make: no prints, changes in place, intents, whole shares, lists of a day."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from paiid.brokers import (
    BrokerExecution,
    BrokerOrder,
    BrokerOrderView,
    BrokerPosition,
    BrokerReplace,
    BrokerUpdate,
)
from paiid.domain.money import ZERO
from paiid.domain.orders import OrderStatus
from tests.contract.able_fakes import InPlaceFake
from tests.fake_tradier_like import TradierLike
from tests.fakes import FakeBroker

# -- no prints --------------------------------------------------------------------------------------------


class TellsPrintsThoughItSaysNot(InPlaceFake):
    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        return await FakeBroker.fetch_executions(self, account_number, after_us, timeout_s)


class TellsPrintsOnTheStream(InPlaceFake):
    def tell(self, view: BrokerOrderView, execution: BrokerExecution | None) -> BrokerUpdate:
        return FakeBroker.tell(self, view, execution)


class TellsNoAverage(InPlaceFake):
    def view(self, broker_order_id: str) -> BrokerOrderView:
        return replace(super().view(broker_order_id), filled_avg_price=None)


class TellsTheNewestPrintOnly(InPlaceFake):
    """Quantity and average are those of the newest print, and so they fall."""

    def view(self, broker_order_id: str) -> BrokerOrderView:
        told = super().view(broker_order_id)
        qty, price = told.last_fill or (told.filled_qty, told.filled_avg_price)
        return replace(told, filled_qty=qty, filled_avg_price=price)


# -- changes in place -------------------------------------------------------------------------------------


class MakesAnotherOrderOfIt(InPlaceFake):
    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        return await FakeBroker.replace(self, account_number, broker_order_id, change, timeout_s)


class _Changes(InPlaceFake, ABC):
    """Every change is made, and then something else."""

    def change(self, broker_order_id: str, change: BrokerReplace) -> None:
        super().change(broker_order_id, change)
        self.orders[broker_order_id] = replace(
            self.orders[broker_order_id], **self.besides(self.orders[broker_order_id], change)
        )

    @abstractmethod
    def besides(self, order: BrokerOrderView, change: BrokerReplace) -> dict[str, Any]:
        """What else becomes of the order."""


class TakesTheNewName(_Changes):
    def besides(self, order: BrokerOrderView, change: BrokerReplace) -> dict[str, Any]:
        return {"client_order_id": change.client_order_id}


class ForgetsWhatHadFilled(_Changes):
    def besides(self, order: BrokerOrderView, change: BrokerReplace) -> dict[str, Any]:
        left = (order.qty or ZERO) - order.filled_qty
        return {
            "qty": left, "filled_qty": ZERO, "filled_avg_price": None, "last_fill": None,
            "status": OrderStatus.NEW,
        }  # fmt: skip


class KeepsTheOldTerms(_Changes):
    def besides(self, order: BrokerOrderView, change: BrokerReplace) -> dict[str, Any]:
        return {"limit_price": 100}


class ChangesHowManyThoughItSaysNot(InPlaceFake):
    def change(self, broker_order_id: str, change: BrokerReplace) -> None:
        qty = change.qty
        super().change(broker_order_id, replace(change, qty=None))
        if qty is not None:
            self.orders[broker_order_id] = replace(self.orders[broker_order_id], qty=qty)


class ChangesWhatIsOver(InPlaceFake):
    def change(self, broker_order_id: str, change: BrokerReplace) -> None:
        self.orders[broker_order_id] = replace(self.orders[broker_order_id], limit_price=change.limit_price)


class ChangesAnybodysOrder(InPlaceFake):
    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        return await TradierLike.replace(self, account_number, broker_order_id, change, timeout_s)


class ChangesGroupsThoughItSaysNot(InPlaceFake):
    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        change = replace(change, qty=None)
        return await TradierLike.replace(self, account_number, broker_order_id, change, timeout_s)


# -- what else a table says -------------------------------------------------------------------------------


class TakesPartsOfShares(FakeBroker):
    """Its table has whole shares only."""


class TakesSalesThatSayNothing(FakeBroker):
    capabilities = replace(FakeBroker.capabilities, needs_intent=True)


class TakesMarketEntriesThoughItSaysNot(FakeBroker):
    capabilities = replace(
        FakeBroker.capabilities,
        rows=tuple(
            replace(row, order_types=frozenset({"limit"})) if "bracket" in row.order_classes else row
            for row in FakeBroker.capabilities.rows
        ),
    )


class ForgetsOvernightThoughItSaysNot(FakeBroker):
    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        found = await super().fetch_order(account_number, client_order_id, timeout_s)
        return found if found is None or found.status == OrderStatus.NEW or not self.later_us else None


class RemembersThoughItSaysNot(FakeBroker):
    capabilities = replace(FakeBroker.capabilities, lists_end_with_day=True)


class DropsOvernight(FakeBroker):
    """What rests is gone in the morning."""

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        return [] if self.later_us else await super().fetch_open_orders(account_number, timeout_s)


class ForgetsByItsOwnIdToo(FakeBroker):
    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        found = await super().fetch_order_by_id(account_number, broker_order_id, timeout_s)
        return None if self.later_us else found


class ShowsShortsAsLong(FakeBroker):
    async def fetch_positions(self, account_number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        told = await super().fetch_positions(account_number, timeout_s)
        return [replace(one, qty=abs(one.qty)) for one in told]


class FindsTheNewestOfTwo(FakeBroker):
    """It takes one of our ids again and again, and tells the order that came last."""

    def _refuse_used(self, account_number: str, client_order_id: str) -> None:
        """Nothing."""

    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        mine = [one for one in self.orders.values() if one.client_order_id == client_order_id]
        return self.view(mine[-1].broker_order_id) if mine else None


class TakesOneOfManyUnseen(FindsTheNewestOfTwo):
    """Of orders with one id it answers for the first only."""

    def place(self, order: BrokerOrder) -> BrokerOrderView:
        before = next((one for one in self.orders.values()), None)
        return super().place(order) if before is None else self.view(before.broker_order_id)
