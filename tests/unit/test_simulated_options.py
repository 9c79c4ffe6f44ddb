"""The options of the simulated market: what is listed when, quotes without arbitrage, and the hours they keep."""

import math
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid.domain.calendar import ExchangeHours, hours_of, session_of
from paiid.domain.instruments import option_tick
from paiid.domain.occ import OptionContract, root_for
from paiid.domain.quotes import Quote
from paiid.feeds.simulated import SimulatedFeed, options
from paiid.feeds.simulated.dividends import dividend_of, ex_date_of
from paiid.feeds.simulated.listing import LISTINGS
from paiid.feeds.simulated.surface import implied_volatility, value
from tests.fake_clock import FakeClock
from tests.market_world import SATURDAY_US, WEDNESDAY_OPEN_US, utc_us

CLOSE_US = utc_us("2026-11-25 21:00")
DAY_US = 86_400_000_000
INSTANTS = st.integers(utc_us("2024-01-01 00:00"), utc_us("2040-01-01 00:00"))
SYMBOLS = st.sampled_from(list(LISTINGS))
HOURS = st.sampled_from(["always", "exchange"])


def market(at_us: int, hours: str = "exchange", seed: int = 1) -> tuple[SimulatedFeed, FakeClock]:
    clock = FakeClock(at_us)
    return SimulatedFeed(clock, hours_of(hours), seed), clock


def shown(feed: SimulatedFeed, symbol: str) -> Quote:
    quote = feed.newest(symbol)
    assert quote is not None, symbol
    return quote


async def everything(feed: SimulatedFeed, symbol: str) -> list[OptionContract]:
    days = await feed.fetch_expirations(symbol)
    return [one for day in days for one in await feed.fetch_contracts(symbol, day)]


# -- what is listed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", ["always", "exchange"])
async def test_four_weeks_nine_months_and_the_januaries_are_listed_and_a_holiday_moves_one_to_the_thursday(
    hours: str,
) -> None:
    feed, clock = market(WEDNESDAY_OPEN_US, hours)
    days = [day.isoformat() for day in await feed.fetch_expirations("AAPL")]
    assert days == [
        "2026-11-27", "2026-12-04", "2026-12-11", "2026-12-18", "2027-01-15", "2027-02-19",
        "2027-03-19", "2027-04-16", "2027-05-21", "2027-06-17", "2027-07-16", "2027-08-20",
        "2028-01-21", "2029-01-19",
    ]  # fmt: skip
    clock.advance((utc_us("2026-12-22 15:00") - clock.now_us()) / 1_000_000)
    assert [day.isoformat() for day in await feed.fetch_expirations("SPY")][:4] == [
        "2026-12-24", "2026-12-31", "2027-01-08", "2027-01-15",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hours", "ends"), [("always", "2026-11-27 21:00"), ("exchange", "2026-11-27 18:00")]
)
async def test_a_contract_ends_with_its_last_trading_day_and_the_next_one_comes(
    hours: str, ends: str
) -> None:
    day, ends_us = date(2026, 11, 27), utc_us(ends)
    feed, clock = market(ends_us - 1, hours)
    contract = (await feed.fetch_contracts("AAPL", day))[0]
    instrument = await feed.fetch_instrument(contract.symbol)
    assert instrument is not None
    assert instrument.last_trade_us == ends_us
    assert feed.newest(contract.symbol) is not None
    before = await feed.fetch_expirations("AAPL")
    clock.advance(0.000001)
    assert feed.newest(contract.symbol) is None
    assert await feed.fetch_instrument(contract.symbol) is None
    assert await feed.fetch_quotes([contract.symbol]) == {}
    assert list(await feed.fetch_contracts("AAPL", day)) == []
    assert set(await feed.fetch_expirations("AAPL")) - set(before) == {date(2026, 12, 24)}


