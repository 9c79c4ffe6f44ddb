"""What a bad question to what-if and strategy is told (contracts A8, A9)."""

from decimal import Decimal
from typing import Any

from tests.analysis_world import leg, price
from tests.options_world import ChainFeed
from tests.world import Client

CALL = {"type": "call", "strike_price": 100, "expiration_date": "2026-12-18", "qty": 1}
SAID = {**CALL, "volatility": 0.3}
ADJUSTED = {"symbol": "ACME1261218C00100000", "qty": 1}
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"legs": []}, "legs", "too_short"),
    ({"legs": [SAID] * 21}, "legs", "too_long"),
    ({"legs": [SAID], "colour": 1}, "colour", "unknown_field"),
    ({"legs": [{**SAID, "colour": 1}]}, "legs.0.colour", "unknown_field"),
    ({"legs": [{**SAID, "qty": 0}]}, "legs.0.qty", "zero"),
    ({"legs": [{**SAID, "qty": 1.5}]}, "legs.0.qty", "whole_contracts"),
    ({"legs": [{**SAID, "qty": 1_000_001}]}, "legs.0.qty", "less_than_equal"),
    ({"legs": [{**SAID, "qty": "1"}]}, "legs.0.qty", "invalid"),
    ({"legs": [{**SAID, "qty": None}]}, "legs.0.qty", "invalid"),
    ({"legs": [{**SAID, "strike_price": 0}]}, "legs.0.strike_price", "greater_than_equal"),
    ({"legs": [{**SAID, "strike_price": -5}]}, "legs.0.strike_price", "greater_than_equal"),
    ({"legs": [{**SAID, "strike_price": 1e30}]}, "legs.0.strike_price", "less_than_equal"),
    ({"legs": [{**SAID, "volatility": 0}]}, "legs.0.volatility", "greater_than_equal"),
    ({"legs": [{**SAID, "volatility": 25}]}, "legs.0.volatility", "less_than_equal"),
    ({"legs": [{**SAID, "price": -1}]}, "legs.0.price", "greater_than_equal"),
    ({"legs": [{**SAID, "size": 0}]}, "legs.0.size", "greater_than"),
    ({"legs": [{**SAID, "type": "straddle"}]}, "legs.0.type", "literal_error"),
    ({"legs": [{"qty": 1}]}, "legs.0.type", "missing"),
    ({"legs": [{"type": "call", "qty": 1}]}, "legs.0.strike_price", "missing"),
    ({"legs": [{"type": "call", "strike_price": 9, "qty": 1}]}, "legs.0.expiration_date", "missing"),
    ({"legs": [{**SAID, "days_to_expiry": 5}]}, "legs.0.expiration_date", "given_twice"),
    ({"legs": [{**SAID, "strike": 5}]}, "legs.0.strike_price", "given_twice"),
    ({"legs": [{**SAID, "expiration_date": "2026-02-30"}]}, "legs.0.expiration_date", "date"),
    ({"legs": [{**SAID, "expiration_date": "20261218"}]}, "legs.0.expiration_date", "date"),
    ({"legs": [{**SAID, "expiration_date": "1999-01-01"}]}, "legs.0.expiration_date", "range"),
    ({"legs": [{**SAID, "expiration_date": "2026-11-20"}]}, "legs.0.expiration_date", "expired"),
    ({"legs": [{"symbol": "ACME261120C00100000", "qty": 1, "volatility": 0.3}]}, "legs.0.symbol", "expired"),
    ({"legs": [{"symbol": "ACME261340C00100000", "qty": 1}]}, "legs.0.symbol", "invalid"),
    ({"legs": [{"symbol": "ACME261218C00100000", "type": "put", "qty": 1}]}, "legs.0.type", "option_twice"),
    ({"legs": [{"symbol": "ACME261218C00100000", "strike": 5, "qty": 1}]}, "legs.0.strike_price", "option_twice"),
    ({"legs": [{"symbol": "MSFT261218C00100000", "qty": 1}]}, "legs.0.symbol", "leg_underlying"),
    ({"legs": [ADJUSTED]}, "legs.0.size", "adjusted"),
    ({"legs": [{"type": "shares", "qty": 1, "volatility": 0.2}]}, "legs.0.volatility", "not_of_this_type"),
    ({"legs": [SAID], "symbol": "ACME1"}, "symbol", "invalid"),
    ({"legs": [SAID], "spot": 0}, "spot", "greater_than_equal"),
    ({"legs": [SAID], "spot": 1e7}, "spot", "less_than_equal"),
    ({"legs": [SAID], "rate": 5}, "rate", "less_than_equal"),
    ({"legs": [SAID], "dividend_yield": -2}, "dividend_yield", "greater_than_equal"),
    ({"legs": [SAID], "dividends": [{"amount": 1}]}, "dividends.0.ex_date", "missing"),
    ({"legs": [SAID], "dividends": [{"amount": 0, "days": 3}]}, "dividends.0.amount", "greater_than"),
    ({"legs": [SAID], "dividends": [{"amount": 1, "ex_date": "2026-11-02"}]}, "dividends.0.ex_date", "past"),
    ({"legs": [SAID], "dividends": [{"amount": 1, "days": 3}] * 13}, "dividends", "too_long"),
    ({"legs": [SAID], "style": "bermudan"}, "style", "literal_error"),
    ({"legs": [SAID], "spot_to": 1, "spot_change_pct": 1}, "spot_change_pct", "given_twice"),
    ({"legs": [SAID], "spot_change_pct": -100}, "spot_change_pct", "greater_than_equal"),
    ({"legs": [SAID], "volatility_change": 501}, "volatility_change", "less_than_equal"),
    ({"legs": [SAID], "days_forward": -1}, "days_forward", "greater_than_equal"),
    ({"legs": [SAID], "days_forward": 24}, "days_forward", "after_expiration"),
    ({"legs": [SAID], "days_forward": 1, "at": "2026-12-01"}, "at", "given_twice"),
    ({"legs": [SAID], "at": "soon"}, "at", "instant"),
    ({"legs": [SAID], "at": "2026-11-24"}, "at", "past"),
    ({"legs": [SAID], "at": "2027-11-24"}, "at", "after_expiration"),
    ({"legs": [SAID], "grid": {"spot_steps": 42}}, "grid.spot_steps", "less_than_equal"),
    ({"legs": [SAID], "grid": {"steps": 1}}, "grid.steps", "greater_than_equal"),
    ({"legs": [SAID], "grid": {"spot_from_pct": 5, "spot_to_pct": 5}}, "grid.spot_to_pct", "range"),
    ({"legs": [SAID], "grid": {"by": "time", "days_to": 30}}, "grid.days_to", "after_expiration"),
    ({"legs": [{**CALL, "price": 0}]}, "legs.0.price", "no_price"),
    ({"legs": [{**CALL, "strike_price": 50, "price": 20}]}, "legs.0.price", "below_bound"),
    ({"legs": [{**CALL, "price": 101}]}, "legs.0.price", "above_bound"),
    ({"legs": [{**CALL, "strike_price": 500}]}, "legs.0.volatility", "missing"),
    ({"legs": [CALL], "symbol": "ZZZZ"}, "legs.0.volatility", "missing"),
    ({"legs": [{**CALL, "days_to_expiry": 5, "expiration_date": None}], "symbol": None}, "spot", "missing"),
]  # fmt: skip


