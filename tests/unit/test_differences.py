"""What counts as a difference between the ledger and the broker's books: arithmetic over two looks."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerAccount, BrokerOrderView, BrokerPosition
from paiid.core.clock import SystemClock
from paiid.domain.orders import OrderStatus, Submission
from paiid.trading.differences import (
    BrokersBooks,
    Difference,
    Ledger,
    Look,
    is_alarm,
    problem_text,
    seen_twice,
)
from paiid.trading.records import AccountRow, OrderRow
from tests.halt_world import order_row

D = Decimal
NANO = 10**9
NOW_US = 1_000_000_000
VIEW = BrokerOrderView(
    account_number="a", broker_order_id="b-1", client_order_id="pd-1", symbol="AAPL", side="buy", qty=D(10),
    type="limit", time_in_force="day", limit_price=D(100), stop_price=None, status=OrderStatus.NEW,
    filled_qty=D(0), filled_avg_price=None, submitted_at_us=1, updated_at_us=1,
)  # fmt: skip


def order(name: str = "one", **changes: Any) -> OrderRow:
    """An order that works, and was last heard of long ago."""
    row = order_row(SystemClock(), "a", "u", "ACCEPTED", 1, id=name, qty=10 * NANO)
    row |= {"broker_order_id": "b-1", "client_order_id": "pd-1", "status": OrderStatus.NEW}
    return OrderRow(**{**row, "state": Submission.ACCEPTED, **changes})  # type: ignore[arg-type]


def look(
    *orders: OrderRow,
    views: tuple[BrokerOrderView, ...] = (),
    looked_up: Mapping[str, BrokerOrderView | None] | None = None,
    ours: Mapping[str, int] | None = None,
    theirs: Mapping[str, int] | None = None,
    cash: str = "0",
    told_cash: str = "0",
    prints: int = 0,
    exact: bool = False,
    booked: Mapping[str, Decimal] | None = None,
) -> Look:
    """Two sides."""
    account = AccountRow("a", "fake", "paper", "a", "u", "a", "active", int(D(cash) * 10**6), 0, 0, 0, 1, 0, None,
                         None, 1)  # fmt: skip
    ledger = Ledger(account, {s: D(q) for s, q in (ours or {}).items()}, orders, booked or {}, prints, NOW_US)
    held = {s: BrokerPosition(s, D(q), D(1)) for s, q in (theirs or {}).items()}
    told = BrokersBooks(
        BrokerAccount("a", D(told_cash), "active"),
        held,
        {view.broker_order_id: view for view in views},
        looked_up or {},
    )
    return Look(ledger, told, exact)


def said(one: Look) -> list[str]:
    return [str(difference) for difference in one.differences()]


def test_positions_differ_by_symbol_and_a_flat_one_is_none() -> None:
    assert said(look(ours={"A": 1, "B": 2}, theirs={"A": 1, "B": 2})) == []
    assert said(look(ours={"A": 1, "C": -2}, theirs={"A": 3, "B": 4})) == [
        "position A: ours 1, broker 3",
        "position B: ours 0, broker 4",
        "position C: ours -2, broker 0",
    ]


@pytest.mark.parametrize(
    ("told", "prints", "exact", "rounding", "differs"),
    [
        ("10", 0, False, "0", False),
        ("10.01", 0, False, "0", True),
        ("10.01", 1, False, "0.01", False),
        ("9.99", 1, False, "-0.01", False),
        ("10.02", 1, False, "0", True),
        ("10.02", 2, False, "0.02", False),
        ("10.000001", 0, False, "0", True),
        ("10.000001", 5, True, "0", True),
        ("10.01", 5, True, "0", True),
    ],
)
def test_cash_may_be_away_by_a_cent_a_print_where_the_broker_keeps_cents(
    told: str, prints: int, exact: bool, rounding: str, differs: bool
) -> None:
    one = look(cash="10", told_cash=told, prints=prints, exact=exact)
    assert one.rounding == D(rounding)
    assert [d.kind for d in one.differences()] == (["cash"] if differs else [])


def test_an_order_counts_as_missing_only_where_a_look_up_said_so_and_it_is_not_young() -> None:
    assert said(look(order())) == [], "it was not looked up"
    assert said(look(order(), looked_up={"one": None})) == ["order one: ours NEW, broker none"]
    assert said(look(order(updated_at=NOW_US - 1), looked_up={"one": None})) == []
    assert said(look(order(), looked_up={"one": VIEW})) == []
    assert said(look(order(), views=(VIEW,))) == []


def test_an_order_that_ended_at_the_broker_is_told_once_by_its_end_or_by_its_missing_fills() -> None:
    ended = replace(VIEW, status=OrderStatus.CANCELED, filled_qty=D(4))
    assert said(look(order(), looked_up={"one": ended})) == ["fills one: ours 0, broker 4"]
    booked = order(filled_qty=4 * NANO, status=OrderStatus.PARTIALLY_FILLED)
    assert said(look(booked, looked_up={"one": ended})) == [
        "order one: ours PARTIALLY_FILLED, broker CANCELED"
    ]


def test_fills_are_missing_where_prints_do_not_come_to_what_was_told() -> None:
    view = replace(VIEW, filled_qty=D(4))
    assert said(look(order(filled_qty=3 * NANO), views=(view,))) == ["fills one: ours 3, broker 4"]
    assert said(look(order(filled_qty=4 * NANO), views=(view,))) == []
    assert said(look(order(filled_qty=5 * NANO), views=(view,))) == [], "the list is older than the print"
    assert said(look(order(broker_filled_qty=4 * NANO), views=(VIEW,))) == ["fills one: ours 0, broker 4"]
    busted = order(broker_filled_qty=4 * NANO)
    assert said(look(busted, views=(view,), booked={"one": D(4)})) == [], "a bust took them back"


def test_what_is_told_of_a_replacement_may_include_its_predecessors_fills() -> None:
    old = order("old", broker_order_id="b-0", client_order_id="pd-0", open=0, filled_qty=3 * NANO)
    new = order(replaces="old", filled_qty=NANO)
    assert said(look(old, new, views=(replace(VIEW, filled_qty=D(4)),))) == []
    assert said(look(old, new, views=(replace(VIEW, filled_qty=D(5)),))) == ["fills one: ours 1, broker 5"]


def test_a_spread_has_no_fills_of_its_own_but_an_end() -> None:
    spread = order(order_class="mleg")
    view = replace(VIEW, order_class="mleg", filled_qty=D(2))
    assert said(look(spread, views=(view,))) == []
    ended = replace(view, status=OrderStatus.CANCELED)
    assert said(look(spread, looked_up={"one": ended})) == ["order one: ours NEW, broker CANCELED"]


def test_orders_at_the_broker_are_known_by_either_id() -> None:
    other = replace(VIEW, broker_order_id="b-9", client_order_id="theirs")
    assert said(look(views=(other,))) == ["order b-9: ours none, broker NEW"]
    assert said(look(order(broker_order_id=None, client_order_id="theirs"), views=(other,))) == []


@pytest.mark.parametrize("state", ["QUEUED", "DISPATCHING", "UNKNOWN"])
def test_what_hangs_on_an_order_in_doubt_is_in_doubt_with_it(state: str) -> None:
    doubt = order(state=Submission(state), broker_order_id=None)
    assert said(look(doubt, views=(VIEW,))) == []
    leg = replace(VIEW, broker_order_id="b-2", client_order_id="leg", parent_broker_order_id="b-1")
    known = order(state=Submission(state))
    assert said(look(known, views=(VIEW, leg))) == []
    accepted = order()
    assert said(look(accepted, views=(VIEW, leg))) == ["order b-2: ours none, broker NEW"]


@pytest.mark.parametrize("state", ["REJECTED", "NOT_PLACED", "REFUSED", "SKIPPED"])
def test_an_order_that_is_final_here_and_works_there_differs(state: str) -> None:
    final = order(state=Submission(state), status=None, open=0)
    assert said(look(final, views=(VIEW,))) == [f"order one: ours {state}, broker NEW"]


def test_two_looks_show_the_same_difference_though_both_numbers_moved() -> None:
    first = [Difference("cash", "", "10", "15", D(5)), Difference("position", "A", "1", "2", D(1))]
    second = [Difference("cash", "", "7", "12", D(5)), Difference("position", "A", "1", "3", D(2))]
    assert seen_twice(first, second) == (second[0],)
    other = Difference("order", "one", "NEW", "none")
    assert seen_twice([other], [replace(other, broker="CANCELED")]) == ()


def test_the_text_for_people_is_bounded() -> None:
    assert problem_text([]) is None
    few = [Difference("position", s, "1", "2", D(1)) for s in "AB"]
    assert problem_text(few) == "position A: ours 1, broker 2; position B: ours 1, broker 2"
    many = [Difference("order", "x" * 200, "NEW", "none") for _ in range(9)]
    text = problem_text(many) or ""
    assert len(text) == 300
    assert text.endswith("; and 6 more")


def test_no_difference_reads_like_an_alarm() -> None:
    for kind in ("position", "cash", "order", "fills"):
        text = problem_text([Difference(kind, "x", "1", "2")])  # type: ignore[arg-type]
        assert not is_alarm(text)
    assert is_alarm("order.overfilled ord_1")
    assert is_alarm("execution.bust ord_1")
    assert not is_alarm(None)


def test_the_broker_stands_still_only_if_nothing_has_moved() -> None:
    one = look(views=(VIEW,), theirs={"A": 1}, told_cash="5").theirs
    assert one.standing_still(look(views=(VIEW,), theirs={"A": 1}, told_cash="5").theirs)
    for other in (
        look(views=(VIEW,), theirs={"A": 2}, told_cash="5"),
        look(views=(VIEW,), theirs={"A": 1}, told_cash="6"),
        look(views=(), theirs={"A": 1}, told_cash="5"),
        look(views=(replace(VIEW, filled_qty=D(1)),), theirs={"A": 1}, told_cash="5"),
        look(views=(VIEW,), theirs={"A": 1}, told_cash="5", looked_up={"x": None}),
    ):
        assert not one.standing_still(other.theirs)
