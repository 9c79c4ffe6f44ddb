"""Orders as Tradier's form fields: each class as its documents show it, and what is refused before a byte is sent."""

from datetime import date, time
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerOrder, BrokerRejected, BrokerReplace
from paiid.brokers.tradier.capabilities import CAPABILITIES
from paiid.brokers.tradier.requests import change_form, order_form
from paiid.domain.calendar import ExchangeHours, eastern_us
from paiid.domain.capabilities import cannot_hold
from paiid.domain.orders import Leg, OrderRequest, StopLoss, TakeProfit

_FRIDAY = date(2026, 10, 9)
_NOON = eastern_us(_FRIDAY, time(12, 0))
_CALL = "SPY261218C00700000"
_PUT = "SPY261218P00640000"
_LOWER_PUT = "SPY261218P00630000"
_D = Decimal


def order(**changes: Any) -> BrokerOrder:
    fields: dict[str, Any] = {
        "account_number": "VA1", "client_order_id": "pd-0123456789abcdef0123456789abcdef", "symbol": "SPY", "side": "buy",
        "qty": _D(10), "type": "limit", "time_in_force": "day", "limit_price": _D("500.00"), "position_intent": "buy_to_open",
    }  # fmt: skip
    return BrokerOrder(**(fields | changes))


def form(at_us: int = _NOON, **changes: Any) -> dict[str, str]:
    return order_form(order(**changes), at_us, ExchangeHours())


def refused(at_us: int = _NOON, **changes: Any) -> str:
    with pytest.raises(BrokerRejected) as caught:
        form(at_us, **changes)
    assert caught.value.message
    return caught.value.code


def test_shares_are_an_equity_order_under_our_own_id() -> None:
    assert form() == {
        "class": "equity", "symbol": "SPY", "side": "buy", "quantity": "10", "type": "limit", "duration": "day",
        "price": "500", "tag": "pd-0123456789abcdef0123456789abcdef",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("side", "intent", "told"),
    [
        ("buy", "buy_to_open", "buy"),
        ("sell", "sell_to_close", "sell"),
        ("sell", "sell_to_open", "sell_short"),
        ("buy", "buy_to_close", "buy_to_cover"),
        ("buy", None, "buy"),
        ("sell", None, "sell"),
    ],
)
def test_a_side_of_shares_says_what_it_does_to_the_position(side: str, intent: str | None, told: str) -> None:
    assert form(side=side, position_intent=intent)["side"] == told


def test_an_option_goes_under_its_underlying_and_its_own_symbol() -> None:
    made = form(symbol=_CALL, qty=_D(1), limit_price=_D("1.05"), side="sell", position_intent="sell_to_open")
    assert made.items() >= {
        ("class", "option"), ("symbol", "SPY"), ("option_symbol", _CALL), ("side", "sell_to_open"), ("price", "1.05"),
    }  # fmt: skip


def test_a_class_of_shares_stands_behind_a_slash_of_options_too() -> None:
    assert form(symbol="BRK.B")["symbol"] == "BRK/B"
    made = form(symbol="BRKB261218C00700000", qty=_D(1))
    assert (made["symbol"], made["option_symbol"]) == ("BRK/B", "BRKB261218C00700000")


def test_prices_go_as_plain_digits() -> None:
    made = form(type="stop_limit", limit_price=_D("1E+2"), stop_price=_D("0.00010"))
    assert (made["type"], made["price"], made["stop"]) == ("stop_limit", "100", "0.0001")


def test_a_market_order_has_no_price() -> None:
    made = form(type="market", limit_price=None)
    assert made["type"] == "market"
    assert "price" not in made
    assert "stop" not in made


