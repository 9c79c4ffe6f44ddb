"""The words of an order as they are read: spellings, numbers, keys, and the fingerprint of what was asked (E1, E3)."""

import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from paiid.core.json import decode
from paiid.domain.errors import Code, Problem
from paiid.domain.instruments import parse_symbol
from paiid.trading.commands import Asked, CloseRequest, fingerprint
from paiid.trading.requests import ExecuteBody, OrderBody, idempotency_key

BUY: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 10}


def read(text: str) -> OrderBody:
    """An order as it comes over the wire."""
    return OrderBody.model_validate(decode(text.encode()))


def asked(*orders: dict[str, Any], **more: Any) -> Asked:
    """What a body asks for."""
    body = json.dumps({"orders": list(orders or (BUY,)), **more})
    return ExecuteBody.model_validate(decode(body.encode())).to_asked()


@pytest.mark.parametrize("key", ["12345678", "k" * 128, "a.b_c:d-e", "AZaz09._:-"])
def test_E01_a_key_has_8_to_128_of_its_characters(key: str) -> None:
    assert idempotency_key([key], None) == key
    assert idempotency_key([f'"{key}"'], None) == key
    assert idempotency_key([], key) == key
    assert idempotency_key([key], key) == key
    assert idempotency_key([f'"{key}"'], key) == key


@pytest.mark.parametrize(
    ("headers", "in_body", "code"),
    [
        ([], None, Code.IDEMPOTENCY_KEY_MISSING),
        ([""], None, Code.IDEMPOTENCY_KEY_INVALID),
        (['"'], None, Code.IDEMPOTENCY_KEY_INVALID),
        (['""'], None, Code.IDEMPOTENCY_KEY_INVALID),
        (["1234567"], None, Code.IDEMPOTENCY_KEY_INVALID),
        (["k" * 129], None, Code.IDEMPOTENCY_KEY_INVALID),
        (["'12345678'"], None, Code.IDEMPOTENCY_KEY_INVALID),
        (['"12345678'], None, Code.IDEMPOTENCY_KEY_INVALID),
        (["12345678\n"], None, Code.IDEMPOTENCY_KEY_INVALID),
        (["1234567\u0661"], None, Code.IDEMPOTENCY_KEY_INVALID),
        (["12345678,12345678"], None, Code.IDEMPOTENCY_KEY_INVALID),
        (["12345678", "12345678"], None, Code.IDEMPOTENCY_KEY_CONFLICT),
        (["12345678"], "87654321", Code.IDEMPOTENCY_KEY_CONFLICT),
        (["12345678"], "", Code.IDEMPOTENCY_KEY_CONFLICT),
        ([], "", Code.IDEMPOTENCY_KEY_INVALID),
    ],
)
def test_E01_any_other_key_is_a_400(headers: list[str], in_body: str | None, code: Code) -> None:
    with pytest.raises(Problem) as problem:
        idempotency_key(headers, in_body)
    assert problem.value.code is code
    assert problem.value.code.status == 400


@pytest.mark.parametrize(
    "same",
    [
        {"symbol": "aapl", "side": "buy", "qty": 10},
        {"symbol": "AAPL", "side": "buy", "qty": 10.0},
        {"symbol": "AAPL", "side": "buy", "quantity": 10},
        {**BUY, "type": "market"},
        {**BUY, "orderType": "market", "timeInForce": "day"},
        {**BUY, "limit_price": None, "stopPrice": None},
        {**BUY, "assetClass": "stock"},
    ],
)
def test_E03_what_means_the_same_has_the_same_fingerprint(same: dict[str, Any]) -> None:
    assert fingerprint(asked(same)) == fingerprint(asked())
    assert fingerprint(asked(same, dryRun=False, requestId="another-key")) == fingerprint(asked())


@pytest.mark.parametrize(
    "other",
    [
        {**BUY, "qty": 10.000000001},
        {**BUY, "side": "sell"},
        {**BUY, "symbol": "AAP"},
        {**BUY, "time_in_force": "gtc"},
        {**BUY, "type": "limit", "limit_price": 10},
        {**BUY, "type": "stop", "stop_price": 10},
        {"symbol": "AAPL", "side": "buy"},
    ],
)
def test_E03_what_means_something_else_has_another(other: dict[str, Any]) -> None:
    assert fingerprint(asked(other)) != fingerprint(asked())


