"""Whoever trades in our account past us, with tags like ours, and what midnight takes: nothing is booked twice or to the wrong order (E8, E12, E18)."""

from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy import bindparam, update

from paiid.brokers import BrokerOrderView, BrokerUpdate, NotSent
from paiid.core.db import Database, statement
from paiid.core.tables import orders
from paiid.domain.orders import OrderStatus
from paiid.trading.missed import Incomplete
from tests.conftest import MakeApp
from tests.fake_tradier_like import TradierLike
from tests.fakes import loses_answer
from tests.orders_world import BUY, QUICK, until
from tests.reconcile_world import Books, held, rows_of

D = Decimal
_DAY_US = 86_400_000_000
_SENT_BEFORE_MIDNIGHT = statement(
    update(orders)
    .where(orders.c.id == bindparam("b_id"))
    .values(created_at=orders.c.created_at - _DAY_US, unknown_at=orders.c.unknown_at - 10_000_000)
)
_HANDED_OVER = statement(
    update(orders)
    .where(orders.c.id == bindparam("b_id"))
    .values(broker_order_id=bindparam("b_name"), status="REPLACED", broker_status="REPLACED", open=0)
)
OURS = "pd-" + "0123456789abcdef" * 2


@pytest.fixture
async def both(db: Database) -> Books:
    """A ledger and a broker like Tradier that agree."""
    return await Books(db, TradierLike("fake")).open()


def copied(both: Books, view: BrokerOrderView, number: str = "999") -> BrokerOrderView:
    """Somebody has placed an order like this one at the broker, tag and all."""
    later = view.submitted_at_us + 1_000_000
    copy = replace(view, broker_order_id=number, submitted_at_us=later, updated_at_us=later, legs=())
    both.broker.orders[number] = copy
    return copy


async def tell(both: Books, *broker_ids: str) -> None:
    """The orders as they are now, in one transaction."""
    await both.merge([BrokerUpdate(1, both.broker.view(one)) for one in broker_ids])


async def test_E18_an_order_with_the_tag_of_one_of_ours_is_booked_as_its_own(both: Books) -> None:
    ours = both.place(OURS)
    await both.add_order(client_order_id=OURS, broker_order_id=ours.broker_order_id)
    copy = copied(both, ours)
    await tell(both, copy.broker_order_id)
    both.broker.fill(copy.broker_order_id, "10", "101")
    await tell(both, copy.broker_order_id, ours.broker_order_id)
    assert rows_of(await both.shown()) == {ours.broker_order_id: ("NEW", D(0)), "999": ("FILLED", D(10))}
    both.broker.fill(ours.broker_order_id, "10", "99")
    await tell(both, ours.broker_order_id)
    found = await both.shown()
    assert rows_of(found) == {ours.broker_order_id: ("FILLED", D(10)), "999": ("FILLED", D(10))}
    assert held(found) == {"AAPL": D(20)}
    assert await both.compare() == []


@pytest.mark.parametrize("together", [True, False])
async def test_E18_two_orders_of_others_under_one_tag_do_not_stop_what_else_is_told(
    both: Books, together: bool
) -> None:
    """A tag in the form of ours that we never gave, such as another installation's."""
    first = both.place(OURS)
    second = copied(both, first)
    other = both.place("somebody", "TSLA")
    for one in (first, second, other):
        both.broker.fill(one.broker_order_id, "10", "100")
    ids = [first.broker_order_id, second.broker_order_id, other.broker_order_id]
    if together:
        await tell(both, *ids)
    else:
        for name in ids:
            await tell(both, name)
    found = await both.shown()
    assert rows_of(found) == dict.fromkeys(ids, ("FILLED", D(10)))
    assert held(found) == {"AAPL": D(20), "TSLA": D(10)}


async def test_E12_an_order_in_doubt_is_one_order_however_many_have_its_tag(both: Books) -> None:
    first = both.place(OURS)
    second = copied(both, first)
    await both.add_order(client_order_id=OURS, state="UNKNOWN", status=None, submitted_at=None)
    for one in (first, second):
        both.broker.fill(one.broker_order_id, "10", "100")
    await tell(both, first.broker_order_id, second.broker_order_id)
    await tell(both, second.broker_order_id, first.broker_order_id)
    found = await both.shown()
    assert rows_of(found) == dict.fromkeys((first.broker_order_id, "999"), ("FILLED", D(10)))
    assert held(found) == {"AAPL": D(20)}


