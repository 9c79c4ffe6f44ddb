"""Brokers that break one promise each, for the contract suite to catch."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

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
    OutcomeUnknown,
)
from paiid.domain.orders import OrderStatus
from tests.contract.able_fakes import AbleFake, LiveFake
from tests.fakes import FakeBroker


class PlacesTwice(FakeBroker):
    def place(self, order: BrokerOrder) -> BrokerOrderView:
        before, self.orders = self.orders, {}
        view = super().place(order)
        self.orders = {**before, view.broker_order_id: view}
        return view


class AnswersNoToADuplicate(FakeBroker):
    def place(self, order: BrokerOrder) -> BrokerOrderView:
        if any(one.client_order_id == order.client_order_id for one in self.orders.values()):
            raise BrokerRejected("duplicate", "must be unique")
        return super().place(order)


class ForgetsOrders(FakeBroker):
    async def fetch_order(self, *_: Any) -> None:
        return None


class MixesAccounts(FakeBroker):
    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        return next((o for o in self.orders.values() if o.client_order_id == client_order_id), None)


class CancelsAnything(FakeBroker):
    async def cancel(self, account_number: str, broker_order_id: str, timeout_s: float) -> None:
        if broker_order_id in self.orders:
            self.end(broker_order_id, OrderStatus.CANCELED)


class ListsWhatIsOver(FakeBroker):
    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        return [one for one in self.orders.values() if one.account_number == account_number]


class LeavesOutTheInstantAskedAbout(FakeBroker):
    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        return await super().fetch_executions(account_number, after_us + 1, timeout_s)


class NewestFirst(FakeBroker):
    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        return list(reversed(await super().fetch_executions(account_number, after_us, timeout_s)))


class ListsEmptyPositions(FakeBroker):
    async def fetch_positions(self, account_number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        return [
            BrokerPosition(symbol, qty, Decimal(1))
            for symbol, qty in self.positions.get(account_number, {}).items()
        ]


class SkipsAnUpdate(FakeBroker):
    async def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        async for update in super().updates(after):
            if update.cursor != 2:
                yield update


class StartsUpdatesAtTheBeginning(FakeBroker):
    def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        return super().updates(0)


class TradesInBlockedAccounts(FakeBroker):
    def place(self, order: BrokerOrder) -> BrokerOrderView:
        blocked, self.blocked = self.blocked, set()
        try:
            return super().place(order)
        finally:
            self.blocked = blocked


class TakesATimeoutForARefusal(FakeBroker):
    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        try:
            return await super().submit(order, timeout_s)
        except OutcomeUnknown as unknown:
            raise BrokerRejected("timeout", "no answer") from unknown


class LetsExitsLiveAtOnce(FakeBroker):
    def place(self, order: BrokerOrder) -> BrokerOrderView:
        view = super().place(order)
        for leg in view.legs:
            self.orders[leg.broker_order_id] = replace(leg, status=OrderStatus.NEW)
        return self.view(view.broker_order_id)


class ForgetsTheGroup(FakeBroker):
    def _follow(self, changed: BrokerOrderView, filled: Decimal = Decimal(0)) -> None:
        """Nothing."""


class HidesTheParent(FakeBroker):
    def _enter(self, view: BrokerOrderView) -> BrokerOrderView:
        return super()._enter(replace(view, group_role=None))


class ListsNoLegs(FakeBroker):
    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        told = await super().fetch_open_orders(account_number, timeout_s)
        return [one for one in told if one.parent_broker_order_id is None]


class FillsOneLegOnly(FakeBroker):
    def fill_spread(self, broker_order_id: str, units: int, prices: Sequence[Decimal | str]) -> BrokerUpdate:
        legs = self.view(broker_order_id).legs
        self._filled(broker_order_id, Decimal(units), Decimal(prices[0]) - Decimal(prices[1]))
        return self.fill(legs[0].broker_order_id, str(units), prices[0])


class CountsContractsAsShares(FakeBroker):
    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        told = await super().fetch_account(account_number, timeout_s)
        wrong = sum(one.qty * one.price * (99 if one.side == "buy" else -99) for one in self.executions)
        return replace(told, cash=told.cash + wrong)


class KeepsTheOldOneToo(FakeBroker):
    def _tell_replaced(self, old: BrokerOrderView, new: BrokerOrderView) -> None:
        self.tell(new, None)


class ReplacesAnything(FakeBroker):
    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        old = self.orders.get(broker_order_id) or next(iter(self.orders.values()))
        return self._replace(old, change.client_order_id, change.qty or Decimal(1), {})


class TakesTheNewQuantityForWhatIsLeft(FakeBroker):
    def _replace(
        self, old: BrokerOrderView, client_order_id: str, left: Decimal, given: dict[str, object]
    ) -> BrokerOrderView:
        return super()._replace(old, client_order_id, left + old.filled_qty, given)


class TellsNoActivity(FakeBroker):
    async def fetch_activities(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerActivity]:
        return [one for one in self.activities if one.at_us > after_us]


class FindsNothingByItsOwnId(FakeBroker):
    async def fetch_order_by_id(self, *_: Any) -> None:
        return None


class MixesAccountsByItsOwnId(FakeBroker):
    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        return self.view(broker_order_id) if broker_order_id in self.orders else None


class TellsExitsWithoutTheirParent(FakeBroker):
    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        found = await super().fetch_order_by_id(account_number, broker_order_id, timeout_s)
        return None if found is None else replace(found, parent_broker_order_id=None)


class InventsAnAccount(LiveFake):
    async def fetch_accounts(self, timeout_s: float) -> Sequence[BrokerAccount]:
        return [*self.own, BrokerAccount("carol", Decimal(0), "active")]


class TellsAnAccountTwice(LiveFake):
    async def fetch_accounts(self, timeout_s: float) -> Sequence[BrokerAccount]:
        return [*self.own, self.own[0]]


class CancelsAllThoughItSaysNot(FakeBroker):
    """The table says that it cannot."""


class CancelsTheFirstOnly(AbleFake):
    async def cancel_all(self, account_number: str, timeout_s: float) -> Mapping[str, str | None]:
        first = (await self.fetch_open_orders(account_number, timeout_s))[0]
        await self.cancel(account_number, first.broker_order_id, timeout_s)
        return {first.broker_order_id: None}


class CancelsEverybodysOrders(AbleFake):
    async def cancel_all(self, account_number: str, timeout_s: float) -> Mapping[str, str | None]:
        await super().cancel_all("bob", timeout_s)
        return await super().cancel_all(account_number, timeout_s)


class ForgetsItsStop(AbleFake):
    async def set_own_stop(self, account_number: str, stopped: bool, timeout_s: float) -> bool:
        return False


class NeverSaysThatItsStopWasSet(AbleFake):
    async def set_own_stop(self, account_number: str, stopped: bool, timeout_s: float) -> bool:
        await super().set_own_stop(account_number, stopped, timeout_s)
        return False


class StopsCancelsToo(AbleFake):
    async def cancel(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        if account_number in self.suspended:
            raise BrokerRejected("account_suspended", "no requests at all")
        return await super().cancel(account_number, broker_order_id, timeout_s)


class StopsEverybody(AbleFake):
    async def set_own_stop(self, account_number: str, stopped: bool, timeout_s: float) -> bool:
        await super().set_own_stop("bob", stopped, timeout_s)
        return await super().set_own_stop(account_number, stopped, timeout_s)


class CountsNoRequests(LiveFake):
    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        return await FakeBroker.fetch_account(self, account_number, timeout_s)


class BeginsWithoutSayingSo(LiveFake):
    def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        return FakeBroker.updates(self, len(self._updates))


class PassesOldNewsOffAsNew(LiveFake):
    async def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        for account in self.own:
            yield BrokerUpdate(0, None, resync=account.number)
        async for update in FakeBroker.updates(self, 0):
            yield update
