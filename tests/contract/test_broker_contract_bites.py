"""The broker contract suite catches brokers that break it: one planted fault for each promise."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerExecution, BrokerOrder, BrokerOrderView, BrokerPosition, BrokerUpdate
from paiid.domain.orders import OrderStatus
from tests.contract import test_broker_contract as contract
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
            raise contract.BrokerRejected("duplicate", "must be unique")
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
        except contract.OutcomeUnknown as unknown:
            raise contract.BrokerRejected("timeout", "no answer") from unknown


Test = Callable[[contract.Stage], Awaitable[None]]


@pytest.mark.parametrize(
    ("spoiled", "test"),
    [
        (PlacesTwice, contract.test_one_client_order_id_many_times_at_once_is_one_order),
        (
            AnswersNoToADuplicate,
            contract.test_E11_a_client_order_id_used_before_is_an_unknown_outcome_and_places_nothing,
        ),
        (ForgetsOrders, contract.test_E12_an_accepted_order_is_found_by_our_id_once_the_lag_is_over),
        (MixesAccounts, contract.test_an_order_nobody_placed_is_none_and_so_is_one_of_another_account),
        (CancelsAnything, contract.test_a_cancel_ends_the_order_and_a_second_one_is_refused),
        (CancelsAnything, contract.test_a_cancel_of_an_order_it_does_not_know_is_refused),
        (CancelsAnything, contract.test_an_order_cannot_be_canceled_from_another_account),
        (CancelsAnything, contract.test_a_filled_order_cannot_be_canceled_and_tells_its_average_price),
        (
            ListsWhatIsOver,
            contract.test_open_orders_are_those_of_the_account_that_still_work_oldest_first,
        ),
        (
            LeavesOutTheInstantAskedAbout,
            contract.test_E18_executions_come_oldest_first_and_the_instant_asked_about_is_included,
        ),
        (
            NewestFirst,
            contract.test_E18_executions_come_oldest_first_and_the_instant_asked_about_is_included,
        ),
        (
            ListsEmptyPositions,
            contract.test_positions_are_signed_and_at_their_average_price_and_none_is_zero,
        ),
        (SkipsAnUpdate, contract.test_updates_tell_every_print_and_every_end_in_order),
        (StartsUpdatesAtTheBeginning, contract.test_updates_go_on_behind_any_cursor_without_a_gap),
        (TradesInBlockedAccounts, contract.test_a_blocked_account_takes_no_order_and_says_so),
        (
            TakesATimeoutForARefusal,
            contract.test_E11_no_answer_in_time_is_an_unknown_outcome_and_a_look_up_tells,
        ),
    ],
    ids=lambda one: one.__name__,
)
async def test_a_broker_that_breaks_the_contract_is_caught(spoiled: type[FakeBroker], test: Test) -> None:
    stage = contract.FakeStage()
    stage.broker = spoiled()
    with pytest.raises((AssertionError, pytest.fail.Exception, contract.BrokerRejected)):
        await test(stage)
