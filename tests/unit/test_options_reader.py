"""Chains as they are read and priced: once for all who ask, of one instant, remembered, and never invented."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from paiid.domain.calendar import ExchangeHours, eastern_us
from paiid.domain.corporate import CorporateAction
from paiid.domain.errors import Code, Problem
from paiid.domain.pricing import valuation
from paiid.domain.pricing.quality import STALE
from paiid.domain.pricing.terms import IMPLIED, Contracts
from paiid.domain.rate_curve import RateCurve
from paiid.market.service import MarketService
from paiid.options import chains, pricing
from paiid.options.chains import ChainReader
from paiid.options.given import Given
from paiid.options.pool import PricingPool
from paiid.options.records import NONE, Assumed
from tests.fake_clock import FakeClock
from tests.market_world import WEDNESDAY_OPEN_US
from tests.options_world import FAR, MIDDLE, NEAR, STRIKES, ChainFeed, chain, row

CLOSE_US = eastern_us(date(2026, 11, 25), time(16, 0))


class World:
    """A reader over a feed and a clock in the test's hand."""

    def __init__(self, given: Given | None = None, at_us: int = WEDNESDAY_OPEN_US) -> None:
        self.clock = FakeClock(at_us)
        self.feed = ChainFeed(chain())
        self.market = MarketService(self.feed, self.clock, ExchangeHours())
        self.pool = PricingPool()
        self.reader = ChainReader(self.market, self.clock, given or Given(Assumed(0.0, "setting")), self.pool)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    one = World()
    yield one
    await one.pool.stop()


async def refused(world: World, *days: date, symbol: str = "ACME") -> Problem:
    with pytest.raises(Problem) as problem:
        await world.reader.load(symbol, days or None)
    return problem.value


async def test_many_who_ask_at_once_cost_one_call_and_get_one_chain(world: World) -> None:
    found = await asyncio.gather(*(world.reader.load("ACME") for _ in range(20)))
    assert len({id(one) for one in found}) == 1
    assert len(world.feed.asked) == 1
    assert len(found[0]) == len(world.feed.rows)
    assert found[0].days == (NEAR, MIDDLE, FAR)


async def test_a_part_of_a_chain_that_is_fresh_costs_no_call_and_has_the_same_numbers(world: World) -> None:
    whole = await world.reader.load("ACME")
    part = await world.reader.load("ACME", [FAR, NEAR])
    assert part.days == (NEAR, FAR)
    assert len(world.feed.asked) == 1
    assert part is await world.reader.load("ACME", [NEAR, FAR])
    by_symbol = {one.contract.symbol: number for number, one in enumerate(whole.rows)}
    where = np.array([by_symbol[one.contract.symbol] for one in part.rows])
    assert np.array_equal(part.values.delta, whole.values.delta[where])
    assert np.array_equal(part.market().rate, whole.market().rate[where])  # type: ignore[index]


async def test_a_single_expiration_has_the_numbers_that_the_whole_chain_gives_it() -> None:
    """The rate is implied from the same expirations whatever is asked for."""
    found = []
    for days in (None, [NEAR]):
        world = World(Given())
        world.feed.rows = chain(root="ACME", rate=0.05, half=Decimal("0.001"))
        found.append((await world.reader.load("ACME", days)).only((NEAR,)))
        await world.pool.stop()
    whole, alone = found
    rates = [one.assumptions.expirations[0].rate for one in found]
    assert rates[0] == rates[1]
    assert rates[0].source == "parity"
    assert np.array_equal(whole.implied.volatility, alone.implied.volatility)


async def test_after_a_second_it_is_asked_again_and_unchanged_quotes_are_not_priced_again(
    world: World,
) -> None:
    first = await world.reader.load("ACME")
    world.clock.advance(0.9)
    assert await world.reader.load("ACME") is first
    world.clock.advance(0.2)
    assert await world.reader.load("ACME") is first
    assert len(world.feed.asked) == 2
    world.feed.rows[0] = row(70, bid="29.9", ask="30.3")
    world.clock.advance(1.1)
    second = await world.reader.load("ACME")
    assert second is not first
    assert second.ask[0] == 30.3


