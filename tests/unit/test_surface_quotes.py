"""Which quotes of a chain a smile goes through: one a strike, out of the money, and none that cannot be trusted."""

from dataclasses import replace
from decimal import Decimal
from math import exp, log
from typing import Literal

import numpy as np
import pytest

from paiid.domain.option_chain import ChainRow
from paiid.domain.pricing import quality
from paiid.options.pricing import Told, in_order, price_chain
from paiid.options.records import NONE, PricedChain, Spot
from paiid.options.surface import draw
from paiid.options.surface_quotes import choose
from paiid.options.surface_view import surface_view
from tests.market_world import WEDNESDAY_OPEN_US
from tests.options_world import MIDDLE, NEAR, chain, row

STRIKES = tuple(85 + 2.5 * number for number in range(13))
KINDS: tuple[Literal["call", "put"], ...] = ("call", "put")


def priced_from(rows: list[ChainRow]) -> PricedChain:
    """With the spot at 100, without interest and dividends."""
    told = Told(
        "ACME", "hand", False, in_order(rows), Decimal(100), WEDNESDAY_OPEN_US, WEDNESDAY_OPEN_US, WEDNESDAY_OPEN_US,
        Spot(100.0, 99.99, 100.01, "mid"), NONE, NONE, (), "none",
    )  # fmt: skip
    return price_chain(told, "fast")


@pytest.fixture(scope="module")
def priced() -> PricedChain:
    """Two expirations at 30 %, a cent around the value."""
    return priced_from(chain((NEAR, MIDDLE), STRIKES))


def flagged(priced: PricedChain, flag: int, *strikes: float) -> PricedChain:
    """With a flag more on both contracts of these strikes (all, if none is named) that expire first."""
    first = priced.expiration_index == 0
    where = first & (np.isin(priced.contracts.strike, strikes) if strikes else first)
    return replace(priced, flags=np.where(where, priced.flags | np.uint32(flag), priced.flags))


def test_the_put_counts_below_the_forward_and_the_call_from_it_on(priced: PricedChain) -> None:
    chosen = choose(priced, 0)
    assert np.exp(chosen.quotes.k) * 100 == pytest.approx(STRIKES)
    first = priced.expiration_index == 0
    for strike, volatility in zip(STRIKES, chosen.quotes.volatility, strict=True):
        at = first & (priced.contracts.strike == strike) & (priced.contracts.call == (strike >= 100))
        assert volatility == priced.implied.volatility[at][0]
    assert chosen.left_out == {"in_the_money": len(STRIKES)}
    assert chosen.straddle is not None
    strike, call, put = chosen.straddle
    assert strike == 100
    assert call == pytest.approx(put, abs=1e-4)


def test_each_reason_is_counted_and_its_contracts_are_not_used(priced: PricedChain) -> None:
    for flag, reason in (
        (quality.WIDE, "untrusted"), (quality.PARITY_BROKEN, "untrusted"), (quality.ADJUSTED, "adjusted"), (quality.STALE, "stale"),
    ):  # fmt: skip
        chosen = choose(flagged(priced, flag, 95, 100), 0)
        assert chosen.left_out == {reason: 4, "in_the_money": len(STRIKES) - 2}, reason
        assert len(chosen.quotes) == len(STRIKES) - 2
        assert chosen.straddle is not None
        assert chosen.straddle[0] in (97.5, 102.5)
        assert choose(flagged(priced, flag, 95), 1).left_out == choose(priced, 1).left_out
    morning = replace(priced, contracts=replace(priced.contracts, years=priced.contracts.years.copy()))
    morning.contracts.years[:2] -= 0.001
    assert choose(morning, 0).left_out["other_settlement"] == 2
    unknown = replace(priced, uncertainty=np.where(priced.contracts.strike == 85, np.nan, priced.uncertainty))
    assert choose(unknown, 0).left_out["uncertain"] == 2


def test_stale_quotes_are_used_where_there_are_no_better_ones_and_that_is_told(priced: PricedChain) -> None:
    chosen = choose(flagged(priced, quality.STALE), 0)
    assert chosen.stale
    assert len(chosen.quotes) == len(STRIKES)
    assert not choose(priced, 0).stale


def test_an_expiration_without_time_or_without_a_price_of_the_underlying_has_no_quotes(
    priced: PricedChain,
) -> None:
    assumptions = priced.assumptions
    for change, reason in (({"years": 0.0}, "expired"), ({"forward": None}, "no_underlying")):
        terms = (replace(assumptions.expirations[0], **change), *assumptions.expirations[1:])
        chosen = choose(replace(priced, assumptions=replace(assumptions, expirations=terms)), 0)
        assert len(chosen.quotes) == 0
        assert chosen.left_out == {reason: 2 * len(STRIKES)}
        surface = draw(replace(priced, assumptions=replace(assumptions, expirations=terms)))
        assert [one.smile is None for one in surface.slices] == [True, False]


def test_of_two_roots_with_one_strike_and_hour_the_first_is_used(priced: PricedChain) -> None:
    moved = priced.contracts.strike.copy()
    first = priced.expiration_index == 0
    moved[first & (moved == 110)] = 105
    chosen = choose(replace(priced, contracts=replace(priced.contracts, strike=moved)), 0)
    assert chosen.left_out["doubled"] == 1
    assert len(chosen.quotes) == len(STRIKES) - 1


def test_skew_and_convexity_are_told_as_traders_read_them() -> None:
    def volatility(strike: float) -> float:
        k = log(strike / 100)
        return 0.3 - 0.2 * k + 0.8 * k * k

    rows = [
        row(strike, MIDDLE, kind, volatility=volatility(strike), half=Decimal("0.005"))
        for strike in range(70, 140, 2)
        for kind in KINDS
    ]
    [told] = surface_view(priced_from(rows), draw(priced_from(rows)), "delta")["expirations"]
    skew = told["skew"]
    assert told["atm_volatility"] == pytest.approx(0.3, abs=1e-3)
    assert skew["slope"] == pytest.approx(-0.2, abs=0.02)
    assert skew["curvature"] == pytest.approx(1.6, abs=0.3)
    # 25 delta lies about two thirds of a deviation from half the variance above the forward.
    put, call = skew["put_25_delta"], skew["call_25_delta"]
    assert put == pytest.approx(volatility(100 * exp(-0.107)), abs=2e-3)
    assert call == pytest.approx(volatility(100 * exp(0.12)), abs=2e-3)
    assert skew["risk_reversal_25_delta"] == pytest.approx(call - put, abs=2e-6)
    assert skew["butterfly_25_delta"] == pytest.approx((call + put) / 2 - told["atm_volatility"], abs=2e-6)
    assert told["arbitrage"] == {"butterfly": False, "calendar": False, "mended": []}
