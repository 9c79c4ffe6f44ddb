"""Greeks of positions and of the portfolio over HTTP and on the stream: those of the chain, times what is held, and never made up."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from paiid.domain.occ import OptionContract
from paiid.domain.pricing.black_scholes import price
from tests.conftest import MakeApp
from tests.portfolio_world import PortfolioWorld, portfolio_world

NAMES = ("delta", "gamma", "theta", "vega", "rho")
DAY = (datetime.now(UTC) + timedelta(days=60)).date()
SPOT, VOLATILITY = 111.0, 0.3


def contract(kind: str, strike: int, day: date = DAY) -> str:
    return OptionContract.of("AAPL", kind, Decimal(strike), day).symbol


CALL, PUT = contract("call", 115), contract("put", 110)


@pytest.fixture
async def world(make_app: MakeApp) -> PortfolioWorld:
    """Ten AAPL, two calls bought and one put sold, quoted a cent around what they are worth at 30 %."""
    one = await portfolio_world(make_app)
    quote_options(one)
    await one.hold(CALL, 2, 600)
    await one.hold(PUT, -1, -400)
    return one


def quote_options(world: PortfolioWorld, volatility: float = VOLATILITY) -> None:
    for symbol, kind, strike in ((CALL, "call", 115), (PUT, "put", 110)):
        worth = Decimal(round(price(kind, SPOT, strike, 60 / 365, 0.0, 0.0, volatility), 2)).quantize(
            Decimal("0.01")
        )  # type: ignore[arg-type]
        world.quote(symbol, str(worth - Decimal("0.01")), str(worth + Decimal("0.01")))


def held(told: dict[str, Any]) -> dict[str, float]:
    return {name: float(told[name]) for name in NAMES}


async def test_a_position_has_the_greeks_of_its_chain_and_those_of_all_that_is_held(
    world: PortfolioWorld,
) -> None:
    chain = await world.get(f"/api/options/chains/AAPL?expiration={DAY}")
    call, put = await world.get(f"/api/positions/{CALL}"), await world.get(f"/api/positions/{PUT}")
    for one, listed, shares in ((call, chain["calls"][0], 200), (put, chain["puts"][0], -100)):
        assert float(one["implied_volatility"]) == pytest.approx(VOLATILITY, abs=0.01)
        assert held(one) == pytest.approx(held(listed), rel=1e-3, abs=1e-6)
        assert held(one["position_greeks"]) == pytest.approx(
            {name: shares * number for name, number in held(one).items()}
        )
        assert (one["greeks_source"], one["quality"]) == ("computed", [])
        assert one["greeks_as_of"].endswith("Z")
    assert 0 < call["delta"] < 1
    assert call["position_greeks"]["theta"] < 0 < put["position_greeks"]["theta"], (
        "time costs who holds, pays who is short"
    )
    assert put["position_greeks"]["delta"] > 0, "a put sold gains as the share does"


async def test_the_portfolio_adds_shares_and_contracts_by_underlying_and_dollars_over_all(
    world: PortfolioWorld,
) -> None:
    summary, positions = await world.get("/api/portfolio/summary"), await world.get("/api/positions")
    told = summary["greeks"]
    options = [one["position_greeks"] for one in positions if one["asset_class"] == "option"]
    aapl, msft = told["by_underlying"]
    assert (aapl["underlying"], msft["underlying"], told["missing"]) == ("AAPL", "MSFT", [])
    assert float(aapl["delta"]) == pytest.approx(10 + sum(float(one["delta"]) for one in options), abs=1e-4)
    assert (msft["delta"], msft["delta_dollars"]) == (-5, -200)
    assert float(told["delta_dollars"]) == pytest.approx(float(aapl["delta"]) * SPOT - 200, abs=0.01)
    for name in ("theta", "vega", "rho"):
        assert float(told[name]) == pytest.approx(sum(float(one[name]) for one in options), abs=1e-4)


async def test_where_the_quote_allows_no_greeks_they_are_null_and_the_reason_is_told(
    world: PortfolioWorld,
) -> None:
    world.quote(CALL, "0", "0.05")
    call = await world.get(f"/api/positions/{CALL}")
    assert {call[name] for name in (*NAMES, "implied_volatility", "greeks_source", "position_greeks")} == {
        None
    }
    assert "no_bid" in call["quality"]
    summary = await world.get("/api/portfolio/summary")
    assert summary["greeks"]["missing"] == [CALL]
    assert summary["greeks"]["vega"] < 0, "what is left is a put that was sold"


async def test_while_the_source_is_away_positions_are_told_with_the_greeks_of_before(
    world: PortfolioWorld,
) -> None:
    before = await world.get(f"/api/positions/{CALL}")
    world.feed.down = "the feed is away"
    await world.app.state.clock.sleep(1.1)
    after = await world.get(f"/api/positions/{CALL}")
    assert held(after) == held(before)
    assert after["greeks_as_of"] == before["greeks_as_of"]


async def test_a_contract_that_was_never_priced_is_held_without_greeks(world: PortfolioWorld) -> None:
    other = contract("call", 120, DAY + timedelta(days=30))
    await world.hold(other, 1, 100)
    world.feed.down = "the feed is away"
    found = await world.get(f"/api/positions/{other}")
    assert (found["qty"], found["delta"], found["greeks_source"], found["quality"]) == (1, None, None, [])
    assert (await world.get("/api/portfolio/summary"))["greeks"]["missing"] == sorted([CALL, PUT, other])