async def test_values_do_not_stand_longer_than_time_lets_them(world: World) -> None:
    world.feed.resend_interval_s = 1000.0
    first = await world.reader.load("ACME")
    world.clock.advance(chains.REPRICED_S - 1)
    assert await world.reader.load("ACME") is first
    world.clock.advance(2)
    second = await world.reader.load("ACME")
    assert second is not first
    assert second.assumptions.priced_at_us == world.clock.now_us()


async def test_of_a_closed_market_the_values_are_those_of_its_close() -> None:
    world = World(at_us=CLOSE_US + 3_600_000_000)
    world.feed.set("ACME", "104.99", "105.01", as_of_us=CLOSE_US + 1_800_000_000)
    quote = world.feed.newest("ACME")
    assert quote is not None
    world.feed._memory["ACME"] = replace(quote, prev_close=Decimal("100.00"))
    world.feed.rows = chain(at_us=CLOSE_US)
    one = await world.reader.load("ACME")
    assert one.assumptions.priced_at_us == CLOSE_US
    assert one.assumptions.spot is not None
    assert (one.assumptions.spot.price, one.assumptions.spot.source) == (100.0, "close")
    assert one.underlying_price == Decimal(105)
    near = (one.implied.status == IMPLIED) & (np.abs(one.contracts.strike - 100) < 11)
    assert np.abs(one.implied.volatility[near] - 0.3).max() < 1e-3
    world.clock.advance(4 * 3600)
    assert await world.reader.load("ACME") is one
    await world.pool.stop()


async def test_of_a_recording_the_values_are_those_of_its_instant(world: World) -> None:
    long_ago = eastern_us(date(2014, 6, 6), time(16, 0))
    day = date(2014, 9, 19)
    world.feed.rows = chain((day,), at_us=long_ago, recorded_at_us=long_ago)
    one = await world.reader.load("ACME", [day])
    assert one.assumptions.priced_at_us == long_ago
    assert abs(one.assumptions.expirations[0].years - 105 / 365) < 1e-9
    near = (one.implied.status == IMPLIED) & (np.abs(one.contracts.strike - 100) < 11)
    assert np.abs(one.implied.volatility[near] - 0.3).max() < 1e-3


async def test_where_the_source_is_silent_it_is_the_last_that_it_told_with_its_age(world: World) -> None:
    whole = await world.reader.load("ACME")
    world.feed.down = "no line"
    world.clock.advance(100)
    late = await world.reader.load("ACME", [NEAR])
    assert (late.stale, late.age_s) == (True, 100.0)
    assert ((late.flags & np.uint32(STALE)) != 0).all()
    assert np.array_equal(late.values.delta, whole.only((NEAR,)).values.delta)
    assert late is await world.reader.load("ACME", [NEAR]), "encoded once a second, not for each who asks"
    world.clock.advance(400)
    assert (await world.reader.load("ACME", [NEAR])).age_s == 500.0, "its listing has aged too"
    world.feed.down = None
    world.clock.advance(chains.RETRY_S)
    fresh = await world.reader.load("ACME", [NEAR])
    assert (fresh.stale, fresh.age_s) == (False, None)


async def test_a_silent_source_is_left_alone_for_a_moment(world: World) -> None:
    await world.reader.load("ACME")
    world.feed.down = "no line"
    world.clock.advance(2)
    calls = 0
    original = world.feed.fetch_chain

    async def counted(symbol: str, first: date, last: date) -> object:
        nonlocal calls
        calls += 1
        return await original(symbol, first, last)

    world.feed.fetch_chain = counted  # type: ignore[method-assign, assignment]
    for _ in range(5):
        assert (await world.reader.load("ACME")).stale
    assert calls == 1
    world.clock.advance(chains.RETRY_S)
    await world.reader.load("ACME")
    assert calls == 2


async def test_where_nothing_was_ever_told_it_is_503_and_nothing_is_invented(world: World) -> None:
    world.feed.down = "no line"
    problem = await refused(world)
    assert (problem.code, problem.detail) == (
        Code.MARKET_DATA_UNAVAILABLE,
        "There are no options data now: no line.",
    )
    world.feed.down = None
    await world.reader.load("ACME", [NEAR])
    world.feed.down = "no line"
    world.clock.advance(5)
    assert (await refused(world, MIDDLE)).code is Code.MARKET_DATA_UNAVAILABLE


