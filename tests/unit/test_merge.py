"""What is shown of an order, and what prints make of a position: pure arithmetic on rows (contract E18)."""

import itertools
from dataclasses import replace
from decimal import Decimal
from typing import cast

import pytest

from paiid.brokers import BrokerOrderView
from paiid.core.clock import SystemClock
from paiid.core.db import Tx
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus, Submission
from paiid.trading.book import Book
from paiid.trading.executions import in_force, move, place, signed_qty
from paiid.trading.merge import differs, learn, show
from paiid.trading.records import ExecutionRow, OrderRow, PositionRow, average_price, value_of
from tests.halt_world import order_row

NANO, MICRO = 10**9, 10**6
VIEW = BrokerOrderView(
    account_number="a", broker_order_id="b-1", client_order_id="pd-1", symbol="AAPL", side="buy",
    qty=Decimal(10), type="limit", time_in_force="day", limit_price=Decimal("100.5"), stop_price=None,
    status=OrderStatus.NEW, filled_qty=Decimal(0), filled_avg_price=None, submitted_at_us=1, updated_at_us=1,
)  # fmt: skip


def order(**changes: object) -> OrderRow:
    """Ten AAPL to buy at 100.50, accepted."""
    values = order_row(SystemClock(), "a", "u", "ACCEPTED", 1, qty=10 * NANO, type="limit")
    values |= {"limit_price": 100_500_000, "status": OrderStatus.NEW, "state": Submission.ACCEPTED}
    return OrderRow(**{**values, **changes})  # type: ignore[arg-type]


def told(status: OrderStatus, filled: int = 0, reason: str | None = None) -> BrokerOrderView:
    """The broker's word."""
    return replace(VIEW, status=status, filled_qty=Decimal(filled), reason=reason)


