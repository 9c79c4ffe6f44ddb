"""An exit that is told while the bracket it hangs on is still in doubt: it is that bracket's, and nobody else's (E18)."""

from dataclasses import replace

import pytest

from paiid.brokers import BrokerOrderView, BrokerUpdate
from paiid.core.db import Database
from paiid.domain.orders import OrderStatus
from tests.reconcile_world import Books, place


@pytest.fixture
async def both(db: Database) -> Books:
    return await Books(db).open()


async def in_doubt(both: Books) -> None:
    """A bracket whose answer was lost, with the exits that it was sent with."""
    common = {"state": "UNKNOWN", "status": None, "order_class": "bracket"}
    entry = await both.add_order(client_order_id="pd-b", group_role="entry", **common)
    exits = {"side": "sell", "parent_id": entry, "type": "limit", "limit_price": 120_000_000}
    await both.add_order(client_order_id="pd-b.tp", group_role="take_profit", position=1, **exits, **common)
    exits = {
        "side": "sell",
        "parent_id": entry,
        "type": "stop",
        "limit_price": None,
        "stop_price": 80_000_000,
    }
    await both.add_order(client_order_id="pd-b.sl", group_role="stop_loss", position=2, **exits, **common)


def told(both: Books) -> BrokerOrderView:
    """The bracket as the broker has it, nested."""
    entry = place(both.broker, "pd-b")
    named = {"order_class": "bracket", "side": "sell", "parent_broker_order_id": entry.broker_order_id}
    profit = replace(
        entry,
        broker_order_id="tp",
        client_order_id="made-up-1",
        group_role="take_profit",
        limit_price=120,
        **named,
    )  # type: ignore[arg-type]
    loss = replace(
        entry, broker_order_id="sl", client_order_id="made-up-2", group_role="stop_loss", type="stop",
        limit_price=None, stop_price=80, **named,
    )  # type: ignore[arg-type] # fmt: skip
    legs = tuple(replace(one, status=OrderStatus.HELD) for one in (profit, loss))
    return replace(entry, order_class="bracket", group_role="entry", legs=legs)


@pytest.mark.parametrize("knows_parent", [True, False])
async def test_E18_an_exit_of_a_bracket_in_doubt_waits_for_its_bracket(
    both: Books, knows_parent: bool
) -> None:
    await in_doubt(both)
    bracket = told(both)
    first = bracket.legs[0]
    if not knows_parent:
        first = replace(first, parent_broker_order_id=None)
    await both.merge([BrokerUpdate(1, first)])
    await both.merge([BrokerUpdate(2, bracket)])
    rows = (await both.shown())["orders"]
    assert {row["group_role"]: row["broker_order_id"] for row in rows} == {
        "entry": bracket.broker_order_id,
        "take_profit": "tp",
        "stop_loss": "sl",
    }
    assert [(row["origin"], row["state"]) for row in rows] == [("ours", "ACCEPTED")] * 3


async def test_E18_an_exit_of_somebody_elses_is_taken_in_where_nothing_of_ours_is_in_doubt(
    both: Books,
) -> None:
    await both.merge([BrokerUpdate(1, told(both).legs[0])])
    (row,) = (await both.shown())["orders"]
    assert (row["origin"], row["broker_order_id"]) == ("external", "tp")