def test_E03_the_order_of_the_orders_their_number_and_a_named_account_count() -> None:
    first, second = BUY, {**BUY, "symbol": "MSFT"}
    prints = [
        fingerprint(one)
        for one in (
            asked(first),
            asked(first, first),
            asked(first, second),
            asked(second, first),
            asked(first, account="paper-1"),
            asked(first, account="paper-2"),
        )
    ]
    assert len(set(prints)) == len(prints)


def test_E03_a_close_never_has_the_fingerprint_of_an_order_or_of_another_close() -> None:
    closes = [
        Asked("close", None, (), CloseRequest("AAPL", None)),
        Asked("close", None, (), CloseRequest("AAPL", Decimal(5))),
        Asked("close", None, (), CloseRequest("MSFT", None)),
        Asked("close", "paper-1", (), CloseRequest("AAPL", None)),
    ]
    prints = {fingerprint(one) for one in closes} | {fingerprint(asked())}
    assert len(prints) == 5
    assert fingerprint(Asked("close", None, (), CloseRequest("AAPL", Decimal("5.0")))) in prints


@pytest.mark.parametrize(
    ("text", "qty"),
    [
        ("10", "10"),
        ("10.0", "10.0"),
        ("1e1", "10"),
        ("0.000000001", "0.000000001"),
        ("1E-9", "0.000000001"),
        ("1000000000", "1000000000"),
        ("0.1", "0.1"),
        ("123456789.123456789", "123456789.123456789"),
        ("1.500000000000", "1.5"),
    ],
)
def test_a_quantity_has_exactly_the_digits_that_were_sent(text: str, qty: str) -> None:
    assert read(f'{{"symbol":"AAPL","side":"buy","qty":{text}}}').qty == Decimal(qty)


@pytest.mark.parametrize(
    "text", ["0", "-0.0", "-1", "1e-30", "0.0000000001", "1000000000.1", "1e10", "true", '"1"', "null", "[]"]
)
def test_E05_a_quantity_that_cannot_be_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(ValidationError) as error:
        read(f'{{"symbol":"AAPL","side":"buy","qty":{text}}}')
    assert [one["loc"] for one in error.value.errors()] == [("qty",)]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e309", "1e-309", "9" * 41])
def test_E05_what_is_no_number_of_JSON_is_refused_by_the_parser(text: str) -> None:
    with pytest.raises(Problem) as problem:
        read(f'{{"symbol":"AAPL","side":"buy","qty":{text}}}')
    assert problem.value.code is Code.INVALID_JSON


@pytest.mark.parametrize(
    ("spelled", "field"),
    [
        ("limitPrice", "limit_price"),
        ("stopPrice", "stop_price"),
        ("timeInForce", "time_in_force"),
        ("orderType", "type"),
        ("order_type", "type"),
        ("quantity", "qty"),
        ("assetClass", "asset_class"),
    ],
)
def test_both_spellings_of_one_field_are_a_mistake_and_not_a_choice(spelled: str, field: str) -> None:
    values = {
        "limit_price": 1,
        "stop_price": 1,
        "time_in_force": "day",
        "type": "market",
        "qty": 1,
        "asset_class": "stock",
    }
    value = values[field]
    with pytest.raises(ValidationError, match="two spellings"):
        OrderBody.model_validate({"symbol": "AAPL", "side": "buy", field: value, spelled: value})


@pytest.mark.parametrize(
    ("text", "symbol"), [("aapl", "AAPL"), ("brk.b", "BRK.B"), ("F", "F"), ("GOOGL", "GOOGL")]
)
def test_a_symbol_is_folded_to_capitals(text: str, symbol: str) -> None:
    assert parse_symbol(text) == symbol


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "AAPL ", "AAPL\n", "AAPL\0", "\u0410APL", "\uff21\uff21\uff30\uff2c", "AA\u200bPL", "\u017fPY",
        "\u212aO", "AAPLAA", "BRK.BBB", "BRK..B", ".B", "A1", "A-B", "A_B",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_symbol_is_refused_and_never_mended(text: str) -> None:
    with pytest.raises(ValueError, match="a symbol"):
        parse_symbol(text)


@pytest.mark.parametrize("count", [1, 10])
def test_E04_a_call_has_1_to_10_orders(count: int) -> None:
    assert len(asked(*[BUY] * count).orders) == count


@pytest.mark.parametrize("count", [0, 11, 100])
def test_E04_a_call_has_no_fewer_and_no_more(count: int) -> None:
    with pytest.raises(ValidationError):
        ExecuteBody.model_validate({"orders": [BUY] * count})