async def test_A08_every_mistake_is_a_422_that_names_its_field(caller: Client) -> None:
    for body, field, code in BAD:
        answer = await caller.post("/api/options/price", json={"symbol": "ACME", **body})
        assert answer.status_code == 422, (body, answer.text)
        told = [(one["field"], one["code"]) for one in answer.json()["errors"]]
        assert (field, code) in told, (body, told)


async def test_A08_a_strategy_has_one_to_four_options_and_tells_each_mistake(caller: Client) -> None:
    for body, field, code in (
        ({"legs": [{"symbol": "ACME", "qty": 5}]}, "legs", "legs_count"),
        ({"legs": [SAID] * 5}, "legs", "legs_count"),
        ({"legs": [SAID] * 6}, "legs", "too_long"),
        ({"legs": [SAID], "range": {"points": 202}}, "range.points", "less_than_equal"),
        ({"legs": [SAID], "range": {"from_pct": 9, "to_pct": 9}}, "range.to_pct", "range"),
        ({"legs": [SAID], "grid": {}}, "grid", "unknown_field"),
        ({"legs": [{**CALL, "qty": 0}, {**CALL, "volatility": -1}]}, "legs.1.volatility", "greater_than_equal"),
        ({"legs": [SAID], "days_forward": 400}, "days_forward", "after_expiration"),
    ):  # fmt: skip
        answer = await caller.post("/api/options/strategy", json={"symbol": "ACME", **body})
        assert answer.status_code == 422, (body, answer.text)
        told = [(one["field"], one["code"]) for one in answer.json()["errors"]]
        assert (field, code) in told, (body, told)