def printed(number: int, qty: int, price: int, side: str = "buy", **changes: object) -> ExecutionRow:
    """A print of whole shares and dollars, executed at this instant."""
    row = ExecutionRow(
        f"e{number}",
        "a",
        "o",
        f"x{number}",
        "fill",
        None,
        "AAPL",
        side,
        qty * NANO,
        price * MICRO,
        0,
        number,
        0,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def flat() -> PositionRow:
    """Nothing held."""
    return PositionRow("a", "AAPL", "stock", 0, 0, 0, 0, 0, 0, 0, 1, 0)


def after(*rows: ExecutionRow) -> tuple[int, int, int]:
    """(shares, cost in dollars, realised in dollars) after these prints in this order."""
    position = flat()
    for row in rows:
        move(position, signed_qty(row), row.price)
    assert position.cost_basis % MICRO == position.realized_pl % MICRO == 0
    return position.qty // NANO, position.cost_basis // MICRO, position.realized_pl // MICRO


@pytest.mark.parametrize("end", sorted(TERMINAL_STATUSES))
def test_E18_a_terminal_status_is_shown_once_its_prints_are_booked(end: OrderStatus) -> None:
    one = order()
    learn(one, told(end, 4))
    assert show(one) is False
    assert one.status is OrderStatus.NEW
    assert one.works
    one.filled_qty = 4 * NANO
    assert show(one) is True
    assert one.status is end
    assert not one.works


@pytest.mark.parametrize("end", sorted(TERMINAL_STATUSES))
@pytest.mark.parametrize("late", sorted(OrderStatus))
def test_E18_what_is_told_after_the_end_does_not_change_it(end: OrderStatus, late: OrderStatus) -> None:
    one = order()
    learn(one, told(end))
    show(one)
    learn(one, told(late))
    show(one)
    assert one.status is end


def test_E18_the_furthest_status_stays_whichever_order_they_come_in() -> None:
    steps = (told(OrderStatus.HELD), told(OrderStatus.NEW), told(OrderStatus.PARTIALLY_FILLED, 3))
    for sequence in itertools.permutations(steps):
        one = order(status=None)
        for view in sequence:
            learn(one, view)
        assert (one.broker_status, one.broker_filled_qty) == (OrderStatus.PARTIALLY_FILLED, 3 * NANO)


def test_E18_a_cumulative_quantity_never_falls() -> None:
    one = order()
    learn(one, told(OrderStatus.PARTIALLY_FILLED, 7))
    learn(one, told(OrderStatus.PARTIALLY_FILLED, 3))
    assert one.broker_filled_qty == 7 * NANO


def test_E18_an_order_whose_prints_are_all_there_is_filled_without_being_told_so() -> None:
    one = order(filled_qty=10 * NANO)
    show(one)
    assert one.status is OrderStatus.FILLED


def test_E18_a_bust_takes_quantity_back_and_not_the_end() -> None:
    one = order(filled_qty=10 * NANO)
    learn(one, told(OrderStatus.FILLED, 10))
    show(one)
    one.filled_qty = 6 * NANO
    assert show(one) is False
    assert one.status is OrderStatus.FILLED


def test_E18_what_was_busted_counts_as_told() -> None:
    """Six of ten are left of what was booked: nothing is missing, and the end may be shown."""
    one = order(filled_qty=6 * NANO)
    learn(one, told(OrderStatus.CANCELED, 10))
    assert show(one) is False
    assert one.status is OrderStatus.PARTIALLY_FILLED
    assert show(one, booked_qty=10 * NANO) is True
    assert one.status is OrderStatus.CANCELED


@pytest.mark.parametrize("end", sorted(TERMINAL_STATUSES))
@pytest.mark.parametrize("wish", ["REQUESTED", "UNKNOWN", "ACCEPTED", "REFUSED"])
def test_E00_a_wish_to_cancel_ends_as_the_order_ends(end: OrderStatus, wish: str) -> None:
    one = order(cancel_state=wish)
    learn(one, told(end))
    show(one)
    assert one.cancel_state == ("ACCEPTED" if end is OrderStatus.CANCELED else "REFUSED")


def test_the_brokers_reason_is_kept_with_the_end_and_the_first_one_stays() -> None:
    one = order()
    learn(one, told(OrderStatus.NEW, reason="working"))
    assert one.reason is None
    learn(one, told(OrderStatus.EXPIRED, reason="the day is over"))
    learn(one, told(OrderStatus.CANCELED, reason="another"))
    assert one.reason == '{"code":"expired","message":"the day is over"}'


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({}, None),
        ({"symbol": "MSFT"}, "symbol"),
        ({"side": "sell"}, "side"),
        ({"qty": Decimal(11)}, "qty"),
        ({"type": "market"}, "type"),
        ({"limit_price": Decimal("100.51")}, "limit_price"),
        ({"limit_price": None}, "limit_price"),
        ({"stop_price": Decimal(1)}, "stop_price"),
        ({"qty": Decimal("10.000")}, None),
        ({"time_in_force": "gtc"}, None),
    ],
)
def test_E12_an_order_is_ours_if_it_is_equal_in_what_the_broker_echoes(
    change: dict[str, object], field: str | None
) -> None:
    assert differs(order(), replace(VIEW, **change)) == field  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ((printed(1, 10, 100),), (10, 1000, 0)),
        ((printed(1, 10, 100), printed(2, 10, 110)), (20, 2100, 0)),
        ((printed(1, 10, 100), printed(2, 4, 110, "sell")), (6, 600, 40)),
        ((printed(1, 10, 100), printed(2, 10, 110, "sell")), (0, 0, 100)),
        ((printed(1, 10, 100), printed(2, 15, 110, "sell")), (-5, -550, 100)),
        ((printed(1, 10, 100, "sell"),), (-10, -1000, 0)),
        ((printed(1, 10, 100, "sell"), printed(2, 4, 90)), (-6, -600, 40)),
        ((printed(1, 10, 100, "sell"), printed(2, 15, 90)), (5, 450, 100)),
    ],
)
def test_a_position_is_kept_at_average_cost(rows: tuple[ExecutionRow, ...], wanted: tuple[int, ...]) -> None:
    assert after(*rows) == wanted


