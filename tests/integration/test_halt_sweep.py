"""Cancel sweeps against a venue whose list is the truth, orders unknown to the ledger included (contract K6)."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paiid.brokers import BrokerOrderView, BrokerRejected, OutcomeUnknown
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.halts import Mode, Scope
from paiid.domain.orders import OrderStatus
from paiid.trading.cancel import Cancels
from paiid.trading.halt import HaltService
from paiid.trading.halt_change import Arm
from paiid.trading.halt_sweep import Sweeper
from paiid.trading.latch import Latch
from paiid.trading.timings import Timings
from tests.fakes import FakeBroker
from tests.halt_world import HOST, add_account, add_order, add_user


class Venue:
    """Open orders that go when asked; some refuse, and the first listing may fail."""

    name = "fake"
    lookup_lag_s = 0.0
    capabilities = FakeBroker.capabilities
    budget_left = None

    def __init__(self) -> None:
        self.orders: dict[str, BrokerOrderView] = {}
        self.stubborn: set[str] = set()
        self.failures = 0
        self.listings: list[int] = []
        self.canceled: list[str] = []

    def place(self, account: str, client_id: str, symbol: str = "AAPL") -> str:
        broker_id = f"b-{client_id}"
        self.orders[broker_id] = BrokerOrderView(
            account, broker_id, client_id, symbol, "buy", Decimal(1), "limit", "gtc", Decimal(1), None,
            OrderStatus.NEW, Decimal(0), None, 0, 0,
        )  # fmt: skip
        return broker_id

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        if self.failures:
            self.failures -= 1
            raise OutcomeUnknown("no answer")
        found = [
            o
            for o in self.orders.values()
            if o.account_number == account_number and o.status is OrderStatus.NEW
        ]
        self.listings.append(len(found))
        return found

    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        return self.orders.get(f"b-{client_order_id}")

    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        return self.orders.get(broker_order_id)

    async def cancel(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        self.canceled.append(broker_order_id)
        if broker_order_id in self.stubborn:
            self.stubborn.discard(broker_order_id)
            raise BrokerRejected("busy", "not now")
        self.orders[broker_order_id] = replace(self.orders[broker_order_id], status=OrderStatus.CANCELED)
        return None


@pytest.fixture
async def venue(db: Database, clock: Clock) -> Venue:
    await add_user(db, clock, "own1", "owner")
    await add_user(db, clock, "usr1", "trader")
    await add_account(db, clock, "acc1", "usr1")
    await add_account(db, clock, "acc2", "own1")
    return Venue()


@pytest.fixture
def service(db: Database, clock: Clock, venue: Venue, tmp_path: Path) -> HaltService:
    brokers: Any = {"fake": venue}
    trading: Any = None
    cancels = Cancels(db, clock, Timings(), brokers, lambda _: None, lambda _: None)
    sweeper = Sweeper(db, clock, brokers, cancels, trading, 1.0)
    # What is refused is asked again after seconds: the answer waits for the end on a slow machine as well.
    return HaltService(db, clock, Latch(tmp_path), sweeper, cap_s=60.0)


async def _resting(
    db: Database, clock: Clock, venue: Venue, account: str, user: str, symbol: str = "AAPL"
) -> str:
    client_id = f"c-{len(venue.orders)}"
    broker_id = venue.place(account, client_id, symbol)
    await add_order(
        db, clock, account, user, "ACCEPTED", status="NEW", client_order_id=client_id,
        broker_order_id=broker_id, symbol=symbol, type="limit", limit_price=1_000_000,
    )  # fmt: skip
    return broker_id


async def test_K06_a_sweep_cancels_what_the_broker_lists_until_two_lists_are_empty(
    db: Database, clock: Clock, venue: Venue, service: HaltService
) -> None:
    ours = await _resting(db, clock, venue, "acc1", "usr1")
    foreign = venue.place("acc1", "not-ours")
    elsewhere = await _resting(db, clock, venue, "acc2", "own1")
    venue.stubborn.add(ours)
    venue.failures = 1
    view = await service.arm(Arm(Scope("account", "acc1"), Mode.HALTED, "out", HOST, cancel=True))
    assert view.receipt is not None
    assert view.receipt.pending == ()
    assert venue.listings[-2:] == [0, 0]
    assert {c.broker_order_id for c in view.receipt.cancels} == {ours, foreign}
    assert {c.outcome for c in view.receipt.cancels if c.broker_order_id == ours} == {"done"}
    assert elsewhere not in venue.canceled


@pytest.mark.parametrize("scope", ["symbol:AAPL", "user:usr1"])
async def test_K06_a_sweep_stays_inside_its_scope(
    db: Database, clock: Clock, venue: Venue, service: HaltService, scope: str
) -> None:
    inside = await _resting(db, clock, venue, "acc1", "usr1", "AAPL")
    outside = (
        await _resting(db, clock, venue, "acc1", "usr1", "MSFT")
        if scope.startswith("symbol")
        else await _resting(db, clock, venue, "acc1", "own1", "AAPL")
    )
    await service.arm(Arm(Scope.parse(scope), Mode.HALTED, "out", HOST, cancel=True))
    assert inside in venue.canceled
    assert outside not in venue.canceled


async def test_K01_resting_orders_go_on_working_unless_cancel_is_asked_for(
    db: Database, clock: Clock, venue: Venue, service: HaltService
) -> None:
    await _resting(db, clock, venue, "acc1", "usr1")
    await service.arm(Arm(Scope("global"), Mode.HALTED, "out", HOST))
    assert venue.canceled == []
    again = await service.arm(Arm(Scope("global"), Mode.HALTED, "out", HOST, cancel=True))
    assert len(venue.canceled) == 1
    assert again.receipt is not None
    assert again.receipt.pending == ()