async def test_A09_a_hundred_thousand_legs_and_numbers_that_are_none_are_refused_before_anything_is_priced(
    caller: Client,
) -> None:
    many = b'{"symbol":"ACME","legs":[' + b'{"qty":1},' * 100_000 + b'{"qty":1}]}'
    for body, status in ((many, 413), (b'{"legs":[{"qty":NaN}]}', 400), (b'{"legs":[{"qty":1e999}]}', 400)):
        answer = await caller.post(
            "/api/options/price", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == status
    assert (await caller.post("/api/options/price", json=[1])).status_code == 422


async def test_the_ends_of_every_range_give_finite_numbers(caller: Client) -> None:
    """Anything within the bounds has an answer: no NaN, no infinity, no 500."""
    ends: dict[str, tuple[float, ...]] = {
        "strike_price": (0.001, 1_000_000),
        "days_to_expiry": (0.0001, 36_500),
        "volatility": (0.0001, 10),
    }
    legs = [
        {"type": kind, "qty": qty, "strike_price": k, "days_to_expiry": t, "volatility": v}
        for kind, qty in (("call", 1_000_000), ("put", -1_000_000))
        for k in ends["strike_price"]
        for t in ends["days_to_expiry"]
        for v in ends["volatility"]
    ]
    for spot, rate in ((0.0001, 1), (1_000_000, -0.5), (100, 0)):
        body = {
            "legs": legs,
            "spot": spot,
            "rate": rate,
            "dividend_yield": 0.5,
            "dividends": [],
            "volatility_change": 500,
        }
        for style in ("european", "american"):
            answer = await caller.post("/api/options/price", json={**body, "style": style})
            assert answer.status_code == 200, answer.text
            assert "null" not in str(answer.json()["total"]["now"])
            assert all(isinstance(one, (int, float)) for one in answer.json()["total"]["now"].values())


async def test_quotes_are_told_with_the_digits_they_have(caller: Client, feed: ChainFeed) -> None:
    told = await price(caller, leg("call", 105, 1))
    quoted = next(one.quote for one in feed.rows if one.contract.symbol == told["legs"][0]["symbol"])
    assert quoted is not None
    assert Decimal(str(told["legs"][0]["quote"]["bid"])) == quoted.bid


async def test_what_would_take_too_long_is_refused_with_what_to_do_instead(caller: Client) -> None:
    below_zero = {"symbol": "ACME", "rate": -0.01, "dividend_yield": -0.03}
    puts = [leg("put", strike, 1, volatility=0.3) for strike in (90, 95, 100, 105, 110)]
    for path, body in (
        ("price", {**below_zero, "legs": puts}),
        ("price", {**below_zero, "legs": puts[:1], "grid": {"by": "volatility"}}),
        ("strategy", {**below_zero, "legs": puts[:1]}),
        (
            "price",
            {"symbol": "ACME", "legs": puts, "accuracy": "accurate", "dividends": [{"amount": 1, "days": 1}]},
        ),
    ):
        refused = await caller.post(f"/api/options/{path}", json=body)
        assert refused.status_code == 422, refused.text
        (error,) = refused.json()["errors"]
        assert (error["field"], error["code"]) in (("dividend_yield", "costly"), ("accuracy", "costly"))
    european = {**below_zero, "legs": puts, "style": "european", "grid": {"by": "volatility"}}
    assert (await caller.post("/api/options/price", json=european)).status_code == 200
    assert (await price(caller, puts[0], rate=-0.01, dividend_yield=-0.03))["legs"][0]["now"]["price"] > 0
