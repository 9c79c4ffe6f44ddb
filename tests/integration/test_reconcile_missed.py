"""What was missed is fetched with few requests and booked once (contract E18)."""

from dataclasses import replace
from decimal import Decimal

import pytest

from paiid.brokers import NotSent
from paiid.core.db import Database
from paiid.domain.orders import OrderStatus
from tests.reconcile_world import Books, Budgeted, held, rows_of

D = Decimal


@pytest.fixture
async def both(db: Database) -> Books:
    """A ledger and a broker that agree."""
    return await Books(db).open()


async def test_E18_fills_of_a_long_outage_are_booked_once_whoever_tells_them(both: Books) -> None:
    _, first = await both.placed()
    _, second = await both.placed()
    await both.merge([both.broker.fill(first, 2, "100")])
    both.broker.later_us = 20 * 60_000_000
    stream = [both.broker.fill(first, 3, "100.1"), both.broker.fill(second, 5, "99")]
    both.broker.later_us = 40 * 60_000_000
    stream += [both.broker.fill(first, 5, "100.2"), both.broker.end(second, OrderStatus.CANCELED)]
    theirs = both.place("theirs", "TSLA").broker_order_id
    stream += [both.broker.fill(theirs, 10, "7")]
    both.act("dividend", "div-1", "2.50")
    await both.catch_up()
    once = await both.shown()
    assert rows_of(once) == {first: ("FILLED", 10), second: ("CANCELED", 5), theirs: ("FILLED", 10)}
    assert held(once) == {"AAPL": D(15), "TSLA": D(10)}
    await both.catch_up()
    await both.merge(stream)
    await both.merge(list(reversed(stream)))
    await both.catch_up()
    assert await both.shown() == once
    assert await both.compare() == []


async def test_E18_a_print_that_was_missed_while_later_ones_were_told_is_found(both: Books) -> None:
    """The stream lost some, and told another an hour later: the last one booked is no proof that all before it are."""
    await both.set(reconciled_at=1_800_000_000_000_000)
    _, theirs = await both.placed()
    both.broker.fill(both.place("theirs").broker_order_id, 10, "9")
    both.broker.fill(theirs, 4, "100")
    both.broker.later_us = 3_600_000_000
    await both.merge([both.broker.fill(theirs, 3, "101")])
    assert held(await both.shown()) == {"AAPL": D(3)}
    await both.catch_up()
    assert held(await both.shown()) == {"AAPL": D(17)}
    assert await both.compare() == []


async def test_E18_a_print_of_an_order_in_doubt_is_not_taken_for_somebody_elses(both: Books) -> None:
    """Its answer was lost and the stream was away: the print comes first, under an id that we have not heard of."""
    await both.add_order(state="UNKNOWN", status=None, client_order_id="pd-doubt")
    theirs = both.place("pd-doubt").broker_order_id
    both.broker.fill(theirs, 10, "100")
    await both.catch_up()
    (order,) = (await both.shown())["orders"]
    assert (order["state"], order["status"], order["origin"]) == ("ACCEPTED", "FILLED", "ours")


async def test_an_order_that_its_prints_fill_whole_costs_no_request_of_its_own(both: Books) -> None:
    filled = [await both.placed() for _ in range(12)]
    for _, theirs in filled:
        both.broker.fill(theirs, 10, "100")
    _, canceled = await both.placed()
    both.broker.end(canceled, OrderStatus.CANCELED)
    await both.catch_up()
    assert both.broker.looked_up_by_id == [canceled]
    assert both.broker.looked_up == []
    assert {status for status, _ in rows_of(await both.shown()).values()} == {"FILLED", "CANCELED"}


async def test_look_ups_leave_the_broker_room_for_what_is_urgent(db: Database) -> None:
    broker = Budgeted(60)
    both = await Books(db, broker).open()
    for _ in range(45):
        _, theirs = await both.placed()
        broker.end(theirs, OrderStatus.CANCELED)

    async def a_minute_passes() -> None:
        broker.left = 60

    both.clock.meanwhile = a_minute_passes
    await both.catch_up()
    assert broker.lowest >= 40
    assert len(broker.looked_up_by_id) == 45
    both.clock.meanwhile = None
    broker.left = 0
    await both.add_order(broker_order_id="gone")
    with pytest.raises(NotSent, match="budget"):
        await both.catch_up()


async def test_the_exits_of_an_order_are_looked_up_by_the_brokers_id(both: Books) -> None:
    """Their client ids are ours alone."""
    await both.add_order(
        broker_order_id="exit-1", client_order_id="pd-x.tp", parent_id="ord_gone", group_role="take_profit"
    )
    await both.catch_up()
    assert (both.broker.looked_up_by_id, both.broker.looked_up) == (["exit-1"], [])


async def test_what_a_bust_takes_back_is_no_missing_print(both: Books) -> None:
    _, theirs = await both.placed()
    await both.merge([both.broker.fill(theirs, 4, "100")])
    (wrong,) = both.broker.executions
    bust = replace(wrong, execution_id="bust-1", kind="bust", corrects=wrong.execution_id)
    await both.merge([both.broker.tell(both.broker.view(theirs), bust)])
    assert held(await both.shown()) == {}
    found = await both.compare()
    assert [one.split()[0] for one in found] == ["position", "cash:"], "the fake goes on holding them"


async def test_activities_are_booked_once_however_often_they_are_fetched(both: Books) -> None:
    both.act("dividend", "div-1", "2.50")
    await both.catch_up()
    assert await both.reconciler.missed(await both.row(), 0) == []
    both.broker.later_us = 30 * 86_400_000_000
    both.act("dividend", "div-2", "1")
    await both.catch_up()
    assert (await both.shown())["cash"] == D("3.5")