@pytest.mark.parametrize(
    ("net", "type_", "price"),
    [("0.85", "debit", "0.85"), ("-0.85", "credit", "0.85"), ("0", "even", None), (None, "market", None)],
)
def test_a_spread_says_by_its_type_whether_its_unsigned_price_is_paid(
    net: str | None, type_: str, price: str | None
) -> None:
    legs = (Leg(_PUT, "sell", 1, "sell_to_open"), Leg(_LOWER_PUT, "buy", 2, "buy_to_open"))
    made = form(
        order_class="mleg", legs=legs, qty=_D(3), position_intent=None, type="market" if net is None else "limit",
        limit_price=None if net is None else _D(net),
    )  # fmt: skip
    expected = {
        "class": "multileg", "symbol": "SPY", "type": type_, "duration": "day", "tag": order().client_order_id,
        "option_symbol[0]": _PUT, "side[0]": "sell_to_open", "quantity[0]": "3",
        "option_symbol[1]": _LOWER_PUT, "side[1]": "buy_to_open", "quantity[1]": "6",
    }  # fmt: skip
    assert made == (expected if price is None else expected | {"price": price})


def test_a_bracket_is_an_otoco_whose_legs_alone_name_the_symbol() -> None:
    made = form(
        order_class="bracket", take_profit=TakeProfit(_D(520)), stop_loss=StopLoss(_D(490), _D("489.50")), time_in_force="gtc",
    )  # fmt: skip
    assert made == {
        "class": "otoco", "duration": "gtc", "tag": order().client_order_id,
        "symbol[0]": "SPY", "side[0]": "buy", "quantity[0]": "10", "type[0]": "limit", "price[0]": "500",
        "symbol[1]": "SPY", "side[1]": "sell", "quantity[1]": "10", "type[1]": "limit", "price[1]": "520",
        "symbol[2]": "SPY", "side[2]": "sell", "quantity[2]": "10", "type[2]": "stop_limit", "price[2]": "489.5",
        "stop[2]": "490",
    }  # fmt: skip


def test_the_exits_of_a_short_sale_cover_it() -> None:
    made = form(
        order_class="bracket", side="sell", position_intent="sell_to_open", take_profit=TakeProfit(_D(480)),
        stop_loss=StopLoss(_D(510)),
    )  # fmt: skip
    assert [made[f"side[{at}]"] for at in range(3)] == ["sell_short", "buy_to_cover", "buy_to_cover"]
    assert (made["type[2]"], made["stop[2]"]) == ("stop", "510")
    assert "price[2]" not in made


def test_the_exits_of_an_option_name_the_contract_on_each_leg() -> None:
    made = form(
        order_class="oto", symbol=_CALL, qty=_D(1), limit_price=_D(2), take_profit=TakeProfit(_D(3)),
    )  # fmt: skip
    assert [made[f"{name}[1]"] for name in ("symbol", "option_symbol", "side")] == [
        "SPY",
        _CALL,
        "sell_to_close",
    ]
    assert "option_symbol" not in made


def test_an_oto_has_the_one_exit_that_it_names() -> None:
    made = form(order_class="oto", stop_loss=StopLoss(_D(490)))
    assert (made["class"], made["type[1]"], made["stop[1]"]) == ("oto", "stop", "490")
    assert "type[2]" not in made


def test_an_oco_is_its_take_profit_and_its_stop_loss_both_on_its_own_side() -> None:
    made = form(
        order_class="oco",
        side="sell",
        position_intent="sell_to_close",
        limit_price=_D(520),
        stop_loss=StopLoss(_D(490)),
    )
    assert made == {
        "class": "oco", "duration": "day", "tag": order().client_order_id,
        "symbol[0]": "SPY", "side[0]": "sell", "quantity[0]": "10", "type[0]": "limit", "price[0]": "520",
        "symbol[1]": "SPY", "side[1]": "sell", "quantity[1]": "10", "type[1]": "stop", "stop[1]": "490",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("at", "duration"),
    [(time(4, 0), "pre"), (time(9, 29, 59), "pre"), (time(16, 0), "post"), (time(19, 59, 59), "post")],
)
def test_an_order_for_extended_hours_is_for_the_session_that_is_on_in_new_york(
    at: time, duration: str
) -> None:
    assert form(eastern_us(_FRIDAY, at), extended_hours=True)["duration"] == duration


