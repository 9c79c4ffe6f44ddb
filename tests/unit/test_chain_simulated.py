"""Whole chains of the simulated market: one instant, nobody kept waiting, and how much is traded and held."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from paiid.domain.calendar import hours_of
from paiid.domain.option_chain import ChainRow
from paiid.feeds.simulated import SimulatedFeed
from paiid.feeds.simulated.chain import Chain
from paiid.feeds.simulated.expirations import Expirations
from paiid.feeds.simulated.listing import LISTINGS
from paiid.feeds.simulated.surface import value
from tests.fake_clock import FakeClock
from tests.market_world import SATURDAY_US, WEDNESDAY_OPEN_US, utc_us

CLOSE_US = utc_us("2026-11-25 21:00")
MONTHLY, WEEKLY = date(2026, 12, 18), date(2026, 12, 11)


def market(
    at_us: int = WEDNESDAY_OPEN_US, hours: str = "exchange", seed: int = 1
) -> tuple[SimulatedFeed, FakeClock]:
    clock = FakeClock(at_us)
    return SimulatedFeed(clock, hours_of(hours), seed), clock


async def whole(feed: SimulatedFeed, symbol: str = "AAPL") -> Sequence[ChainRow]:
    return await feed.fetch_chain(symbol, date.min, date.max)


async def test_a_chain_has_weekly_monthly_and_yearly_expirations_and_the_quotes_that_are_told_one_by_one() -> (
    None
):
    for hours, at_us, counted in (
        ("exchange", WEDNESDAY_OPEN_US, date(2026, 11, 24)),
        ("exchange", SATURDAY_US, date(2026, 11, 27)),
        ("always", SATURDAY_US, date(2026, 11, 27)),
    ):
        feed, _ = market(at_us, hours)
        rows = await whole(feed, "KO")
        days = {row.contract.expiration for row in rows}
        assert {WEEKLY, MONTHLY, date(2027, 8, 20), date(2028, 1, 21), date(2029, 1, 19)} <= days
        quotes = await feed.fetch_quotes([row.contract.symbol for row in rows])
        for row in rows:
            assert row.quote == quotes[row.contract.symbol]
            told = feed.activity(row.contract.symbol)
            assert told is not None
            assert (told.volume, told.open_interest) == (row.volume, row.open_interest)
            assert told.open_interest_day == row.open_interest_day == counted
            assert (row.vendor, row.size) == (None, 100), "nobody else computes anything here"


async def test_a_chain_is_of_one_instant_and_others_have_their_turn_in_between() -> None:
    feed, clock = market()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            clock.advance(0.7)
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    rows = await whole(feed, "SPY")
    task.cancel()
    assert len(rows) > 2000
    assert turns > len(rows) / 150, "a hundred rows at a time"
    assert len({row.quote.sequence for row in rows if row.quote is not None}) == 1
    assert len(rows) == len({row.contract for row in rows})


async def test_volume_begins_the_day_at_nothing_grows_through_the_session_and_ends_with_it() -> None:
    feed, clock = market(utc_us("2026-11-25 14:29"))
    before: dict[str, int] = {}
    for minutes, wanted in (
        (0, "none"),
        (1, "none"),
        (60, "more"),
        (120, "more"),
        (120, "more"),
        (88, "more"),
    ):
        clock.advance(minutes * 60)
        rows = await feed.fetch_chain("AAPL", WEEKLY, MONTHLY)
        now = {row.contract.symbol: row.volume or 0 for row in rows}
        if wanted == "none":
            assert set(now.values()) == {0}
        else:
            assert all(now[symbol] >= volume for symbol, volume in before.items())
            assert sum(now.values()) > sum(before.values())
        before = now
    clock.advance((CLOSE_US - clock.now_us()) / 1e6)
    assert {row.volume for row in await whole(feed)} == {0}, "with the roll the next day begins"
    clock.advance(3600 * 30)
    assert {row.volume for row in await whole(feed)} == {0}, "Thanksgiving"
    always, clock = market(CLOSE_US + 1, "always")
    assert {row.volume for row in await whole(always)} == {0}
    clock.advance(3600 * 12)
    assert sum(row.volume or 0 for row in await whole(always)) > 1000


async def test_open_interest_stands_still_for_a_day_and_is_a_function_of_the_seed() -> None:
    feed, clock = market(utc_us("2026-11-25 14:31"))
    morning = await whole(feed)
    clock.advance(6 * 3600)
    other, _ = market(clock.now_us())
    evening = await whole(other)
    assert [row.open_interest for row in evening] == [row.open_interest for row in morning]
    assert [row.volume for row in await whole(feed)] == [row.volume for row in evening]
    assert {row.open_interest_day for row in evening} == {date(2026, 11, 24)}
    clock.advance((CLOSE_US - clock.now_us()) / 1e6)
    closed = await whole(feed)
    assert {row.open_interest_day for row in closed} == {date(2026, 11, 25)}
    assert [row.open_interest for row in closed] != [row.open_interest for row in evening]
    stranger, _ = market(utc_us("2026-11-25 14:31"), seed=2)
    assert [row.open_interest for row in await whole(stranger)] != [row.open_interest for row in morning]


async def test_most_is_held_and_traded_near_the_money_at_monthly_expirations_and_in_what_is_traded_closely() -> (
    None
):
    feed, _ = market(utc_us("2026-11-25 20:59"))
    held: dict[tuple[str, date], int] = defaultdict(int)
    traded: dict[tuple[str, date], int] = defaultdict(int)
    near: dict[str, int] = defaultdict(int)
    for symbol in ("SPY", "AAPL", "F"):
        share = feed.newest(symbol)
        assert share is not None
        for row in await whole(feed, symbol):
            held[symbol, row.contract.expiration] += row.open_interest or 0
            traded[symbol, row.contract.expiration] += row.volume or 0
            if row.contract.expiration == MONTHLY:
                wide = abs(row.contract.strike / share.mid - 1) > Decimal("0.12")
                near["far" if wide else "near"] += row.open_interest or 0
                near["far, traded" if wide else "near, traded"] += row.volume or 0
    for symbol in ("SPY", "AAPL", "F"):
        assert held[symbol, MONTHLY] > 2 * held[symbol, WEEKLY] > 0
        assert traded[symbol, MONTHLY] > traded[symbol, date(2027, 8, 20)]
    assert held["SPY", MONTHLY] > 3 * held["AAPL", MONTHLY] > 9 * held["F", MONTHLY] > 0
    assert near["near"] > 3 * near["far"] > 0
    assert near["near, traded"] > 3 * near["far, traded"]
    assert 10_000 < held["AAPL", MONTHLY] < 3_000_000


async def test_nobody_holds_what_has_just_been_listed() -> None:
    feed, clock = market(CLOSE_US)
    clock.advance((utc_us("2026-11-27 18:00") - clock.now_us()) / 1e6)
    days = await feed.fetch_expirations("AAPL")
    new = date(2026, 12, 24)
    assert new in days
    assert {row.open_interest for row in await feed.fetch_chain("AAPL", new, new)} == {0}
    clock.advance(5 * 86_400)
    assert sum(row.open_interest or 0 for row in await feed.fetch_chain("AAPL", new, new)) > 0


async def test_the_model_of_a_contract_is_what_its_quote_is_made_from() -> None:
    for at_us in (WEDNESDAY_OPEN_US, SATURDAY_US):
        feed, _ = market(at_us)
        for row in (await feed.fetch_chain("AAPL", MONTHLY, MONTHLY))[::9]:
            model, contract, quote = feed.model(row.contract.symbol), row.contract, row.quote
            assert model is not None
            assert quote is not None
            worth = value(contract.option_type, model.spot, float(contract.strike), model.years, 0.27)
            assert float(quote.bid) < worth < float(quote.ask)
            assert 0.2 < model.volatility < 0.5
    for symbol in ("AAPL", "AAPL261218C00000500", "nonsense", ""):
        assert feed.model(symbol) is None
        assert feed.activity(symbol) is None


async def test_no_dividend_is_announced_for_pricing_though_there_are_some_because_no_price_falls_by_them() -> (
    None
):
    feed, _ = market()
    today = date(2026, 11, 25)
    assert list(await feed.fetch_dividends("KO", today, date.max)) == []
    paid = [
        one
        for n in range(120)
        for one in await feed.fetch_corporate_actions(["KO"], today + timedelta(days=n))
    ]
    assert paid
    # So a call is worth what parity says without a dividend, on either side of the ex-date.
    for row in (await feed.fetch_chain("KO", date(2027, 8, 20), date(2027, 8, 20)))[::2]:
        call, put = row.quote, feed.newest(row.contract.symbol.replace("C0", "P0"))
        share = feed.newest("KO")
        assert call is not None
        assert put is not None
        assert share is not None
        gap = call.mid - put.mid - (share.mid - row.contract.strike)
        assert abs(gap) < Decimal("0.05"), row.contract.symbol


@pytest.mark.parametrize("seed", [1, 7])
async def test_the_januaries_keep_every_strike_that_they_have_as_monthly_ones(seed: int) -> None:
    """What was listed before the yearly ones came must not go: somebody may hold it."""
    expirations = Expirations(hours_of("exchange"))
    for at_us in (WEDNESDAY_OPEN_US, utc_us("2027-01-08 15:00")):
        [january] = [one for one in expirations.listed(at_us).values() if one.day == date(2027, 1, 15)]
        assert january.since_us < january.added_from_us
        for symbol in ("TSLA", "KO"):
            chain = Chain(seed, LISTINGS[symbol], expirations)
            yearly = chain.strikes(january, at_us)
            monthly = Chain(seed, LISTINGS[symbol], expirations).strikes(
                replace(january, since_us=january.added_from_us), at_us
            )
            assert monthly.keys() <= yearly.keys()
            assert all(january.since_us <= since_us <= at_us for since_us in yearly.values())
