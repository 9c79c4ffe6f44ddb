"""An exit in a status that nobody knows is taken for held, which every other status can follow; a live one cannot."""

from typing import Any

import pytest

from paiid.brokers.alpaca.readers import read_order
from paiid.domain.orders import OrderStatus
from tests.alpaca_wire import bracket, order


def statuses(told: dict[str, Any]) -> list[OrderStatus]:
    view = read_order(told, "PA3TEST000001")
    assert view is not None
    return [view.status, *(leg.status for leg in view.legs)]


def told_as(status: Any, **changes: Any) -> dict[str, Any]:
    legs = [{**leg, "status": status, **changes} for leg in bracket()["legs"]]
    return bracket(status=status, legs=legs)


@pytest.mark.parametrize("status", ["under_consideration", 7, None])
def test_an_exit_in_an_unknown_status_is_held_and_its_entry_new(status: Any) -> None:
    assert statuses(told_as(status)) == [OrderStatus.NEW, OrderStatus.HELD, OrderStatus.HELD]


def test_an_exit_that_has_filled_in_part_is_not_held() -> None:
    assert statuses(told_as("under_consideration", filled_qty="4"))[1:] == [OrderStatus.PARTIALLY_FILLED] * 2


def test_an_exit_told_by_itself_is_held_too() -> None:
    alone = order(order_class="bracket", side="sell", status="under_consideration", group_role="stop_loss")
    assert statuses(alone) == [OrderStatus.HELD]


def test_the_exits_of_an_oco_are_never_held_by_guess() -> None:
    alone = order(order_class="oco", side="sell", status="under_consideration", group_role="take_profit")
    assert statuses(alone) == [OrderStatus.NEW]
