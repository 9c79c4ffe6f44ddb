"""GET /api/options/surface, POST /api/options/price and /strategy: what is told, where it is from, and what a bad question is told."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from paiid.core.clock import SystemClock
from tests.conftest import MakeApp
from tests.market_world import WEDNESDAY_OPEN_US
from tests.options_world import FAR, MIDDLE, NEAR, ChainFeed, chain, row
from tests.world import App, Client

STRIKES = tuple(range(60, 145, 5))
VOLATILITY = 0.3


class AtOneInstant(SystemClock):
    """It is always the same moment of a trading day; waiting takes its time all the same."""

    def now_us(self) -> int:
        return WEDNESDAY_OPEN_US


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """Nothing here depends on the kind of database."""
    return sqlite_url


@pytest.fixture
def feed() -> ChainFeed:
    """ACME at 100, every contract quoted a cent around what it is worth at 30 %."""
    return ChainFeed(chain(strikes=STRIKES))


@pytest.fixture
async def app(make_app: MakeApp, feed: ChainFeed) -> App:
    return await make_app({"risk_free_rate": 0.0}, feed=feed, clock=AtOneInstant())


@pytest.fixture
async def caller(app: App) -> Client:
    return await app.owner()


def leg(kind: str, strike: float, qty: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "strike_price": strike, "expiration_date": NEAR.isoformat(), "qty": qty, **more}


async def price(caller: Client, *legs: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = await caller.post("/api/options/price", json={"symbol": "ACME", "legs": legs, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def strategy(caller: Client, *legs: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = await caller.post("/api/options/strategy", json={"symbol": "ACME", "legs": legs, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def surface(caller: Client, query: str = "") -> dict[str, Any]:
    answer = await caller.get(f"/api/options/surface/ACME{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# -- the surface ------------------------------------------------------------------------------------


async def test_the_surface_of_a_flat_chain_is_flat_and_free_of_arbitrage(caller: Client) -> None:
    told = await surface(caller)
    assert [one["date"] for one in told["expirations"]] == [day.isoformat() for day in (NEAR, MIDDLE, FAR)]
    for one in told["expirations"]:
        assert one["atm_volatility"] == pytest.approx(VOLATILITY, abs=5e-4)
        assert one["skew"]["slope"] == pytest.approx(0, abs=0.02)
        assert one["skew"]["risk_reversal_25_delta"] == pytest.approx(0, abs=2e-3)
        assert one["quotes_used"] + one["quotes_left_out"]["total"] == 2 * len(STRIKES)
        assert one["forward"] == pytest.approx(100, abs=0.05)
        assert one["reason"] is None
        move = one["expected_move"]
        assert move["volatility"]["dollars"] == pytest.approx(30 * one["years"] ** 0.5, rel=2e-3)
        # The straddle is the mean absolute move.
        assert move["straddle"]["dollars"] == pytest.approx(0.798 * move["volatility"]["dollars"], rel=0.01)
        assert move["straddle"]["strike_price"] == 100
    assert told["arbitrage"] == {"butterfly": False, "calendar": False}
    assert [one["forward_volatility"] for one in told["term_structure"]] == pytest.approx([0.3] * 3, abs=2e-3)
    for by in ("moneyness", "delta"):
        grid = (await surface(caller, f"?by={by}"))["grid"]
        assert [line["days"] for line in grid["rows"]] == [30, 45, 60, 90, 120, 180, 270]
        known = [one for line in grid["rows"] for one in line["volatilities"] if one is not None]
        assert known == pytest.approx([0.3] * len(known), abs=3e-3)
        assert len(known) > len(grid["rows"]) * 6


async def test_what_is_badly_quoted_is_left_out_and_counted_and_does_not_bend_the_rest(
    app: App, feed: ChainFeed, caller: Client
) -> None:
    good = [one for one in feed.rows if one.contract.expiration != NEAR or one.contract.strike != 95]
    feed.rows = [
        *good,
        row(95, NEAR, "put", bid="5", ask="9"),
        row(95, NEAR, "call", bid="0", ask="9"),
        row(95, NEAR, "put", bid="1", ask="1.02", root="ACME1", size=None),
    ]
    told = (await surface(caller, f"?expiration={NEAR}"))["expirations"]
    assert len(told) == 1
    assert told[0]["quotes_left_out"]["untrusted"] >= 1
    assert told[0]["quotes_left_out"]["adjusted"] == 1
    assert told[0]["quotes_left_out"]["no_volatility"] >= 1
    assert told[0]["atm_volatility"] == pytest.approx(VOLATILITY, abs=1e-3)


async def test_few_quotes_are_told_and_nothing_is_invented(feed: ChainFeed, caller: Client) -> None:
    feed.rows = chain(days=(NEAR,), strikes=(95, 105))
    told = await surface(caller)
    [one] = told["expirations"]
    assert told["reason"] == one["reason"] == "few_quotes"
    assert one["atm_volatility"] is one["skew"] is one["svi"] is one["fit"] is None
    assert one["quotes_used"] == 2
    assert one["expected_move"]["volatility"] is None
    assert told["grid"]["rows"] == told["term_structure"] == []


async def test_a_surface_that_the_client_has_is_a_304_and_an_unknown_symbol_a_404(caller: Client) -> None:
    first = await caller.get("/api/options/surface/acme")
    again = await caller.get("/api/options/surface/ACME", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)
    empty = (await caller.get("/api/options/surface/BARE")).json()
    assert (empty["reason"], empty["expirations"]) == ("no_listed_options", [])
    for path, status, code in (
        ("NONE", 404, "not-found"),
        ("A1", 422, "validation"),
        ("ACME?expiration=2026-11-25x", 422, "validation"),
        ("ACME?expiration=2026-12-19", 422, "validation"),
        ("ACME?expiration=2020-01-17", 422, "validation"),
        ("ACME?by=color", 422, "validation"),
        ("ACME?accuracy=perfect", 422, "validation"),
    ):
        answer = await caller.get(f"/api/options/surface/{path}")
        assert answer.status_code == status, path
        assert answer.json()["type"].endswith(code), path


# -- what if ----------------------------------------------------------------------------------------


async def test_what_is_not_said_comes_from_the_market_and_says_so(caller: Client) -> None:
    chain_told = (await caller.get(f"/api/options/chains/ACME?expiration={NEAR}")).json()
    [listed] = [one for one in chain_told["calls"] if one["strike_price"] == 105]
    told = await price(caller, leg("call", 105, 2), leg("put", 97.5, -1), {"symbol": "ACME", "qty": 10})
    call, put, shares = told["legs"]
    assert told["spot"] == {"value": 100.0, "source": "mid"}
    assert call["symbol"] == listed["symbol"]
    assert call["volatility"]["source"] == "quote"
    assert call["rate"] == {"value": 0.0, "source": "setting"}
    assert call["now"]["price"] == pytest.approx(listed["mid"], abs=1e-3)
    for name in ("delta", "theta", "vega", "rho"):
        assert call["now"][name] == pytest.approx(listed[name], abs=1e-4)
        assert call["now"]["position"][name] == pytest.approx(200 * call["now"][name], abs=0.01)
    # A strike that is not listed takes its volatility from the smile.
    assert (put["listed"], put["symbol"], put["volatility"]["source"]) == (False, None, "surface")
    assert put["volatility"]["value"] == pytest.approx(VOLATILITY, abs=1e-3)
    assert (shares["now"]["price"], shares["now"]["position"]["value"]) == (100, 1000)
    total = told["total"]
    assert total["now"]["value"] == pytest.approx(
        sum(one["now"]["position"]["value"] for one in told["legs"]), abs=0.01
    )
    assert total["change"] == total["now"]["value"] - total["scenario"]["value"] == 0


async def test_a_scenario_moves_price_volatility_time_and_rate(caller: Client) -> None:
    call = leg("call", 100, 1)
    still = (await price(caller, call))["total"]["now"]
    for wish, sign in (
        ({"spot_to": 103}, 1), ({"spot_change_pct": -3}, -1), ({"volatility_change": 2}, 1), ({"days_forward": 3}, -1),
        ({"rate_change": 1}, 1), ({"at": "2026-12-01T15:00:00Z"}, -1),
    ):  # fmt: skip
        told = await price(caller, call, **wish)
        assert told["total"]["now"] == still
        assert told["total"]["change"] * sign > 0, wish
        assert told["total"]["change"] == pytest.approx(told["legs"][0]["change"], abs=1e-3)
    points = (await price(caller, call, volatility_change=1))["total"]["change"]
    assert points == pytest.approx(still["vega"], rel=0.02)
    day = (await price(caller, call, days_forward=1))["total"]["change"]
    assert day == pytest.approx(still["theta"], rel=0.05)


async def test_each_cell_of_a_grid_is_the_scenario_of_that_cell(caller: Client) -> None:
    legs = (leg("call", 105, 2), leg("put", 95, -1))
    axes = {"spot_from_pct": -10, "spot_to_pct": 10, "spot_steps": 3, "steps": 3}
    by_volatility = (await price(caller, *legs, grid={**axes, "volatility_from": -5, "volatility_to": 5}))[
        "grid"
    ]
    assert by_volatility["spots"] == [90, 100, 110]
    cell = await price(caller, *legs, spot_to=110, volatility_change=-5)
    assert by_volatility["values"][0][2] == pytest.approx(cell["total"]["scenario"]["value"], abs=0.3)
    by_time = (await price(caller, *legs, grid={**axes, "by": "time", "days_to": 20}))["grid"]
    assert by_time["days_forward"] == [0, 10, 20]
    cell = await price(caller, *legs, spot_to=90, days_forward=10)
    assert by_time["values"][1][0] == pytest.approx(cell["total"]["scenario"]["value"], abs=0.3)
    # Without an end it goes to the first expiration, where only what exercising pays is left.
    to_end = (await price(caller, *legs, grid={**axes, "by": "time"}))["grid"]
    assert to_end["values"][2] == pytest.approx([-500, 0, 1000], abs=0.5)


async def test_without_a_market_it_prices_from_what_is_given_alone(feed: ChainFeed, caller: Client) -> None:
    feed.down = "the wire is cut"
    call = {"type": "call", "strike_price": 100, "days_to_expiry": 182.5, "qty": 1, "volatility": 0.2}
    put = {**call, "type": "put", "qty": -1}
    body = {
        "legs": [call, put],
        "spot": 100,
        "rate": 0.05,
        "dividend_yield": 0.01,
        "dividends": [],
        "style": "european",
    }
    for symbol in ({}, {"symbol": "ACME"}, {"symbol": "ZZZZ"}):
        answer = await caller.post("/api/options/price", json={**body, **symbol})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        parity = 100 * (100 * np.exp(-0.005) - 100 * np.exp(-0.025))
        assert told["total"]["now"]["value"] == pytest.approx(parity, abs=1e-3)
        assert told["total"]["now"]["delta"] == pytest.approx(100 * np.exp(-0.005), abs=1e-3)
        assert {one["volatility"]["source"] for one in told["legs"]} == {"given"}
        assert told["dividends"] == {"source": "given", "cash": []}


async def test_a_price_tells_the_volatility_and_with_it_the_profit(caller: Client) -> None:
    told = await price(caller, leg("call", 100, 2, price=5), spot_to=110)
    [one] = told["legs"]
    assert one["volatility"]["source"] == "price"
    assert one["now"]["price"] == pytest.approx(5, abs=1e-3)
    assert (one["cost"], told["total"]["cost"]) == (1000, 1000)
    assert one["profit"] == pytest.approx(told["total"]["profit"]) == pytest.approx(one["change"], abs=0.2)
    both = await price(caller, leg("call", 100, 1, price=5, volatility=0.3))
    assert both["legs"][0]["volatility"] == {"value": 0.3, "source": "given"}
    assert both["total"]["profit"] == pytest.approx(both["total"]["now"]["value"] - 500, abs=1e-3)


async def test_a_market_that_is_silent_where_it_is_needed_is_a_503(feed: ChainFeed, caller: Client) -> None:
    feed.down = "the wire is cut"
    for path in ("price", "strategy"):
        answer = await caller.post(
            f"/api/options/{path}", json={"symbol": "ACME", "legs": [leg("call", 100, 1)]}
        )
        assert answer.status_code == 503
        assert "the wire is cut" in answer.json()["detail"]
    assert (await caller.get("/api/options/surface/ACME")).status_code == 503


async def test_cash_dividends_that_are_given_make_calls_cheaper_and_puts_dearer(caller: Client) -> None:
    said = {"spot": 100, "rate": 0.02, "dividend_yield": 0}
    legs = (leg("call", 100, 1, volatility=0.3), leg("put", 100, 1, volatility=0.3))
    without = await price(caller, *legs, **said, dividends=[])
    paid = await price(caller, *legs, **said, dividends=[{"ex_date": "2026-12-07", "amount": 2}])
    assert paid["dividends"]["source"] == "given"
    assert paid["dividends"]["cash"] == [{"days": 11.9792, "amount": 2.0}]
    for place, sign in ((0, -1), (1, 1)):
        change = paid["legs"][place]["now"]["price"] - without["legs"][place]["now"]["price"]
        assert 0.3 < change * sign < 2


# -- strategies -------------------------------------------------------------------------------------


async def test_an_iron_condor_has_the_numbers_of_its_strikes_and_its_credit(caller: Client) -> None:
    told = await strategy(
        caller, leg("put", 90, 1), leg("put", 95, -1), leg("call", 105, -1), leg("call", 110, 1)
    )
    credit = -told["net"]["cost"]
    assert told["net"]["kind"] == "credit"
    end = told["at_expiration"]
    assert end["exact"] is True
    assert end["max_gain"] == pytest.approx(credit)
    assert end["max_loss"] == pytest.approx(credit - 500)
    assert end["break_evens"] == pytest.approx([95 - credit / 100, 105 + credit / 100])
    assert (end["max_gain_unlimited"], end["max_loss_unlimited"]) == (False, False)
    odds = told["probability_of_profit"]
    assert odds["volatility"]["source"] == "surface"
    assert 0.3 < odds["value"] < 0.7
    curve = told["payoff"]
    assert {90, 95, 105, 110} <= set(curve["spots"])
    assert max(curve["at_expiration"]) == pytest.approx(credit)
    at = curve["spots"].index(95)
    assert curve["at_expiration"][at] == pytest.approx(credit)
    assert told["total"]["now"]["delta"] == pytest.approx(0, abs=5)


async def test_a_naked_call_loses_without_limit_and_that_is_null_with_a_flag(caller: Client) -> None:
    told = await strategy(caller, leg("call", 105, -1, price=2.5))
    end = told["at_expiration"]
    assert (end["max_loss"], end["max_loss_unlimited"]) == (None, True)
    assert (end["max_gain"], end["break_evens"]) == (250, [107.5])
    covered = await strategy(caller, leg("call", 105, -1, price=2.5), {"symbol": "ACME", "qty": 100})
    end = covered["at_expiration"]
    assert (end["max_gain"], end["max_loss"], end["break_evens"]) == (750, -9750, [97.5])
    assert covered["legs"][0]["cost_source"] == "given"


async def test_a_calendar_is_valued_at_its_first_expiration(caller: Client) -> None:
    far = {**leg("call", 100, 1), "expiration_date": MIDDLE.isoformat()}
    told = await strategy(
        caller, leg("call", 100, -1), far, range={"from_pct": -30, "to_pct": 30, "points": 31}
    )
    end = told["at_expiration"]
    assert (end["date"], end["exact"]) == (NEAR.isoformat(), False)
    assert len(end["break_evens"]) == 2
    assert end["max_loss"] == pytest.approx(-told["net"]["cost"], abs=2)
    curve = told["payoff"]
    assert max(curve["at_expiration"]) == pytest.approx(end["max_gain"], abs=0.5)
    assert curve["spots"][int(np.argmax(curve["at_expiration"]))] == 100


async def test_a_viewer_may_ask_and_contracts_are_named_by_their_symbols(app: App) -> None:
    viewer = await app.user("viewer")
    symbol = f"ACME{NEAR:%y%m%d}C00105000"
    answer = await viewer.post("/api/options/strategy", json={"legs": [{"symbol": symbol, "qty": 1}]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["legs"][0]["symbol"] == symbol
    assert (await viewer.get("/api/options/surface/ACME")).status_code == 200


# -- bad questions ----------------------------------------------------------------------------------

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
