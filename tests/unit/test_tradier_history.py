"""What Tradier's nightly history becomes: activities with ids made of what they say (tradier.md, 5.5, 5.6)."""

import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.brokers.tradier.gain_loss import read_closed
from paiid.brokers.tradier.history import read_events
from paiid.core.instants import instant

_NUMBER = "VA00000001"
CALL = "SPY261218C00700000"


def event(kind: str, amount: object, detail: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A row; the detail of most kinds stands under `adjustment`."""
    key = kind if kind in ("trade", "option", "journal") else "adjustment"
    return {"amount": amount, "date": "2026-09-17T00:00:00Z", "type": kind, key: detail or {}} | changes


_DIVIDEND = event("dividend", 3.31, {"description": "DIV SPY", "quantity": 0.0})
_EXPIRY = event(
    "option", 0.0, {"option_type": "OPTEXP", "description": "Expired", "quantity": -1.0, "symbol": CALL}
)
_TRADE = event("trade", -3000.0, {"symbol": CALL, "quantity": 10.0, "price": 3.0, "trade_type": "Option"})


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        ("dividend", "dividend"), ("fee", "fee"), ("tax", "fee"), ("interest", "interest"), ("ach", "transfer"),
        ("wire", "transfer"), ("check", "transfer"), ("transfer", "transfer"), ("journal", "journal"),
        ("adjustment", "other"), ("windfall", "other"), ("Dividend", "dividend"),
    ],
)  # fmt: skip
def test_every_kind_of_event_has_one_of_ours_and_an_unknown_one_still_counts_with_its_cash(
    kind: str, ours: str
) -> None:
    (one,) = read_events([event(kind, "-3.31", {"description": "words"})], _NUMBER)
    assert (one.kind, one.cash, one.qty, one.symbol) == (ours, Decimal("-3.31"), Decimal(0), "")
    assert one.account_number == _NUMBER


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        ("OPTEXP", "Expired", "expiration"), ("OPTASN", "Assigned", "assignment"),
        ("OPTEXC", "Exercised", "exercise"), ("call", "CALL Expired", "expiration"),
        ("put", "Option assigned", "assignment"), ("", "Exercise", "exercise"), ("OPTXYZ", "?", "other"),
    ],
)  # fmt: skip
def test_what_became_of_an_option_is_told_by_its_code_or_else_by_its_words(
    code: str, words: str, kind: str
) -> None:
    detail = {"option_type": code, "description": words, "quantity": -1.0, "symbol": CALL}
    (one,) = read_events([event("option", 0.0, detail)], _NUMBER)
    assert (one.kind, one.symbol, one.qty, one.cash) == (kind, CALL, Decimal(-1), Decimal(0))


def test_an_option_event_without_its_symbol_moves_no_position() -> None:
    detail = {"option_type": "OPTEXP", "description": "Expired", "quantity": -1.0}
    (one,) = read_events([event("option", 0.0, detail)], _NUMBER)
    assert (one.kind, one.symbol, one.qty) == ("expiration", "", Decimal(0))


def test_trades_are_left_out_for_the_orders_tell_them() -> None:
    assert [one.kind for one in read_events([_TRADE, _DIVIDEND, _TRADE], _NUMBER)] == ["dividend"]


def test_an_event_counts_after_its_day_in_new_york() -> None:
    (one,) = read_events([_DIVIDEND], _NUMBER)
    assert instant(one.at_us) == "2026-09-18T00:00:00.000000Z"


def test_an_event_has_the_same_id_every_night_whatever_form_its_numbers_have() -> None:
    as_texts = event("dividend", "3.310", {"description": "DIV SPY", "quantity": "0"})
    with_nulls = _DIVIDEND | {"note": None, "other": "null"}
    ids = {read_events([row], _NUMBER)[0].activity_id for row in (_DIVIDEND, as_texts, with_nulls)}
    assert len(ids) == 1
    dated = _DIVIDEND | {"date": "2026-09-17T00:00:00.000Z"}
    assert read_events([dated], _NUMBER)[0].activity_id in ids


@pytest.mark.parametrize(
    "other",
    [
        event("dividend", 3.32, {"description": "DIV SPY", "quantity": 0.0}),
        event("dividend", 3.31, {"description": "DIV QQQ", "quantity": 0.0}),
        event("interest", 3.31, {"description": "DIV SPY", "quantity": 0.0}),
        _DIVIDEND | {"date": "2026-09-18T00:00:00Z"},
    ],
)
def test_events_that_differ_in_anything_have_different_ids(other: dict[str, Any]) -> None:
    ids = {one.activity_id for one in read_events([_DIVIDEND, other], _NUMBER)}
    assert len(ids) == 2


@given(st.lists(st.sampled_from([_DIVIDEND, _EXPIRY, _TRADE, event("fee", -1)]), max_size=8), st.integers())
def test_equal_events_of_a_day_are_as_many_activities_whatever_their_order(
    rows: list[Any], seed: int
) -> None:
    once = read_events(rows, _NUMBER)
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    again = read_events(shuffled, _NUMBER)
    assert once == again
    assert len({one.activity_id for one in once}) == len(once) == sum(row is not _TRADE for row in rows)


@pytest.mark.parametrize("date", [None, "yesterday", "", "2026-13-40", 17])
def test_an_event_without_a_day_is_left_out(date: object) -> None:
    assert read_events([_DIVIDEND | {"date": date}], _NUMBER) == []


def test_a_closed_position_is_read_with_its_days_and_its_gain() -> None:
    one = read_closed(
        {"close_date": "2026-09-30T00:00:00.000Z", "cost": 2000.00, "gain_loss": "300.00", "open_date":
         "2026-06-06T00:00:00.000Z", "proceeds": 2300.00, "quantity": 10.0, "symbol": "BRK/B", "term": 116}
    )  # fmt: skip
    assert one is not None
    assert (one.symbol, one.qty, one.gain_loss, one.days_held) == ("BRK.B", Decimal(10), Decimal(300), 116)
    assert (str(one.opened_on), str(one.closed_on)) == ("2026-06-06", "2026-09-30")
    bare = read_closed({"symbol": "SPY", "quantity": -1, "cost": 5, "proceeds": 7})
    assert bare is not None
    assert (bare.gain_loss, bare.closed_on, bare.days_held) == (Decimal(2), None, None)
