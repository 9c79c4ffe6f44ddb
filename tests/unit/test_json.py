"""Strict JSON: what money may and may not look like on the wire."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.core.json import MAX_DEPTH, decode, encode
from paiid.domain.errors import Code, Problem


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", Code.INVALID_JSON),
        (b"{", Code.INVALID_JSON),
        (b'{"a":1,"a":2}', Code.DUPLICATE_JSON_KEY),
        (b'[{"b":{"a":1,"a":1}}]', Code.DUPLICATE_JSON_KEY),
        (b'{"a":NaN}', Code.INVALID_JSON),
        (b'{"a":Infinity}', Code.INVALID_JSON),
        (b'{"a":-Infinity}', Code.INVALID_JSON),
        (b'{"a":1e309}', Code.INVALID_JSON),
        (b'{"a":1e999999999}', Code.INVALID_JSON),
        (b'{"a":' + b"9" * 5000 + b"}", Code.INVALID_JSON),
        (b'{"a":0.' + b"1" * 5000 + b"}", Code.INVALID_JSON),
        (b"[" * 10_000 + b"]" * 10_000, Code.BODY_TOO_DEEP),
        (b'{"a":' * 10_000, Code.BODY_TOO_DEEP),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), Code.BODY_TOO_DEEP),
        (b'"\xff"', Code.INVALID_JSON),
        (b'{"a":"\\ud800"}', Code.INVALID_JSON),
        (b'{"a":1} x', Code.INVALID_JSON),
    ],
)
def test_A08_what_is_not_one_clean_json_value_is_refused(body: bytes, code: Code) -> None:
    with pytest.raises(Problem) as caught:
        decode(body)
    assert caught.value.code is code
    assert caught.value.detail


def test_numbers_keep_exactly_their_digits() -> None:
    assert decode(b'{"a":0.1,"b":10,"c":1.50}') == {"a": Decimal("0.1"), "b": 10, "c": Decimal("1.50")}
    assert encode({"a": Decimal("0.1"), "b": Decimal("100")}) == b'{"a":0.1,"b":100}'


def test_brackets_inside_texts_are_not_depth() -> None:
    assert decode(b'{"a":"' + b"[" * 100 + b'\\"' + b"{" * 100 + b'"}')["a"].startswith("[")


def test_sixteen_levels_are_allowed() -> None:
    assert decode(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9))
def test_a_decimal_survives_the_wire(value: Decimal) -> None:
    assert Decimal(decode(encode({"v": value}))["v"]) == value