@settings(max_examples=40, deadline=None)
@given(at_us=INSTANTS, hours=HOURS)
async def test_every_expiration_is_a_day_the_exchange_trades_and_none_is_missing(
    at_us: int, hours: str
) -> None:
    feed, clock = market(at_us, hours)
    days = list(await feed.fetch_expirations("AAPL"))
    assert all(session_of(day) is not None and day.weekday() in (3, 4) for day in days)
    assert days == sorted(set(days))
    near = [day for day in days if day - days[0] < timedelta(days=290)]
    assert 9 + 3 <= len(near) <= 9 + 4
    assert days[3] - days[0] <= timedelta(days=22)
    assert days[0] >= hours_of(hours).trading_day(clock.now_us())
    assert timedelta(days=235) < near[-1] - days[0]
    assert {day.month for day in days[len(near) :]} == {1}
    januaries = [day.year for day in days if day.month == 1 and 15 <= day.day <= 21]
    assert januaries == list(range(januaries[0], januaries[-1] + 1))
    assert 2 <= len(januaries) <= 3


@settings(max_examples=40, deadline=None)
@given(at_us=INSTANTS, symbol=SYMBOLS, later_days=st.floats(0, 300), hours=HOURS)
async def test_what_is_listed_stays_listed_until_it_expires_wherever_the_price_goes(
    at_us: int, symbol: str, later_days: float, hours: str
) -> None:
    feed, clock = market(at_us, hours)
    listed = await everything(feed, symbol)
    ends = {one.symbol: (await feed.fetch_instrument(one.symbol)) for one in listed[::7]}
    clock.advance(later_days * 86_400)
    still = set(await everything(feed, symbol))
    for one in listed[::7]:
        instrument = ends[one.symbol]
        assert instrument is not None
        assert instrument.last_trade_us is not None
        alive = clock.now_us() < instrument.last_trade_us
        assert (one in still) == alive
        assert (feed.newest(one.symbol) is not None) == alive


@settings(max_examples=40, deadline=None)
@given(at_us=INSTANTS, symbol=SYMBOLS)
async def test_strikes_stand_in_the_usual_steps_on_both_sides_of_the_price_the_expiration_was_listed_at(
    at_us: int, symbol: str
) -> None:
    feed, _ = market(at_us)
    days = await feed.fetch_expirations(symbol)
    contracts = await feed.fetch_contracts(symbol, days[3])
    strikes = [one.strike for one in contracts[::2]]
    assert [one.strike for one in contracts[1::2]] == strikes
    assert {b - a for a, b in pairwise(strikes)} in [{Decimal(s)} for s in ("1", "2.5", "5", "10")]
    assert 3 <= len(strikes) <= 200
    assert strikes[-1] / strikes[0] > Decimal("1.5")
    assert {one.root for one in contracts} == {root_for(symbol)}


async def test_strikes_are_added_where_the_price_has_gone_and_depend_on_nobody_s_asking() -> None:
    day = date(2027, 8, 20)
    asked, clock = market(WEDNESDAY_OPEN_US)
    first = set(await asked.fetch_contracts("TSLA", day))
    for _ in range(9):
        clock.advance(28 * 86_400)
        grown = set(await asked.fetch_contracts("TSLA", day))
        fresh, _ = market(clock.now_us())
        assert grown == set(await fresh.fetch_contracts("TSLA", day))
        assert all(fresh.newest(one.symbol) is not None for one in grown - first)
    assert grown > first


async def test_a_contract_is_unknown_before_the_instant_at_which_its_strike_was_added() -> None:
    day = date(2027, 8, 20)
    late, _ = market(utc_us("2027-08-01 15:00"))
    early, _ = market(WEDNESDAY_OPEN_US)
    added = set(await late.fetch_contracts("TSLA", day)) - set(await early.fetch_contracts("TSLA", day))
    assert added
    for one in added:
        assert early.newest(one.symbol) is None


