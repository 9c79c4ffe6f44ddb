"""Orders and changes as Alpaca's JSON: every class and type of the reference, and what is refused before it is sent."""

from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerOrder, BrokerRejected, BrokerReplace
from paiid.brokers.alpaca.capabilities import CAPABILITIES
from paiid.brokers.alpaca.requests import order_body, replace_body
from paiid.domain.capabilities import cannot_hold
from paiid.domain.orders import Leg, OrderRequest, StopLoss, TakeProfit

_PROFIT = TakeProfit(Decimal("70.00"))
_LOSS = StopLoss(stop_price=Decimal(60))
_LEGS = (
    Leg("SPY261218P00640000", "sell", 1, "sell_to_open"),
    Leg("SPY261218P00630000", "buy", 2, "buy_to_open"),
)


def made(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "account_number": "PA3TEST000001", "client_order_id": "r1-0001", "symbol": "XYZ", "side": "buy",
        "qty": Decimal(10), "type": "market", "time_in_force": "day",
    }  # fmt: skip
    return order_body(BrokerOrder(**(fields | changes)))


_PLAIN = {"client_order_id": "r1-0001", "symbol": "XYZ", "side": "buy", "qty": "10", "time_in_force": "day"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"type": "market"}),
        ({"type": "limit", "limit_price": Decimal("65.2500")}, {"type": "limit", "limit_price": "65.25"}),
        ({"type": "stop", "stop_price": Decimal("1E+2")}, {"type": "stop", "stop_price": "100"}),
        (
            {"type": "stop_limit", "stop_price": Decimal(60), "limit_price": Decimal("0.0001")},
            {"type": "stop_limit", "stop_price": "60", "limit_price": "0.0001"},
        ),
        (
            {"type": "trailing_stop", "trail_price": Decimal("1.50")},
            {"type": "trailing_stop", "trail_price": "1.5"},
        ),
        (
            {"type": "trailing_stop", "trail_percent": Decimal(5)},
            {"type": "trailing_stop", "trail_percent": "5"},
        ),
        (
            {"type": "limit", "limit_price": Decimal(1), "extended_hours": True, "time_in_force": "gtc"},
            {"type": "limit", "limit_price": "1", "extended_hours": True, "time_in_force": "gtc"},
        ),
        ({"qty": Decimal("0.123456789")}, {"type": "market", "qty": "0.123456789"}),
        (
            {"symbol": "SPY261218C00700000", "position_intent": "buy_to_open"},
            {"type": "market", "symbol": "SPY261218C00700000", "position_intent": "buy_to_open"},
        ),
        (
            {"order_class": "bracket", "take_profit": _PROFIT, "stop_loss": _LOSS},
            {
                "type": "market",
                "order_class": "bracket",
                "take_profit": {"limit_price": "70"},
                "stop_loss": {"stop_price": "60"},
            },
        ),
        (
            {"order_class": "oto", "stop_loss": StopLoss(stop_price=Decimal(60), limit_price=Decimal(59))},
            {"type": "market", "order_class": "oto", "stop_loss": {"stop_price": "60", "limit_price": "59"}},
        ),
        (
            {"order_class": "oto", "take_profit": _PROFIT},
            {"type": "market", "order_class": "oto", "take_profit": {"limit_price": "70"}},
        ),
        (
            {
                "order_class": "oco",
                "type": "limit",
                "side": "sell",
                "limit_price": Decimal(70),
                "stop_loss": _LOSS,
            },
            {
                "type": "limit",
                "side": "sell",
                "order_class": "oco",
                "take_profit": {"limit_price": "70"},
                "stop_loss": {"stop_price": "60"},
            },
        ),
    ],
)
def test_an_order_is_told_with_every_field_that_it_has_and_no_other(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert made(**changes) == _PLAIN | expected


def test_an_order_by_amount_has_no_quantity() -> None:
    body = made(qty=None, notional=Decimal("250.50"))
    assert (body["notional"], "qty" in body) == ("250.5", False)


@pytest.mark.parametrize("net", ["-0.85", "1.20"])
def test_a_spread_has_a_signed_net_price_and_neither_symbol_nor_side(net: str) -> None:
    body = made(
        symbol="SPY", order_class="mleg", type="limit", limit_price=Decimal(net), qty=Decimal(2), legs=_LEGS
    )
    assert body == {
        "client_order_id": "r1-0001", "type": "limit", "time_in_force": "day", "order_class": "mleg", "qty": "2",
        "limit_price": str(Decimal(net).normalize()),
        "legs": [
            {"symbol": "SPY261218P00640000", "ratio_qty": "1", "side": "sell", "position_intent": "sell_to_open"},
            {"symbol": "SPY261218P00630000", "ratio_qty": "2", "side": "buy", "position_intent": "buy_to_open"},
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"qty": None}, "qty_or_notional"),
        ({"notional": Decimal(5)}, "qty_or_notional"),
        ({"client_order_id": ""}, "client_order_id"),
        ({"client_order_id": "x" * 129}, "client_order_id"),
        ({"client_order_id": "blank here"}, "client_order_id"),
        ({"client_order_id": "ключ"}, "client_order_id"),
        ({"order_class": "bracket", "take_profit": _PROFIT}, "order_class_fields"),
        ({"order_class": "oto", "take_profit": _PROFIT, "stop_loss": _LOSS}, "order_class_fields"),
        ({"order_class": "oco", "type": "limit", "limit_price": Decimal(70)}, "order_class_fields"),
        (
            {"order_class": "bracket", "take_profit": _PROFIT, "stop_loss": StopLoss(trail_price=Decimal(1))},
            "trailing_stop_loss_not_supported",
        ),
        ({"order_class": "mleg", "legs": _LEGS[:1]}, "legs_count"),
        ({"order_class": "mleg", "legs": _LEGS * 3}, "legs_count"),
        ({"order_class": "mleg", "legs": (_LEGS[1], _LEGS[1])}, "ratio_not_lowest_terms"),
    ],
)
def test_what_alpaca_has_no_words_for_is_refused_before_it_is_sent(
    changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(BrokerRejected) as caught:
        made(**changes)
    assert caught.value.code == code


def test_a_change_carries_the_new_id_and_only_what_changes() -> None:
    assert replace_body(BrokerReplace("r1-0002")) == {"client_order_id": "r1-0002"}
    assert replace_body(
        BrokerReplace("r1-0002", Decimal(5), Decimal("66.10"), Decimal(60), time_in_force="gtc")
    ) == {
        "client_order_id": "r1-0002", "qty": "5", "limit_price": "66.1", "stop_price": "60", "time_in_force": "gtc",
    }  # fmt: skip
    assert replace_body(BrokerReplace("r", trail_price=Decimal("1.5")))["trail"] == "1.5"
    assert replace_body(BrokerReplace("r", trail_percent=Decimal(2)))["trail"] == "2"
    with pytest.raises(BrokerRejected):
        replace_body(BrokerReplace("r", trail_price=Decimal(1), trail_percent=Decimal(2)))


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({"type": "trailing_stop", "time_in_force": "gtc"}, True),
        ({"type": "trailing_stop", "time_in_force": "ioc"}, False),
        ({"type": "market", "time_in_force": "cls"}, True),
        ({"type": "limit", "extended_hours": True}, True),
        ({"type": "market", "extended_hours": True}, False),
        ({"type": "limit", "extended_hours": True, "time_in_force": "ioc"}, False),
        ({"type": "limit", "extended_hours": True, "order_class": "bracket"}, False),
        ({"qty": Decimal("0.5"), "type": "stop_limit"}, True),
        ({"qty": Decimal("0.5"), "time_in_force": "gtc"}, False),
        ({"qty": None, "notional": Decimal(5)}, True),
        ({"qty": None, "notional": Decimal(5), "type": "limit"}, False),
        ({"symbol": "SPY261218C00700000", "type": "stop"}, True),
        ({"symbol": "SPY261218C00700000", "type": "trailing_stop"}, False),
        ({"symbol": "SPY261218C00700000", "time_in_force": "opg"}, False),
        ({"order_class": "mleg", "type": "limit", "legs": _LEGS}, True),
        ({"order_class": "mleg", "type": "stop", "legs": _LEGS}, False),
        ({"order_class": "oco", "type": "limit"}, True),
        ({"order_class": "oco", "type": "market"}, False),
        ({"order_class": "oto", "time_in_force": "fok"}, False),
    ],
)
def test_E19_what_alpaca_cannot_hold_is_known_beforehand(changes: dict[str, Any], held: bool) -> None:
    fields: dict[str, Any] = {
        "symbol": "XYZ", "side": "buy", "type": "market", "time_in_force": "day", "qty": Decimal(10),
        "limit_price": None, "stop_price": None,
    }  # fmt: skip
    assert (cannot_hold(OrderRequest(**(fields | changes)), CAPABILITIES) is None) is held
