"""The recorded chain of Apple, 2014-06-06: every usable quote has a volatility, what has none says why, and neighbours agree."""

import os
from pathlib import Path

import numpy as np
import pytest

from paiid.domain.pricing import parity, quality
from paiid.domain.pricing.terms import IMPLIED
from paiid.feeds.replay import ReplayFeed
from paiid.market.service import MarketService
from paiid.options.chains import ChainReader
from paiid.options.given import Given
from paiid.options.pool import PricingPool
from tests.fake_clock import FakeClock

RECORDED = os.environ.get("PAIID_RECORDED_DATA")
CLOSE = 645.57
REASONS = quality.UNPRICEABLE | quality.BELOW_INTRINSIC | quality.OUT_OF_BOUNDS | quality.IV_NOT_IDENTIFIABLE


@pytest.mark.skipif(RECORDED is None, reason="PAIID_RECORDED_DATA does not name a folder of recorded data")
async def test_every_usable_quote_of_the_recorded_chain_solves_and_neighbours_agree() -> None:
    folder = Path(RECORDED or "")
    clock = FakeClock()
    files = f"{folder / 'chain_aapl_20140606.csv.gz'},{folder / 'daily_aapl.csv.gz'}"
    feed = ReplayFeed(clock, Path(files), 1.0)
    pool = PricingPool()
    reader = ChainReader(MarketService(feed, clock, feed.hours), clock, Given(), pool)
    chain = await reader.load("AAPL")
    await pool.stop()

    assert chain.assumptions.spot is not None
    assert (chain.assumptions.spot.price, len(chain)) == (CLOSE, 2352)
    known = chain.implied.status == IMPLIED
    # No unflagged hole, and no number beside a flag that forbids it.
    assert np.array_equal(known, (chain.flags & np.uint32(REASONS)) == 0)
    alive = (chain.flags & np.uint32(quality.EXPIRED | quality.NO_BID)) == 0
    assert known.sum() == alive.sum() - (alive & ~known).sum() > 1950
    assert np.isfinite(chain.values.price).all()
    assert np.abs(chain.values.price[known] - chain.mid[known]).max() < 0.01
    good = chain.flags == 0
    assert good.sum() > 1350
    assert 0.1 < chain.implied.volatility[good].min() < chain.implied.volatility[good].max() < 1.5

    # Puts and calls near the money tell one volatility for each expiration.
    pairs = parity.find_pairs(chain.contracts, good)
    near = np.abs(np.log(chain.contracts.strike[pairs.call] / CLOSE)) < 0.05
    gap = chain.implied.volatility[pairs.call] - chain.implied.volatility[pairs.put]
    assert near.sum() > 100
    for number in range(1, 13):
        here = near & (chain.expiration_index[pairs.call] == number)
        assert abs(gap[here].mean()) < 0.003, chain.days[number]

    # A smile is smooth: each out-of-the-money volatility lies between its neighbours', within what their spreads allow.
    bent, looked_at = 0, 0
    for number in range(1, 13):
        outside = (chain.contracts.strike > CLOSE) == chain.contracts.call
        where = np.flatnonzero(good & outside & (chain.expiration_index == number))
        smile, unsure = chain.implied.volatility[where], chain.uncertainty[where]
        strike = chain.contracts.strike[where]
        share = (strike[1:-1] - strike[:-2]) / (strike[2:] - strike[:-2])
        between = smile[:-2] + share * (smile[2:] - smile[:-2])
        allowed = 0.01 + unsure[1:-1] + unsure[:-2] + unsure[2:]
        bent += int((np.abs(smile[1:-1] - between) > allowed).sum())
        looked_at += len(between)
    assert looked_at > 600
    assert bent <= looked_at * 0.01

    # Apple was expected to pay about 2 % a year, and money to cost next to nothing.
    far = chain.assumptions.expirations[-1]
    assert far.forward is not None
    assert 0.005 < far.dividend_yield.value - far.rate.value < 0.025
    assert abs(far.rate.value) < 0.02