async def test_the_contract_s_instrument_says_all_that_trading_needs() -> None:
    feed, _ = market(WEDNESDAY_OPEN_US)
    for underlying, tick in (("AAPL", "0.05"), ("BRK.B", "0.05"), ("SPY", "0.01")):
        contract = (await feed.fetch_contracts(underlying, date(2026, 12, 18)))[0]
        instrument = await feed.fetch_instrument(contract.symbol)
        assert instrument is not None
        assert (instrument.asset_class, instrument.tradable, instrument.shortable) == ("option", True, True)
        assert instrument.tick == Decimal(tick)
        assert instrument.contract == contract
        assert instrument.name == contract.name
        assert instrument.last_trade_us == utc_us("2026-12-18 21:00")
        assert not instrument.fractionable
        share = await feed.fetch_instrument(underlying)
        assert share is not None
        assert share.fractionable


# -- values without arbitrage -----------------------------------------------------------------------


def chains() -> Iterator[tuple[float, float, float, list[float]]]:
    """Spot, years, volatility and strikes far beyond what is ever listed."""
    for volatility in (0.14, 0.27, 0.62):
        for days in (0.01, 0.3, 1, 7, 30, 90, 290):
            for spot in (9.46, 223.305, 703.0):
                step = 1.0 if spot < 50 else 5.0
                count = int(spot * 2.5 / step)
                yield spot, days / 365.25, volatility, [step * n for n in range(1, count)]


def test_within_a_chain_calls_fall_and_puts_rise_with_the_strike_and_both_are_convex() -> None:
    for spot, years, volatility, strikes in chains():
        calls = [value("call", spot, strike, years, volatility) for strike in strikes]
        puts = [value("put", spot, strike, years, volatility) for strike in strikes]
        tiny = 1e-10 * spot
        for one in (calls, puts[::-1]):
            steps = [a - b for a, b in pairwise(one)]
            assert all(-tiny <= step <= strikes[0] + tiny for step in steps)
        for one in (calls, puts):
            assert all(a + c >= 2 * b - tiny for a, b, c in zip(one, one[1:], one[2:], strict=False))
        for strike, call, put in zip(strikes, calls, puts, strict=True):
            assert call - put == pytest.approx(spot - strike, abs=tiny)
            assert call >= max(0.0, spot - strike) - tiny
            assert put >= max(0.0, strike - spot) - tiny


def test_more_time_is_never_worth_less() -> None:
    for volatility in (0.14, 0.62):
        for strike in (60.0, 90.0, 100.0, 110.0, 160.0):
            values = [value("call", 100.0, strike, days / 365.25, volatility) for days in range(300)]
            assert all(b >= a - 1e-10 for a, b in pairwise(values))


def test_low_strikes_cost_more_volatility_and_so_does_the_near_end() -> None:
    assert implied_volatility(0.27, 0.0, 0.25) == pytest.approx(0.27, rel=0.1)
    for years in (0.01, 0.25, 0.75):
        smile = [implied_volatility(0.27, k / 100, years) for k in range(-60, 61)]
        assert smile[30] > smile[60] > smile[80]
        assert max(abs(b - a) for a, b in pairwise(smile)) < 0.002, "no edge anywhere"
    assert implied_volatility(0.27, 0.0, 0.01) > implied_volatility(0.27, 0.0, 0.75)


# -- quotes -----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(at_us=INSTANTS, symbol=SYMBOLS, hours=HOURS, seed=st.integers(0, 2**63 - 1))
async def test_every_quote_stands_on_the_tick_around_the_value_and_follows_its_underlying(
    at_us: int, symbol: str, hours: str, seed: int
) -> None:
    feed, _ = market(at_us, hours, seed)
    is_open = hours_of(hours).is_open(at_us)
    share = shown(feed, symbol)
    other, _ = market(at_us, hours, seed)
    for one in (await everything(feed, symbol))[::-23]:
        quote = shown(feed, one.symbol)
        assert 0 <= quote.bid < quote.ask
        assert quote.bid <= quote.last <= quote.ask
        assert quote.last > 0
        assert quote.prev_close > 0
        for price in (quote.bid, quote.ask, quote.last, quote.prev_close):
            assert price % option_tick(one.symbol, price) == 0
        assert (quote.bid_size > 0) == (quote.bid > 0)
        assert 5 <= quote.ask_size <= 120
        assert quote.ask - quote.bid <= Decimal("0.13") + share.mid * Decimal("0.0013")
        if is_open:
            assert (quote.sequence, quote.as_of_us) == (share.sequence, share.as_of_us)
            sign = 1 if one.option_type == "call" else -1
            assert quote.ask > sign * (share.mid - one.strike), (
                "nobody can buy it and exercise it at a profit"
            )
        assert quote == shown(other, one.symbol)
        assert shown(feed, one.symbol) is quote, "a quote is made once a tick"


