"""Which prices and fields make a group of orders, both ways, without a venue."""

from dataclasses import replace
from decimal import Decimal

import pytest

from paiid.domain.orders import OrderRequest, OrderStatus, StopLoss, TakeProfit
from paiid.domain.paper import PaperRefused
from paiid.domain.paper_groups import (
    check_exit_prices,
    check_exit_qty,
    check_group,
    check_group_prices,
    counts,
    exits_of,
    role_of_parent,
    suffixes,
)

D = Decimal
ENTRY = OrderRequest("AAPL", "buy", "limit", "gtc", D(100), D(100), None)
BRACKET = replace(
    ENTRY, order_class="bracket", take_profit=TakeProfit(D(110)), stop_loss=StopLoss(D(95), D("94.50"))
)
OCO = replace(ENTRY, side="sell", limit_price=D(110), order_class="oco", stop_loss=StopLoss(D(95)))


@pytest.mark.parametrize(
    ("side", "profit", "stop", "base", "fits"),
    [
        ("sell", "100.01", "99.99", "100", True),
        ("sell", "100.00", "99.99", "100", False),
        ("sell", "100.01", "100.00", "100", False),
        ("sell", "100.01", "100.00", None, True),
        ("sell", "100.00", "100.00", None, False),
        ("sell", "110", None, "100", True),
        ("sell", None, "99.99", "100", True),
        ("sell", None, "99.995", "100", False),
        ("buy", "99.99", "100.01", "100", True),
        ("buy", "100.00", "100.01", "100", False),
        ("buy", "99.99", "100.00", "100", False),
        ("buy", "99.99", "99.98", None, False),
    ],
)
def test_a_take_profit_lies_beyond_the_entry_and_a_stop_a_cent_before_it(
    side: str, profit: str | None, stop: str | None, base: str | None, fits: bool
) -> None:
    prices = [None if one is None else D(one) for one in (profit, stop, base)]
    if fits:
        check_exit_prices(side, *prices)  # type: ignore[arg-type]
        return
    with pytest.raises(PaperRefused) as caught:
        check_exit_prices(side, *prices)  # type: ignore[arg-type]
    assert caught.value.code == "bracket_prices"


def test_the_base_is_the_entry_s_limit_else_its_stop_else_the_market() -> None:
    stop_entry = replace(BRACKET, type="stop", limit_price=None, stop_price=D(109))
    market = replace(BRACKET, type="market", limit_price=None)
    check_group_prices(BRACKET, D(200))
    check_group_prices(stop_entry, D(200))
    check_group_prices(market, D("109.99"))
    for one, price in ((market, D(110)), (replace(stop_entry, stop_price=D(110)), D(100)), (market, D(95))):
        with pytest.raises(PaperRefused, match=r"110|95"):
            check_group_prices(one, price)


@pytest.mark.parametrize(
    "one",
    [
        replace(BRACKET, stop_loss=None),
        replace(BRACKET, take_profit=None),
        replace(BRACKET, order_class="oto"),
        replace(ENTRY, order_class="oto"),
        replace(OCO, stop_loss=None),
        replace(OCO, limit_price=None),
        replace(OCO, take_profit=TakeProfit(D(111))),
    ],
)
def test_fields_that_do_not_make_the_class_are_refused(one: OrderRequest) -> None:
    with pytest.raises(PaperRefused) as caught:
        check_group(one)
    assert caught.value.code == "order_class_fields"


@pytest.mark.parametrize(
    "one",
    [
        BRACKET,
        replace(BRACKET, order_class="oto", take_profit=None),
        replace(BRACKET, order_class="oto", stop_loss=None),
        OCO,
        replace(OCO, take_profit=TakeProfit(D(110))),
    ],
)
def test_fields_that_make_the_class_are_taken(one: OrderRequest) -> None:
    check_group(one)


def test_exits_are_single_orders_on_the_other_side() -> None:
    (role, profit), (other, loss) = exits_of(BRACKET)
    assert (role, profit.type, profit.side, profit.limit_price) == ("take_profit", "limit", "sell", 110)
    assert (other, loss.type, loss.stop_price, loss.limit_price) == ("stop_loss", "stop_limit", 95, D("94.5"))
    assert {profit.order_class, loss.order_class} == {"simple"}
    assert {profit.qty, loss.qty} == {100}
    trailing = replace(BRACKET, stop_loss=StopLoss(trail_percent=D(5)))
    assert [one.trail_percent for _, one in exits_of(trailing)] == [None, 5]


def test_an_oco_is_an_exit_itself() -> None:
    ((role, loss),) = exits_of(OCO)
    assert (role, loss.side, loss.limit_price) == ("stop_loss", "sell", None)
    assert role_of_parent("oco") == "take_profit"
    assert (suffixes(BRACKET), suffixes(OCO), suffixes(ENTRY)) == ([".tp", ".sl"], [".sl"], [])


@pytest.mark.parametrize(
    ("side", "qty", "held", "reserved", "fits"),
    [
        ("sell", 10, 10, 0, True),
        ("sell", 11, 10, 0, False),
        ("sell", 10, 10, 1, False),
        ("buy", 10, -10, 0, True),
        ("buy", 10, -10, 1, False),
        ("buy", 1, 10, 0, False),
        ("sell", 1, -10, 0, False),
        ("sell", 1, 0, 0, False),
    ],
)
def test_an_oco_is_for_what_is_held_and_free(
    side: str, qty: int, held: int, reserved: int, fits: bool
) -> None:
    if fits:
        check_exit_qty(side, D(qty), D(held), D(reserved))  # type: ignore[arg-type]
        return
    with pytest.raises(PaperRefused) as caught:
        check_exit_qty(side, D(qty), D(held), D(reserved))  # type: ignore[arg-type]
    assert caught.value.code == "insufficient_qty"


def test_of_two_exits_one_counts_and_what_is_held_does_not() -> None:
    new, held = OrderStatus.NEW, OrderStatus.HELD
    assert counts("simple", None, new)
    assert counts("bracket", "entry", new)
    assert counts("bracket", "take_profit", new)
    assert counts("oto", "stop_loss", new)
    assert not counts("bracket", "stop_loss", new)
    assert not counts("oco", "stop_loss", new)
    assert not counts("bracket", "take_profit", held)
    assert not counts("mleg", None, new)
    assert not counts("mleg", "leg", new)