def test_after_an_early_close_the_evening_session_begins_early() -> None:
    assert form(eastern_us(date(2026, 11, 27), time(13, 30)), extended_hours=True)["duration"] == "post"


@pytest.mark.parametrize(
    "at_us",
    [
        eastern_us(_FRIDAY, time(3, 59)),
        _NOON,
        eastern_us(_FRIDAY, time(20, 0)),
        eastern_us(date(2026, 10, 10), time(12, 0)),
    ],
)
def test_an_order_for_extended_hours_is_refused_while_neither_session_is_on(at_us: int) -> None:
    assert refused(at_us, extended_hours=True) == "session"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"type": "trailing_stop", "limit_price": None, "trail_price": _D(1)}, "type_not_supported"),
        ({"time_in_force": "ioc"}, "time_in_force_not_supported"),
        ({"time_in_force": "gtc", "type": "market", "limit_price": None}, "time_in_force_not_supported"),
        ({"time_in_force": "gtc", "side": "sell", "position_intent": "sell_to_open"}, "time_in_force_not_supported"),
        ({"qty": _D("1.5")}, "fractional_not_supported"),
        ({"qty": None, "notional": _D(100)}, "notional_not_supported"),
        ({"qty": _D(0)}, "invalid_qty"),
        ({"qty": _D(10_000_001)}, "invalid_qty"),
        ({"limit_price": None}, "invalid_price"),
        ({"limit_price": _D(0)}, "invalid_price"),
        ({"stop_price": _D(1)}, "invalid_price"),
        ({"client_order_id": "our_id"}, "client_order_id"),
        ({"client_order_id": ""}, "client_order_id"),
        ({"client_order_id": "x" * 256}, "client_order_id"),
        ({"client_order_id": "id\n"}, "client_order_id"),
        ({"position_intent": "sell_to_close"}, "position_intent_mismatch"),
        ({"symbol": _CALL, "position_intent": None}, "position_intent"),
        ({"extended_hours": True, "type": "market", "limit_price": None}, "extended_hours_not_supported"),
        ({"extended_hours": True, "time_in_force": "gtc"}, "extended_hours_not_supported"),
        ({"extended_hours": True, "symbol": _CALL}, "extended_hours_not_supported"),
        (
            {"order_class": "bracket", "take_profit": TakeProfit(_D(520)), "stop_loss": StopLoss(trail_price=_D(1))},
            "trailing_stop_loss_not_supported",
        ),
        (
            {"order_class": "bracket", "type": "market", "limit_price": None, "take_profit": TakeProfit(_D(520)),
             "stop_loss": StopLoss(_D(490))},
            "type_not_supported",
        ),
        ({"order_class": "bracket", "take_profit": TakeProfit(_D(520))}, "order_class_fields"),
        ({"order_class": "oto", "take_profit": TakeProfit(_D(5)), "stop_loss": StopLoss(_D(4))}, "order_class_fields"),
        ({"order_class": "oco"}, "order_class_fields"),
        ({"order_class": "mleg", "legs": (Leg(_PUT, "buy", 1, "buy_to_open"),)}, "legs_count"),
        (
            {"order_class": "mleg", "legs": (Leg(_PUT, "buy", 2, "buy_to_open"), Leg(_CALL, "buy", 4, "buy_to_open"))},
            "ratio_not_lowest_terms",
        ),
        (
            {"order_class": "mleg", "type": "stop",
             "legs": (Leg(_PUT, "buy", 1, "buy_to_open"), Leg(_CALL, "buy", 1, "buy_to_open"))},
            "type_not_supported",
        ),
    ],
)  # fmt: skip
def test_what_tradier_has_no_words_for_is_refused_before_anything_is_sent(
    changes: dict[str, Any], code: str
) -> None:
    assert refused(**changes) == code