async def test_the_bids_and_offers_of_a_chain_leave_nothing_for_free() -> None:
    for at_us in (WEDNESDAY_OPEN_US, SATURDAY_US, utc_us("2026-12-11 20:59")):
        feed, _ = market(at_us)
        for symbol in ("AAPL", "F", "SPY"):
            for day in (await feed.fetch_expirations(symbol))[::4]:
                contracts = await feed.fetch_contracts(symbol, day)
                calls = [shown(feed, one.symbol) for one in contracts[::2]]
                for low, high in pairwise(calls):
                    assert low.ask > high.bid, "a call spread is not given away"
                for low, mid, high in zip(calls, calls[1:], calls[2:], strict=False):
                    assert low.ask + high.ask > 2 * mid.bid, "nor is a butterfly"


async def test_a_worthless_option_has_no_bid_and_costs_at_least_a_cent() -> None:
    feed, _ = market(utc_us("2026-11-27 17:59:58"))
    contract = (await feed.fetch_contracts("KO", date(2026, 11, 27)))[-2]
    quote = shown(feed, contract.symbol)
    assert (quote.bid, quote.bid_size) == (0, 0)
    assert quote.ask >= Decimal("0.01")
    assert quote.last == Decimal("0.01")


async def test_at_the_end_an_option_is_worth_what_exercising_pays() -> None:
    feed, _ = market(utc_us("2026-11-27 18:00") - 1)
    share = shown(feed, "AAPL")
    for one in await feed.fetch_contracts("AAPL", date(2026, 11, 27)):
        sign = 1 if one.option_type == "call" else -1
        pays = max(Decimal(0), sign * (share.mid - one.strike))
        assert abs(shown(feed, one.symbol).mid - pays) < Decimal("0.2")


async def test_options_trade_in_the_regular_session_only_and_stand_still_at_its_close() -> None:
    feed, clock = market(CLOSE_US - 1)
    symbols = [one.symbol for one in (await everything(feed, "AAPL"))[60::97]]
    last = {symbol: shown(feed, symbol) for symbol in symbols}
    share = shown(feed, "AAPL")
    for hours in (0.0000001, 0.5, 3, 10, 24):
        clock.advance(hours * 3600)
        for symbol in symbols:
            quote = shown(feed, symbol)
            assert (quote.sequence, quote.as_of_us) == (share.sequence, share.as_of_us)
            assert (quote.bid, quote.ask, quote.last) == (
                last[symbol].bid,
                last[symbol].ask,
                last[symbol].last,
            )
            assert quote.prev_close == last[symbol].last, "after the roll the close is the one just made"
    assert shown(feed, "AAPL").sequence > share.sequence, "while the share goes on in extended hours"
    clock.advance((utc_us("2026-11-27 14:30") - clock.now_us()) / 1_000_000 + 1)
    for symbol in symbols:
        opened = shown(feed, symbol)
        assert opened.sequence == shown(feed, "AAPL").sequence
        assert opened.prev_close == last[symbol].last