async def test_E12_orders_that_the_owner_has_settled_as_placed_end_with_their_day_each_for_itself(
    both: Books,
) -> None:
    """Their ids at the broker were never told."""
    both.broker.capabilities = replace(both.broker.capabilities, lists_end_with_day=True)
    names = [f"pd-{'0' * 31}{at}" for at in range(3)]
    for name in names:
        await both.add_order(client_order_id=name, broker_order_id=None)
    both.clock.at_us = both.clock.now_us() + 2 * _DAY_US
    for _ in range(2):
        await both.catch_up()
    rows = (await both.shown())["orders"]
    assert [one["status"] for one in rows] == [OrderStatus.EXPIRED.value] * 3
    assert await both.compare() == []


async def test_E12_exits_whose_ids_were_never_told_end_with_the_entry_that_is_forgotten(both: Books) -> None:
    both.broker.capabilities = replace(both.broker.capabilities, lists_end_with_day=True)
    group = {"order_class": "bracket", "broker_order_id": None}
    entry = await both.add_order(client_order_id=OURS, **group)
    for role in ("take_profit", "stop_loss"):
        name = f"{OURS}.{role}"
        await both.add_order(
            client_order_id=name, side="sell", parent_id=entry, group_role=role, status="HELD", **group
        )
    both.clock.at_us = both.clock.now_us() + 2 * _DAY_US
    for _ in range(2):
        await both.catch_up()
    rows = (await both.shown())["orders"]
    assert [one["status"] for one in rows] == [OrderStatus.EXPIRED.value] * 3


async def test_E12_an_order_sent_before_midnight_and_doubted_behind_it_is_not_disproved_by_the_new_day(
    make_app: MakeApp,
) -> None:
    """The list of the new day never had it, and it may have filled on the old one."""
    broker = TradierLike()
    broker.capabilities = replace(broker.capabilities, lists_end_with_day=True)
    app = await make_app(broker=broker, timings=QUICK)
    owner = await app.owner()
    broker.hidden = True
    broker.scripts.append(loses_answer(placed=True))
    answer = await owner.execute(BUY)
    assert answer.status_code == 202
    (order,) = answer.json()["orders"]
    async with app.state.db.begin() as tx:
        # Doubted for longer than the horizon as well.
        await tx.execute(_SENT_BEFORE_MIDNIGHT, {"b_id": order["id"]})
    looked = len(broker.looked_up)

    async def looked_again() -> bool:
        return len(broker.looked_up) >= looked + 8

    await until(looked_again)
    told = (await owner.get(f"/api/trading/orders/{order['id']}")).json()
    assert told["state"] == "UNKNOWN"


async def test_E12_an_order_that_was_changed_in_place_is_forgotten_as_what_was_left_of_it(
    both: Books,
) -> None:
    """Six of ten had filled before the change, and three of the four that were left."""
    both.broker.capabilities = replace(both.broker.capabilities, lists_end_with_day=True)
    view = both.place(OURS)
    name = view.broker_order_id
    old = await both.add_order(client_order_id=OURS, broker_order_id=name)
    both.broker.fill(name, "6", "100")
    await tell(both, name)
    async with both.db.begin() as tx:
        await tx.execute(_HANDED_OVER, {"b_id": old, "b_name": f"{name}~1"})
    await both.add_order(client_order_id="pd-next", broker_order_id=name, replaces=old, qty=4 * 10**9)
    both.broker.fill(name, "3", "101")
    await tell(both, name)
    both.clock.at_us = both.clock.now_us() + 2 * _DAY_US
    del both.broker.orders[name]
    await both.catch_up()
    (found,) = [one for one in (await both.shown())["orders"] if one["broker_order_id"] == name]
    assert (found["status"], found["qty"], found["filled_qty"]) == ("EXPIRED", D(4), D(3))
    assert both.alarms == []
    assert held(await both.shown()) == {"AAPL": D(9)}


class Sparing(TradierLike):
    """It answers three look-ups of an order, and then has no place for another until it is given a new minute."""

    left = 3

    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        if self.left == 0:
            raise NotSent("the budget is spent")
        self.left -= 1
        return await super().fetch_order_by_id(account_number, broker_order_id, timeout_s)


async def test_E18_more_look_ups_than_a_minute_has_places_for_come_to_an_end(db: Database) -> None:
    """A morning after which many orders of the ledger are over: each minute must settle some of them."""
    broker = Sparing("fake")
    both = await Books(db, broker).open()
    names = [(await both.placed())[1] for _ in range(8)]
    for name in names:
        broker.end(name, OrderStatus.CANCELED)
    for _ in range(3):
        broker.left = 3
        try:
            updates = await both.reconciler.missed(await both.row(), 0)
        except Incomplete as partly:
            updates = partly.updates
        await both.merge(updates)
    assert rows_of(await both.shown()) == dict.fromkeys(names, ("CANCELED", D(0)))