def test_a_flat_position_never_keeps_a_fraction_of_a_cent() -> None:
    position = flat()
    move(position, 3 * NANO, 33_333_333)
    for _ in range(3):
        move(position, -NANO, 40 * MICRO)
    assert (position.qty, position.cost_basis) == (0, 0)
    assert position.realized_pl == 3 * 40 * MICRO - value_of(3 * NANO, 33_333_333)


def test_E18_a_print_and_its_bust_are_as_if_they_had_never_been() -> None:
    """Also where what was bought was sold in between at another price."""
    bought, wrong, sold = printed(1, 10, 100), printed(2, 10, 120), printed(3, 5, 130, "sell")
    bust = printed(4, -10, 120, kind="bust", corrects="x2")
    for arrival in itertools.permutations((bought, wrong, sold, bust)):
        assert in_force(arrival) == [bought, sold]
    assert after(*in_force([bought, wrong, sold, bust])) == (5, 500, 150)


def test_E18_a_bust_that_names_nothing_known_is_a_print_of_its_own() -> None:
    rows = [printed(1, 10, 100), printed(2, -4, 100, kind="bust", corrects="x9")]
    assert in_force(rows) == rows
    assert after(*rows) == (6, 600, 0)


def test_E18_prints_stand_by_time_and_then_by_id() -> None:
    rows = [printed(2, 1, 1), printed(1, 1, 1), replace(printed(9, 1, 1), executed_at=1)]
    assert [row.execution_id for row in sorted(rows, key=place)] == ["x1", "x9", "x2"]


@pytest.mark.parametrize(
    ("value", "qty", "wanted"),
    [(1000 * MICRO, 10 * NANO, 100 * MICRO), (100 * MICRO, 3 * NANO, 33_333_333), (0, 0, None)],
)
def test_an_average_price_is_rounded_half_up_and_of_nothing_there_is_none(
    value: int, qty: int, wanted: int | None
) -> None:
    assert average_price(value, qty) == wanted


def test_a_value_taken_back_is_exactly_what_was_booked() -> None:
    for qty, price in ((1, 500_000_000), (3, 500_000_000), (333_333_333, 33_333_333), (7, 1)):
        assert value_of(-qty, price) == -value_of(qty, price)


def test_a_stop_to_buy_that_the_broker_tells_as_a_stop_limit_is_the_same_order() -> None:
    ours = order(type="stop", limit_price=None, stop_price=101 * MICRO)
    echoed = replace(VIEW, type="stop_limit", limit_price=Decimal("103.52"), stop_price=Decimal(101))
    assert differs(ours, echoed) is None
    assert differs(ours, replace(echoed, stop_price=Decimal(102))) == "stop_price"
    assert differs(replace(ours, side="sell"), replace(echoed, side="sell")) == "type"
    assert differs(replace(ours, type="stop_limit", limit_price=102 * MICRO), echoed) == "limit_price"


@pytest.mark.parametrize(
    ("own", "before", "told", "shown"),
    [
        (3, 4, 7, OrderStatus.CANCELED),
        (3, 4, 3, OrderStatus.CANCELED),
        (2, 4, 7, OrderStatus.PARTIALLY_FILLED),
        (3, None, 7, OrderStatus.PARTIALLY_FILLED),
    ],
)
def test_what_is_told_of_a_replacement_may_include_what_the_old_order_had_filled(
    own: int, before: int | None, told: int, shown: OrderStatus
) -> None:
    old = order(filled_qty=(before or 0) * NANO)
    new = order(
        replaces=None if before is None else old.id,
        filled_qty=own * NANO,
        broker_filled_qty=told * NANO,
        broker_status=OrderStatus.CANCELED,
    )
    book = Book(cast("Tx", None), SystemClock(), 1)
    book.register(old)
    show(new, book=book)
    assert new.status is shown