async def test_the_stream_of_an_option_ticks_with_its_underlying_and_rests_when_it_has_expired() -> None:
    feed, clock = market(utc_us("2026-11-27 17:59:55"))
    contract = (await feed.fetch_contracts("AAPL", date(2026, 11, 27)))[0]
    feed.follow([contract.symbol, "AAPL"])
    seen: list[Quote] = []
    async for event in feed.listen():
        if isinstance(event, Quote):
            seen.append(event)
        if len(seen) == 60:
            break
    options_seen = [quote for quote in seen if quote.symbol == contract.symbol]
    shares_seen = {quote.sequence for quote in seen if quote.symbol == "AAPL"}
    assert len(options_seen) > 4
    assert {quote.sequence for quote in options_seen} <= shares_seen
    assert clock.now_us() > utc_us("2026-11-27 18:00")


async def test_what_is_remembered_is_bounded_and_never_changes_a_quote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(options, "MOST_KEPT", 5)
    feed, clock = market(WEDNESDAY_OPEN_US)
    symbols = [one.symbol for one in (await everything(feed, "AAPL"))[::19]]
    for _ in range(3):
        for symbol in symbols:
            assert shown(feed, symbol) == shown(market(clock.now_us())[0], symbol)
            assert len(feed._options._known) <= 5
        clock.advance(7.3 * 3600)


GOLDEN = [
    ("always", "AAPL261204C00275000", WEDNESDAY_OPEN_US, "9.60 9.95 76 10 9.75 8.15 1795618799"),
    ("exchange", "BRKB261218P00445000", WEDNESDAY_OPEN_US, "9.30 9.65 76 55 9.45 11.45 1795618799"),
    ("exchange", "SPY270820C00660000", SATURDAY_US, "33.40 34.22 116 17 33.81 33.81 5746567679"),
]


@pytest.mark.parametrize(("hours", "symbol", "at_us", "wanted"), GOLDEN)
def test_the_quote_of_an_option_is_the_same_in_every_version(
    hours: str, symbol: str, at_us: int, wanted: str
) -> None:
    q = shown(market(at_us, hours)[0], symbol)
    assert f"{q.bid} {q.ask} {q.bid_size} {q.ask_size} {q.last} {q.prev_close} {q.sequence}" == wanted


# -- dividends --------------------------------------------------------------------------------------


async def test_a_symbol_that_pays_pays_four_times_a_year_on_a_trading_day_and_about_its_yield() -> None:
    feed, _ = market(WEDNESDAY_OPEN_US)
    days = [date(2027, 1, 1) + timedelta(days=n) for n in range(365)]
    paid: dict[str, list[Decimal]] = {symbol: [] for symbol in LISTINGS}
    for day in days:
        for action in await feed.fetch_corporate_actions([*LISTINGS, "AAPL"], day):
            assert (action.kind, action.ex_date, action.ratio) == ("dividend", day, 1)
            assert session_of(day) is not None
            assert action.amount == action.amount.quantize(Decimal("0.01"))
            assert action.description
            paid[action.symbol].append(action.amount)
    for symbol, listing in LISTINGS.items():
        assert len(paid[symbol]) == (4 if listing.dividend_pct > 0 else 0)
        yearly = listing.level * listing.dividend_pct / 100
        assert math.isclose(float(sum(paid[symbol], Decimal(0))), yearly, abs_tol=0.021)
    assert 25 <= sum(1 for amounts in paid.values() if amounts) < 40


def test_the_ex_dates_of_different_symbols_differ() -> None:
    dates = {
        (month, ex_date_of(listing, 2027, month))
        for listing in LISTINGS.values()
        for month in range(1, 13)
        if ex_date_of(listing, 2027, month)
    }
    assert len(dates) > 60


def test_the_price_does_not_fall_on_the_ex_date_and_the_close_is_not_adjusted() -> None:
    listing = LISTINGS["T"]
    [ex_date] = [day for month in (1, 2, 3) if (day := ex_date_of(listing, 2027, month)) is not None]
    assert dividend_of(listing, ex_date) is not None
    hours = ExchangeHours()
    [session] = hours.sessions(ex_date, ex_date)
    feed, clock = market(hours.previous_roll_us(session.open_us) - 1)
    close = shown(feed, "T").last
    clock.advance((session.open_us - clock.now_us()) / 1_000_000 + 1)
    assert shown(feed, "T").prev_close == close
