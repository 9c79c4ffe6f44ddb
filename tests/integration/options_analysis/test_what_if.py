"""POST /api/options/price: what comes from the market, what from the caller, and what a scenario changes."""

import numpy as np
import pytest

from tests.analysis_world import VOLATILITY, leg, price
from tests.options_world import NEAR, ChainFeed
from tests.world import Client


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
