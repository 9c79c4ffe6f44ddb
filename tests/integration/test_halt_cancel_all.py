"""Sweeping a whole account asks a broker that can cancel everything once, and loses no order by it (contract K6)."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from paiid.brokers import BrokerOrder, BrokerRejected, OutcomeUnknown
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.halts import Receipt
from paiid.domain.orders import OrderStatus
from paiid.trading import store
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.fence_world import Replica
from tests.halt_world import add_order, arm
from tests.orders_world import QUICK


class Sweepable(FakeBroker):
    """A broker that cancels everything in one request; what it refuses there it grants singly."""

    capabilities = replace(FakeBroker.capabilities, cancels_all=True)

    def __init__(self, name: str = "fake") -> None:
        super().__init__(name)
        self.swept: list[str] = []
        self.refused: dict[str, str] = {}
        self.error: Exception | None = None
        self.states: list[list[str | None]] = []
        self.db: Database | None = None
        self.left: int | None = None

    @property
    def budget_left(self) -> int | None:  # type: ignore[override]
        return self.left

    async def cancel_all(self, account_number: str, timeout_s: float) -> Mapping[str, str | None]:
        self.swept.append(account_number)
        if self.db is not None:
            async with self.db.read() as tx:
                self.states.append(
                    [one.cancel_state for one in await store.load_open_orders(tx, account_number)]
                )
        if self.error is not None:
            raise self.error
        working = [one.broker_order_id for one in await self.fetch_open_orders(account_number, timeout_s)]
        for broker_order_id in working:
            if broker_order_id not in self.refused:
                self.end(broker_order_id, OrderStatus.CANCELED)
        return {one: self.refused.get(one) for one in working}


@pytest.fixture
def broker(peopled_db: Database) -> Sweepable:
    made = Sweepable()
    made.db = peopled_db
    return made


@pytest.fixture
def server(peopled_db: Database, clock: Clock, tmp_path: Path, broker: Sweepable) -> Replica:
    # What is refused is asked again after seconds: the answer waits for the end on a slow machine as well.
    return Replica(peopled_db, clock, tmp_path / "data", broker, 60.0)


async def _rest(db: Database, clock: Clock, broker: Sweepable, count: int, symbol: str = "AAPL") -> list[str]:
    """Orders of ours that rest at the broker: its ids."""
    made: list[str] = []
    for number in range(count):
        name = f"pd-{symbol}-{number}"
        view = broker.place(
            BrokerOrder("acc1", name, symbol, "buy", Decimal(1), "limit", "gtc", limit_price=Decimal(1))
        )
        await add_order(
            db, clock, "acc1", "usr1", "ACCEPTED", status="NEW", client_order_id=name, symbol=symbol,
            broker_order_id=view.broker_order_id, type="limit", limit_price=1_000_000,
        )  # fmt: skip
        made.append(view.broker_order_id)
    return made


async def _sweep(server: Replica, scope: str = "account:acc1") -> Receipt:
    receipt = (await server.halts.arm(replace(arm(scope), cancel=True))).receipt
    assert receipt is not None
    assert receipt.pending == ()
    return receipt


def _outcomes(receipt: Receipt) -> dict[str | None, str]:
    return {one.broker_order_id: one.outcome for one in receipt.cancels}


@pytest.mark.parametrize("scope", ["account:acc1", "global"])
async def test_K06_many_orders_of_an_account_go_with_one_request_and_have_one_outcome_each(
    peopled_db: Database, clock: Clock, broker: Sweepable, server: Replica, scope: str
) -> None:
    ours = await _rest(peopled_db, clock, broker, 12)
    foreign = broker.place(
        BrokerOrder("acc1", "by-hand", "MSFT", "buy", Decimal(1), "limit", "gtc", limit_price=Decimal(1))
    ).broker_order_id
    receipt = await _sweep(server, scope)
    assert broker.swept == ["acc1"]
    assert broker.canceled == []
    assert _outcomes(receipt) == dict.fromkeys([*ours, foreign], "done")
    assert broker.states == [["REQUESTED"] * 12]


async def test_K06_what_the_one_request_is_refused_for_is_asked_singly(
    peopled_db: Database, clock: Clock, broker: Sweepable, server: Replica
) -> None:
    ours = await _rest(peopled_db, clock, broker, 3)
    foreign = broker.place(
        BrokerOrder("acc1", "by-hand", "MSFT", "buy", Decimal(1), "limit", "gtc", limit_price=Decimal(1))
    ).broker_order_id
    broker.refused = {ours[1]: "busy", foreign: "busy"}
    receipt = await _sweep(server)
    assert broker.swept == ["acc1"]
    assert sorted(broker.canceled) == sorted([ours[1], foreign])
    assert _outcomes(receipt) == dict.fromkeys([*ours, foreign], "done")


@pytest.mark.parametrize(
    "error", [OutcomeUnknown("no answer in time"), BrokerRejected("internal", "internal server error")]
)
async def test_K06_a_broker_that_cannot_do_it_in_one_request_is_asked_for_each_order(
    peopled_db: Database, clock: Clock, broker: Sweepable, server: Replica, error: Exception
) -> None:
    ours = await _rest(peopled_db, clock, broker, 3)
    broker.error = error
    receipt = await _sweep(server)
    assert broker.swept == ["acc1"]
    assert sorted(broker.canceled) == sorted(ours)
    assert _outcomes(receipt) == dict.fromkeys(ours, "done")


async def test_K06_one_request_for_everything_is_not_used_where_something_else_must_stay(
    peopled_db: Database, clock: Clock, broker: Sweepable, server: Replica
) -> None:
    ours = await _rest(peopled_db, clock, broker, 2)
    others = await _rest(peopled_db, clock, broker, 2, "MSFT")
    await _sweep(server, "symbol:AAPL")
    assert broker.swept == []
    assert sorted(broker.canceled) == sorted(ours)
    assert {broker.orders[one].status for one in others} == {OrderStatus.NEW}


async def test_K06_a_single_order_is_cancelled_by_itself(
    peopled_db: Database, clock: Clock, broker: Sweepable, server: Replica
) -> None:
    ours = await _rest(peopled_db, clock, broker, 1)
    await _sweep(server)
    assert (broker.swept, broker.canceled) == ([], ours)


async def test_K06_orders_are_looked_up_by_the_brokers_id_in_the_end(
    peopled_db: Database, clock: Clock, broker: Sweepable, server: Replica
) -> None:
    ours = await _rest(peopled_db, clock, broker, 2)
    await _sweep(server)
    assert sorted(broker.looked_up_by_id) == sorted(ours)
    assert broker.looked_up == []


async def test_K06_the_last_requests_of_a_minute_are_not_spent_on_looking_up(
    peopled_db: Database, clock: Clock, broker: Sweepable, server: Replica
) -> None:
    ours = await _rest(peopled_db, clock, broker, 2)
    broker.left = 3
    receipt = await _sweep(server)
    assert broker.looked_up_by_id == []
    assert _outcomes(receipt) == dict.fromkeys(ours, "requested")


async def test_cancelling_all_orders_of_an_account_is_one_request_and_one_outcome_each(
    make_app: MakeApp,
) -> None:
    broker = Sweepable("paper")
    app = await make_app(broker=broker, timings=QUICK)
    owner = await app.owner()
    for _ in range(3):
        await owner.execute({"symbol": "AAPL", "side": "buy", "qty": 1, "type": "limit", "limit_price": 1})
    assert len(broker.orders) == 3
    answer = await owner.delete("/api/trading/orders")
    assert answer.status_code == 200
    assert len(broker.swept) == 1
    assert broker.canceled == []
    assert {one["outcome"] for one in answer.json()["data"]} <= {"requested", "done"}
    for one in answer.json()["data"]:
        assert (await owner.wait_filled(one["id"], 15))["status"] == "CANCELED"


async def test_K06_an_order_that_the_ledger_has_ended_but_the_broker_lists_is_cancelled_there(
    peopled_db: Database, clock: Clock, broker: Sweepable, server: Replica
) -> None:
    ours = await _rest(peopled_db, clock, broker, 2)
    view = broker.place(
        BrokerOrder("acc1", "pd-ended", "MSFT", "buy", Decimal(1), "limit", "gtc", limit_price=Decimal(1))
    )
    await add_order(
        peopled_db, clock, "acc1", "usr1", "REJECTED", client_order_id="pd-ended",
        broker_order_id=view.broker_order_id, open=0,
    )  # fmt: skip
    broker.refused = {view.broker_order_id: "busy"}
    receipt = await _sweep(server)
    assert broker.canceled == [view.broker_order_id]
    assert _outcomes(receipt) == dict.fromkeys([*ours, view.broker_order_id], "done")
