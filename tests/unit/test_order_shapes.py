"""What no order can mean is told with its field, a stable code and the value, before anybody looks at a market (E5)."""

import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from paiid.core.json import decode
from paiid.core.problems import _from_validation
from paiid.domain.orders import Leg, OrderRequest, StopLoss, TakeProfit
from paiid.trading.requests import ExecuteBody, OrderBody, ReplaceBody
from tests.wrong_orders import CALL, HIGHER, LOWER, OCO, PUT, WRONG, bracket, leg, option, spread


def read(body: dict[str, Any]) -> OrderRequest:
    """An order as it comes over the wire."""
    return OrderBody.model_validate(decode(json.dumps(body).encode())).to_request()


@pytest.mark.parametrize(("body", "field", "code", "words"), WRONG, ids=lambda value: str(value)[:60])
def test_E05_what_cannot_be_meant_is_told_with_field_code_and_value(
    body: dict[str, Any], field: str, code: str, words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        ExecuteBody.model_validate(decode(json.dumps({"orders": [body]}).encode()))
    problem = _from_validation(caught.value.errors())
    told = problem.errors[0]
    assert (told.field, told.code) == (f"orders.0.{field}", {"value_error": "invalid"}.get(code, code))
    assert words in told.message
    assert problem.code.status == 422


def test_a_placeholder_in_a_value_is_only_text() -> None:
    with pytest.raises(ValidationError) as caught:
        read(option(option_type="call", strike_price=1, expiration_date="{at}{x}"))
    assert "{at}{x}" in _from_validation(caught.value.errors()).errors[0].message


@pytest.mark.parametrize(
    ("body", "made"),
    [
        (bracket(), {"order_class": "bracket", "take_profit": TakeProfit(Decimal(110))}),
        (bracket(order_class="bracket"), {"order_class": "bracket"}),
        (bracket(side="sell", take_profit={"limit_price": 90}, stop_loss={"stop_price": 105}), {"side": "sell"}),
        (bracket(stop_loss={"trail_percent": 5}), {"stop_loss": StopLoss(trail_percent=Decimal(5))}),
        (bracket(stop_loss=None), {"order_class": "oto", "stop_loss": None}),
        (bracket(take_profit=None), {"order_class": "oto", "take_profit": None}),
        (option(bracket=True), {"order_class": "bracket", "default_exits": True}),
        (OCO, {"order_class": "oco", "limit_price": Decimal(110), "take_profit": None}),
        ({**OCO, "type": "limit", "limit_price": 110, "take_profit": None}, {"order_class": "oco"}),
        (option(side="buy_to_open", symbol=CALL), {"side": "buy", "position_intent": "buy_to_open"}),
        (option(symbol="aapl", optionType="call", strikePrice=265, expirationDate="2026-12-18"), {"symbol": CALL}),
        (option(symbol="AAPL  261218C00265000"), {"symbol": CALL}),
        (spread(), {"symbol": "AAPL", "side": "buy", "order_class": "mleg"}),
        (spread(limit_price=-1.5), {"limit_price": Decimal("-1.5")}),
        (spread(leg(CALL, ratio_qty=2), leg(HIGHER, "sell_to_open", ratio_qty=3)),
         {"legs": (Leg(CALL, "buy", 2, "buy_to_open"), Leg(HIGHER, "sell", 3, "sell_to_open"))}),
        (spread(leg(PUT, "sell_to_open"), leg(LOWER)), {"symbol": "AAPL"}),
        (option(type="trailing_stop", trailPercent=99.99), {"trail_percent": Decimal("99.99")}),
        ({"symbol": "AAPL", "side": "buy", "notional": 1}, {"notional": Decimal(1), "qty": None}),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_what_the_fields_make(body: dict[str, Any], made: dict[str, Any]) -> None:
    request = read(body)
    assert {name: getattr(request, name) for name in made} == made


def test_a_replace_must_change_something() -> None:
    with pytest.raises(ValidationError):
        ReplaceBody.model_validate({"requestId": "12345678"})
    asked = ReplaceBody.model_validate(decode(b'{"limitPrice": 5}')).to_asked("ord_1", 3)
    assert asked.replace is not None
    assert (asked.replace.limit_price, asked.replace.version) == (Decimal(5), 3)
