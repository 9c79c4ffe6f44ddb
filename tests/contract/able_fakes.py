"""Fakes that keep the contract of a broker, each with other abilities; the suite runs over all of them."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from decimal import Decimal

from paiid.brokers import (
    BrokerAccount,
    BrokerOrder,
    BrokerOrderView,
    BrokerRejected,
    BrokerReplace,
    BrokerUpdate,
)
from tests.fake_tradier_like import TradierLike
from tests.fakes import FakeBroker


class WholeFake(FakeBroker):
    """A fake that holds what its table says: no parts of shares."""

    def place(self, order: BrokerOrder) -> BrokerOrderView:
        if order.qty is not None and order.qty != order.qty.to_integral_value():
            raise BrokerRejected("fractional_not_supported", "whole shares only")
        return super().place(order)


class AbleFake(WholeFake):
    """A fake that can do everything the Protocol knows of."""

    capabilities = replace(FakeBroker.capabilities, cancels_all=True, own_stop=True)


class LiveFake(AbleFake):
    """A fake that has accounts by itself, counts requests, and whose stream has no replay."""

    replays_updates = False

    def __init__(self, name: str = "live") -> None:
        super().__init__(name)
        self.own = [BrokerAccount(number, Decimal(100_000), "active", False, 3) for number in ("me", "bob")]
        self.left = 1_000

    @property
    def budget_left(self) -> int | None:  # type: ignore[override]
        return self.left

    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        self.left -= 1
        return await super().fetch_account(account_number, timeout_s)

    async def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        at = max(after, len(self._updates))
        for account in self.own:
            yield BrokerUpdate(at, None, resync=account.number)
        async for update in super().updates(at):
            yield update


class InPlaceFake(TradierLike, LiveFake):
    """A fake that tells no prints and changes orders where they stand, and says no to what its table has not."""

    async def cancel_all(self, account_number: str, timeout_s: float) -> Mapping[str, str | None]:
        raise BrokerRejected("not_supported", "not in one request")

    async def set_own_stop(self, account_number: str, stopped: bool, timeout_s: float) -> bool:
        raise BrokerRejected("not_supported", "no such setting")

    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        found = self.orders.get(broker_order_id)
        if found is None or found.account_number != account_number:
            raise BrokerRejected("not_found", "there is no such order in this account")
        terms = (change.limit_price, change.stop_price, change.time_in_force, change.qty)
        if found.order_class not in self.capabilities.replaceable or terms == (None,) * len(terms):
            raise BrokerRejected("not_replaceable", "no such change of such an order")
        return await super().replace(account_number, broker_order_id, change, timeout_s)