def test_a_change_sends_what_changes_and_nothing_else() -> None:
    assert change_form(BrokerReplace("pd-2", limit_price=_D("1.50"))) == {"price": "1.5"}
    everything = BrokerReplace("pd-2", limit_price=_D(2), stop_price=_D(3), time_in_force="gtc")
    assert change_form(everything) == {"price": "2", "stop": "3", "duration": "gtc"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (BrokerReplace("pd-2", qty=_D(5), limit_price=_D(1)), "replace_not_supported"),
        (BrokerReplace("pd-2", trail_price=_D(1)), "trailing_stop_not_supported"),
        (BrokerReplace("pd-2", time_in_force="fok"), "time_in_force_not_supported"),
        (BrokerReplace("pd-2"), "nothing_to_change"),
    ],
)
def test_a_change_that_tradier_cannot_make_is_refused_before_anything_is_sent(
    change: BrokerReplace, code: str
) -> None:
    with pytest.raises(BrokerRejected) as caught:
        change_form(change)
    assert caught.value.code == code


def asked(**changes: Any) -> OrderRequest:
    fields: dict[str, Any] = {
        "symbol": "SPY", "side": "buy", "type": "limit", "time_in_force": "day", "qty": _D(1), "limit_price": _D(1),
        "stop_price": None,
    }  # fmt: skip
    return OrderRequest(**(fields | changes))


_EXITS = {"take_profit": TakeProfit(_D(2)), "stop_loss": StopLoss(_D("0.5"))}
_LEGS = (Leg(_PUT, "buy", 1, "buy_to_open"), Leg(_LOWER_PUT, "sell", 1, "sell_to_open"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"time_in_force": "gtc"},
        {"extended_hours": True},
        {"type": "market", "limit_price": None},
        {"type": "stop_limit", "stop_price": _D(1), "time_in_force": "gtc"},
        {"symbol": _CALL, "type": "stop", "limit_price": None, "stop_price": _D(1)},
        {"order_class": "bracket", "time_in_force": "gtc", **_EXITS},
        {"order_class": "mleg", "legs": _LEGS, "time_in_force": "gtc"},
        {"order_class": "mleg", "legs": _LEGS, "type": "market", "limit_price": None},
    ],
)
def test_E19_what_the_table_says_it_holds_can_be_sent(changes: dict[str, Any]) -> None:
    request = asked(**changes)
    assert cannot_hold(request, CAPABILITIES) is None
    names = set(OrderRequest.__dataclass_fields__) & set(BrokerOrder.__dataclass_fields__)
    sent = {name: getattr(request, name) for name in names}
    if not request.legs:
        sent["position_intent"] = "buy_to_open"
    at_us = eastern_us(_FRIDAY, time(17, 0)) if request.extended_hours else _NOON
    assert order_form(order(**sent), at_us, ExchangeHours())["class"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"qty": _D("0.5")}, "fractional_not_supported"),
        ({"qty": None, "notional": _D(50)}, "notional_not_supported"),
        ({"type": "trailing_stop", "limit_price": None, "trail_price": _D(1)}, "type_not_supported"),
        ({"type": "market", "limit_price": None, "time_in_force": "gtc"}, "time_in_force_not_supported"),
        ({"time_in_force": "opg"}, "time_in_force_not_supported"),
        ({"time_in_force": "ioc"}, "time_in_force_not_supported"),
        ({"order_class": "bracket", "type": "market", "limit_price": None, **_EXITS}, "type_not_supported"),
        (
            {"order_class": "oto", "stop_loss": StopLoss(trail_percent=_D(5))},
            "trailing_stop_loss_not_supported",
        ),
        ({"extended_hours": True, "time_in_force": "gtc"}, "extended_hours_not_supported"),
        ({"extended_hours": True, "symbol": _CALL}, "extended_hours_not_supported"),
    ],
)  # fmt: skip
def test_E19_what_tradier_cannot_hold_is_refused_with_its_reason(changes: dict[str, Any], code: str) -> None:
    reason = cannot_hold(asked(**changes), CAPABILITIES)
    assert reason is not None
    assert reason.code == code