async def test_unknown_tickers_and_days_are_refused_and_a_ticker_without_options_is_empty(
    world: World,
) -> None:
    assert (await refused(world, symbol="NOPE")).code is Code.NOT_FOUND
    assert len(await world.reader.load("BARE")) == 0
    past, never = date(2020, 1, 17), NEAR + timedelta(days=1)
    problem = await refused(world, past, NEAR, never)
    assert [(one.field, one.code) for one in problem.errors] == [
        ("expiration", "past_expiration"),
        ("expiration", "unknown_expiration"),
    ]


async def test_an_expiration_that_has_passed_is_listed_no_more(world: World) -> None:
    assert await world.reader.expirations("ACME") == (NEAR, MIDDLE, FAR)
    world.feed.rows = [one for one in world.feed.rows if one.contract.expiration != NEAR]
    assert await world.reader.expirations("ACME") == (NEAR, MIDDLE, FAR), "remembered for some minutes"
    world.clock.advance(chains.LISTED_S)
    assert await world.reader.expirations("ACME") == (MIDDLE, FAR)


async def test_a_chain_that_is_too_large_is_refused_and_what_is_kept_has_a_bound(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = len(world.feed.rows)
    monkeypatch.setattr(chains, "MOST_CONTRACTS", rows - 1)
    problem = await refused(world)
    assert problem.errors[0].code == "too_many_contracts"
    monkeypatch.setattr(chains, "MOST_CONTRACTS", rows)
    monkeypatch.setattr(chains, "MOST_KEPT", rows + 30)
    await world.reader.load("ACME")
    for accuracy in ("fast", "accurate"):
        for day in (NEAR, MIDDLE, FAR):
            world.clock.advance(2)
            await world.reader.load("ACME", [day], accuracy)  # type: ignore[arg-type]
    kept = world.reader._kept
    assert sum(len(one.chain) + 1 for one in kept.values()) <= rows + 30
    assert ("ACME", (FAR,), "accurate") in kept


async def test_dividends_are_the_owners_else_those_announced_and_the_answer_says_which() -> None:
    announced = CorporateAction("ACME", date(2027, 1, 15), "dividend", Decimal("0.50"))
    given = CorporateAction("ACME", date(2027, 2, 15), "dividend", Decimal("0.75"))
    past = CorporateAction("ACME", date(2026, 2, 15), "dividend", Decimal("9"))
    rate = Assumed(0.01, "setting")
    for settings, source, amounts, yields in (
        (Given(rate), "announced", ["0.50"], "parity"),
        (Given(rate, {"ACME": (past, given)}), "dividends_file", ["0.75"], "none"),
        (Given(rate, {"ACME": ()}), "dividends_file", [], "none"),
        (Given(rate, {"OTHER": (given,)}, {"ACME": 0.02}), "announced", ["0.50"], "setting"),
    ):
        world = World(settings)
        world.feed.announced = [announced]
        world.feed.rows = chain((MIDDLE,), (90, 95, 100, 105, 110))
        one = (await world.reader.load("ACME")).assumptions
        assert one.dividends_source == source
        assert [str(payment.amount) for payment in one.payments] == amounts
        assert {terms.dividend_yield.source for terms in one.expirations} == {yields}
        assert [round(cash.amount, 2) for cash in one.cash] == [float(amount) for amount in amounts]
        await world.pool.stop()


async def test_more_than_a_thread_can_value_accurately_with_cash_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.feed.announced = [CorporateAction("ACME", NEAR - timedelta(days=1), "dividend", Decimal("0.50"))]
    world.feed.rows = chain((NEAR,), (95, 100, 105))
    monkeypatch.setattr(chains, "MOST_ACCURATE", 5)
    with pytest.raises(Problem) as refused:
        await world.reader.load("ACME", accuracy="accurate")
    (error,) = refused.value.errors
    assert (error.field, error.code) == ("accuracy", "costly")
    assert len(await world.reader.load("ACME")) == 6
    monkeypatch.setattr(chains, "MOST_ACCURATE", 6)
    assert len(await world.reader.load("ACME", accuracy="accurate")) == 6


async def test_the_rate_is_the_owners_else_implied_else_none() -> None:
    for given, quotes, source in (
        (Given(Assumed(0.03, "setting")), {}, "setting"),
        (Given(RateCurve((0.0,), (2.0,))), {}, "curve_file"),
        (Given(), {}, "parity"),
        (Given(), {"half": Decimal(3)}, "none"),
    ):
        world = World(given)
        world.feed.rows = chain(**quotes)  # type: ignore[arg-type]
        one = (await world.reader.load("ACME")).assumptions
        assert {terms.rate.source for terms in one.expirations} == {source}
        await world.pool.stop()


async def test_dividends_that_cannot_be_had_do_not_cost_the_chain(world: World) -> None:
    async def silent(symbol: str, first: date, last: date) -> list[CorporateAction]:
        world.feed.down = "no line"
        try:
            world.feed._refuse_when_down()
            return []
        finally:
            world.feed.down = None

    world.feed.fetch_dividends = silent  # type: ignore[method-assign]
    one = await world.reader.load("ACME")
    assert (one.stale, one.assumptions.dividends_source) == (False, "none")


async def test_an_underlying_that_nobody_quotes_leaves_contracts_without_numbers(world: World) -> None:
    world.feed._memory.pop("ACME")
    world.feed.unquoted = True
    one = await world.reader.load("ACME")
    assert (one.underlying_price, one.assumptions.spot) == (None, None)
    assert not (one.implied.status == IMPLIED).any()
    assert one.assumptions.expirations[0].dividend_yield == NONE
    with pytest.raises(ValueError, match="no price of ACME"):
        one.market()


async def test_contracts_come_in_order_and_once_however_the_source_tells_them(world: World) -> None:
    told = [*chain(), row(100, root="ACME1"), row(100)]
    world.feed.rows = told[::-1]
    one = await world.reader.load("ACME")
    assert [found.order for found in one.rows] == sorted({found.order for found in told})
    assert len(one) == 2 * 3 * len(STRIKES) + 1


async def test_a_piece_of_work_too_many_is_refused_and_the_next_one_is_not() -> None:
    pool, gate = PricingPool(threads=1, most_waiting=2), threading.Event()
    waiting = [asyncio.create_task(pool.run(gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    # Without a bound it would wait for the gate.
    third = asyncio.create_task(pool.run(int))
    await asyncio.wait([third], timeout=0.05)
    waiting[1].cancel()
    gate.set()
    with pytest.raises(Problem) as refused_one:
        await third
    assert refused_one.value.code is Code.OVERLOADED
    assert await waiting[0] is True
    while pool._waiting:
        await asyncio.sleep(0.001)
    assert await pool.run(int) == 0
    await pool.stop()
    with pytest.raises(Problem) as late:
        await pool.run(int)
    assert late.value.code is Code.SHUTTING_DOWN


async def test_a_large_chain_is_valued_by_portions_that_change_no_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(Given(Assumed(0.0, "setting"), {}, {"ACME": 0.0}))
    sizes: list[int] = []
    original = valuation.imply_and_value

    def counted(contracts: Contracts, *rest: Any, **words: Any) -> Any:
        sizes.append(len(contracts))
        return original(contracts, *rest, **words)

    monkeypatch.setattr(valuation, "imply_and_value", counted)
    whole = await world.reader.load("ACME")
    asked = int((~np.isnan(whole.mid)).sum())
    assert sizes == [asked]
    del sizes[:]
    for at_once in (2 * len(STRIKES) + 1, 9):
        monkeypatch.setattr(pricing, "_AT_ONCE", at_once)
        world.clock.advance(chains.REPRICED_S + 1)
        world.feed.rows = chain(at_us=world.clock.now_us())
        part = await world.reader.load("ACME")
        assert max(sizes) <= 2 * at_once
        assert sum(sizes) == asked
        near = part.implied.status == IMPLIED
        assert np.abs(part.implied.volatility[near] - 0.3).max() < 0.05
        assert near.sum() == (whole.implied.status == IMPLIED).sum()
        del sizes[:]
    await world.pool.stop()
