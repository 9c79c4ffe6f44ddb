"""Prints of an order that the broker does not tell of yet, while one of ours is in doubt: they wait, or nobody would ever
know it for ours again."""

import pytest

from paiid.core.db import Database
from tests.reconcile_world import Books


@pytest.fixture
async def both(db: Database) -> Books:
    return await Books(db).open()


async def test_E18_a_print_of_an_order_in_doubt_waits_while_the_broker_does_not_know_the_order(
    both: Books,
) -> None:
    await both.add_order(state="UNKNOWN", status=None, client_order_id="pd-doubt")
    theirs = both.place("pd-doubt").broker_order_id
    both.broker.fill(theirs, 10, "100")
    both.broker.hidden = True
    await both.catch_up()
    (order,) = (await both.shown())["orders"]
    assert (order["state"], order["filled_qty"]) == ("UNKNOWN", 0)
    both.broker.hidden = False
    await both.catch_up()
    (order,) = (await both.shown())["orders"]
    assert (order["state"], order["status"], order["origin"]) == ("ACCEPTED", "FILLED", "ours")


async def test_E18_an_order_claimed_while_prints_are_fetched_counts_as_in_doubt(both: Books) -> None:
    fetch = both.broker.fetch_executions

    async def meanwhile(number: str, after_us: int, timeout_s: float) -> object:
        theirs = both.place("pd-just-now").broker_order_id
        both.broker.fill(theirs, 10, "100")
        await both.add_order(state="DISPATCHING", status=None, client_order_id="pd-just-now")
        both.broker.hidden = True
        return await fetch(number, after_us, timeout_s)

    both.broker.fetch_executions = meanwhile  # type: ignore[method-assign, assignment]
    await both.catch_up()
    (order,) = (await both.shown())["orders"]
    assert (order["state"], order["filled_qty"]) == ("DISPATCHING", 0)


async def test_E18_prints_of_a_stranger_are_booked_where_nothing_of_ours_is_in_doubt(both: Books) -> None:
    theirs = both.place("theirs").broker_order_id
    both.broker.fill(theirs, 10, "100")
    both.broker.hidden = True
    # It works no more, so that no list tells of it either.
    await both.catch_up()
    (order,) = (await both.shown())["orders"]
    assert (order["origin"], order["filled_qty"]) == ("external", 10)
