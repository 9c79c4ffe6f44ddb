"""How a print at Alpaca is named and when it is believed, and how much is remembered for it (docs/adr/0014)."""

import copy
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from paiid.brokers import BrokerExecution, BrokerOrderView
from paiid.brokers.alpaca.events import EventReader, Reread, Resync, Told
from paiid.brokers.alpaca.families import Families
from paiid.brokers.alpaca.holdings import read_execution
from paiid.brokers.alpaca.readers import read_order
from paiid.domain.money import money_to_int, qty_to_int
from tests.alpaca_wire import NUMBER, ORDER_ID, bracket, fill, order

_EVENT = {
    "event": "partial_fill", "execution_id": "2f63ea93-423d-4169-b3f6-3fdafc10c418", "price": "65.25", "qty": "4",
    "timestamp": "2026-10-08T14:45:10.130000Z", "position_qty": "4",
    "order": order(status="partially_filled", filled_qty="4", filled_avg_price="65.25"),
}  # fmt: skip


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in an object."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from spots(inner, (*path, key))


def fits_the_ledger(view: BrokerOrderView) -> None:
    """Every number must have a place in the ledger: scaling raises where one has not."""
    assert view.broker_order_id
    assert view.symbol
    assert view.filled_qty >= 0
    for money in (
        view.limit_price,
        view.stop_price,
        view.notional,
        view.filled_avg_price,
        view.hwm,
        view.trail_price,
    ):
        if money is not None:
            money_to_int(money)
    for qty in (view.qty, view.filled_qty):
        if qty is not None:
            qty_to_int(qty)
    for leg in view.legs:
        assert leg.parent_broker_order_id == view.broker_order_id
        fits_the_ledger(leg)


def test_a_print_has_one_name_whoever_tells_it() -> None:
    by_rest = read_execution(fill(cum_qty="4.000", side="buy"), NUMBER, 1)
    by_stream = EventReader(Families()).read(_EVENT, NUMBER)
    assert by_rest is not None
    assert isinstance(by_stream, Told)
    assert isinstance(by_stream.execution, BrokerExecution)
    assert by_rest.execution_id == by_stream.execution.execution_id == f"{ORDER_ID}:4"
    assert by_rest == by_stream.execution
    short = read_execution(fill(side="sell_short"), NUMBER, 1)
    assert short is not None
    assert short.side == "sell"


def test_a_print_is_believed_only_behind_one_that_is_known() -> None:
    reader = EventReader(Families(), limit=2)
    event = copy.deepcopy(_EVENT)
    event["order"]["filled_qty"] = "10"
    assert reader.read(event, NUMBER) == Reread(ORDER_ID)
    reader.note(ORDER_ID, Decimal(6))
    assert isinstance(reader.read(event, NUMBER), Told)
    reader.note("second", Decimal(1))
    reader.note("third", Decimal(1))
    assert reader.read(event, NUMBER) == Reread(ORDER_ID)
    assert reader.read({"event": "trade_bust", "order": event["order"]}, NUMBER) == Resync()


def test_families_remember_no_more_than_they_may() -> None:
    families = Families(limit=10)
    for at in range(50):
        nested = bracket(id=f"root-{at}")
        for leg in nested["legs"]:
            leg["id"] = f"{leg['id']}-{at}"
        view = read_order(nested, NUMBER)
        assert view is not None
        families.note(view)
    assert families.root_of("tp-1-49") == "root-49"
    assert families.root_of("tp-1-3") is None
    alone = read_order(bracket()["legs"][1] | {"id": "sl-1-49"}, NUMBER)
    assert alone is not None
    placed = families.place(alone)
    assert placed is not None
    assert placed.parent_broker_order_id == "root-49"
