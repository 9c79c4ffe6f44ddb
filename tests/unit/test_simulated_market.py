"""The simulated market: the same everywhere, plausible, and honest about the hours it keeps."""

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.domain.calendar import AlwaysOpen, ExchangeHours, hours_of
from paiid.domain.instruments import parse_symbol
from paiid.domain.quotes import Quote
from paiid.domain.valuation import closing_price
from paiid.feeds import FeedEvent
from paiid.feeds.simulated import SimulatedFeed
from paiid.feeds.simulated.listing import LISTINGS
from paiid.feeds.simulated.paths import prices
from paiid.feeds.simulated.tape import Tape
from paiid.feeds.simulated.walk import FACTOR_PCT, Walk, exponential, factor_of
from tests.fake_clock import FakeClock
from tests.market_world import SATURDAY_US, WEDNESDAY_OPEN_US, utc_us

SYMBOLS = list(LISTINGS)
FACTOR = factor_of(1)
CENT = Decimal("0.01")
DAY_US = 86_400_000_000
YEAR_S = 365.25 * 86_400
INSTANTS = st.integers(utc_us("1990-01-01 00:00"), utc_us("2100-01-01 00:00"))
SEEDS = st.integers(0, 2**63 - 1)
TEN_YEARS_US = [utc_us("2020-01-01 00:00") + n * DAY_US for n in range(3653)]


def market(at_us: int, hours: str = "always", seed: int = 1) -> tuple[SimulatedFeed, FakeClock]:
    clock = FakeClock(at_us)
    return SimulatedFeed(clock, hours_of(hours), seed), clock


def shown(feed: SimulatedFeed, symbol: str) -> Quote:
    quote = feed.newest(symbol)
    assert quote is not None
    return quote


# -- the same market everywhere ---------------------------------------------------------------------

GOLDEN = [
    (1, "always", "AAPL", WEDNESDAY_OPEN_US, "282.48 282.51 1800 1720 282.48 279.92 1795618799 1795618799568007"),
    (1, "always", "BRK.B", SATURDAY_US + 123_456, "437.76 437.82 840 120 437.76 435.41 1795885199 1795885199153025"),
    (42, "exchange", "SPY", SATURDAY_US, "619.27 619.34 40 40 619.34 618.15 5746613759 1795816799759912"),
    (1, "exchange", "F", 1940943600000000, "11.39 11.41 23900 29400 11.39 11.24 1940943599 1940943599724623"),
    (2**63 - 1, "always", "TSLA", 946684740000000, "294.03 294.07 960 1200 294.07 292.00 3786738959 946684739983391"),
]  # fmt: skip


@pytest.mark.parametrize(("seed", "hours", "symbol", "at_us", "wanted"), GOLDEN)
def test_a_quote_is_the_same_in_every_version(
    seed: int, hours: str, symbol: str, at_us: int, wanted: str
) -> None:
    q = shown(market(at_us, hours, seed)[0], symbol)
    assert (
        f"{q.bid} {q.ask} {q.bid_size} {q.ask_size} {q.last} {q.prev_close} {q.sequence} {q.as_of_us}"
        == wanted
    )


_DUMP = """
import json, sys
from paiid.domain.calendar import hours_of
from paiid.feeds import FeedEvent
from paiid.feeds.simulated import SimulatedFeed
from paiid.feeds.simulated.listing import LISTINGS
from tests.fake_clock import FakeClock
seed, hours, instants, order = json.loads(sys.argv[1])
clock = FakeClock(0)
feed = SimulatedFeed(clock, hours_of(hours), seed)
shown = {}
for at_us in instants:
    clock.advance((at_us - clock.now_us()) / 1_000_000)
    for symbol in sorted(LISTINGS, reverse=order < 0):
        shown[f"{at_us} {symbol}"] = repr(feed.newest(symbol))
print(json.dumps(shown))
"""


@pytest.mark.parametrize("hours", ["always", "exchange"])
def test_two_processes_show_the_same_market_however_they_came_to_the_instant(hours: str) -> None:
    instants = [WEDNESDAY_OPEN_US, SATURDAY_US, SATURDAY_US + 1_000_000, utc_us("2027-03-14 18:00")]

    def process(hash_seed: str, visited: list[int], order: int) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", _DUMP, json.dumps([7, hours, visited, order])],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            timeout=60,
        )
        found: dict[str, str] = json.loads(done.stdout)
        return found

    one = process("1", instants, 1)
    other = process("2", [WEDNESDAY_OPEN_US - DAY_US, *instants[2:]], -1)
    common = one.keys() & other.keys()
    assert len(common) == 2 * len(SYMBOLS)
    assert {key: one[key] for key in common} == {key: other[key] for key in common}


@given(seed=SEEDS, symbol=st.sampled_from(SYMBOLS), visits=st.lists(INSTANTS, min_size=1, max_size=8))
def test_what_was_asked_before_never_changes_a_quote(seed: int, symbol: str, visits: list[int]) -> None:
    hours = ExchangeHours()
    worn = Tape(seed, LISTINGS[symbol])
    for at_us in [*visits, *(at_us + 1_000_000 for at_us in visits)]:
        roll_us = hours.previous_roll_us(at_us)
        assert worn.quote(at_us, roll_us) == Tape(seed, LISTINGS[symbol]).quote(at_us, roll_us)


@given(seed=SEEDS, symbol=st.sampled_from(SYMBOLS), at_us=INSTANTS)
def test_another_seed_and_another_symbol_are_another_market(seed: int, symbol: str, at_us: int) -> None:
    factors = {one: factor_of(one) for one in (seed, seed + 1)}

    def relative(of: str, with_seed: int) -> float:
        return Walk(with_seed, LISTINGS[of], factors[with_seed]).price(at_us) / LISTINGS[of].level

    assert relative(symbol, seed) != relative(symbol, seed + 1)
    assert len({relative(one, seed) for one in SYMBOLS}) == len(SYMBOLS)


# -- every quote ------------------------------------------------------------------------------------


@given(seed=SEEDS, symbol=st.sampled_from(SYMBOLS), at_us=INSTANTS)
def test_every_quote_has_a_bid_below_its_ask_in_whole_cents_and_round_lots(
    seed: int, symbol: str, at_us: int
) -> None:
    listing = LISTINGS[symbol]
    q = Tape(seed, listing).quote(at_us, AlwaysOpen().previous_roll_us(at_us))
    assert 0 < q.bid < q.ask
    assert q.last in (q.bid, q.ask)
    for price in (q.bid, q.ask, q.last, q.prev_close):
        assert price > 0
        assert price == price.quantize(CENT)
    for size in (q.bid_size, q.ask_size):
        assert size >= 100
        assert size % listing.round_lot == 0
    assert q.ask - q.bid <= q.mid * Decimal(listing.spread_bps) / 10_000 + 2 * CENT
    assert (q.source, q.stale) == ("simulated", False)


@given(seed=SEEDS, symbol=st.sampled_from(SYMBOLS), at_us=INSTANTS, later_us=st.integers(0, 10_000_000))
def test_the_sequence_is_the_tick_and_grows_with_time(
    seed: int, symbol: str, at_us: int, later_us: int
) -> None:
    tape = Tape(seed, LISTINGS[symbol])
    assert 250_000 <= tape.interval_us <= 1_000_000
    roll_us = AlwaysOpen().previous_roll_us(at_us)
    first, second = tape.quote(at_us, roll_us), tape.quote(at_us + later_us, roll_us)
    assert first.as_of_us <= at_us < first.as_of_us + tape.interval_us
    assert (second.sequence > first.sequence) == (second.as_of_us > first.as_of_us)
    assert second.as_of_us - first.as_of_us == (second.sequence - first.sequence) * tape.interval_us
    if first.sequence == second.sequence:
        assert second is first, "a quote is made once a tick"


def test_the_symbols_do_not_all_tick_at_once() -> None:
    tapes = [Tape(1, listing) for listing in LISTINGS.values()]
    assert len({tape.interval_us for tape in tapes}) > 8
    assert len({(tape.interval_us, tape.phase_us) for tape in tapes}) == len(SYMBOLS)
    for tape in tapes:
        assert tape.interval_us * tape.ticks_a_minute == 60_000_000
        assert tape.phase_us < tape.interval_us


# -- plausible --------------------------------------------------------------------------------------


def measured_pct(symbol: str, step_s: int, steps: int = 3000) -> float:
    """Annualised volatility of the logarithm over steps of this length."""
    walk = Walk(1, LISTINGS[symbol], FACTOR)
    start_us = utc_us("2020-01-01 00:00")
    logs = np.log(prices(walk, start_us + np.arange(steps) * step_s * 1_000_000)).tolist()
    moves = [b - a for a, b in pairwise(logs)]
    return 100 * math.sqrt(statistics.fmean(move * move for move in moves) * YEAR_S / step_s)


@pytest.mark.parametrize("symbol", ["SPY", "AAPL", "TSLA", "KO", "F"])
@pytest.mark.parametrize("step_s", [10, 60, 3600, 86_400])
def test_the_volatility_measured_is_the_listing_s_at_every_scale(symbol: str, step_s: int) -> None:
    assert measured_pct(symbol, step_s) == pytest.approx(LISTINGS[symbol].volatility_pct, rel=0.15)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_in_ten_years_no_price_leaves_its_level_for_good(symbol: str) -> None:
    listing = LISTINGS[symbol]
    walk = Walk(1, listing, FACTOR)
    shown = prices(walk, np.array(TEN_YEARS_US)).tolist()
    assert listing.level / 5 < min(shown)
    assert max(shown) < listing.level * 5
    assert min(shown) < statistics.median(shown) < max(shown)


def moves(symbol: str, step_s: int, steps: int) -> list[float]:
    walk = Walk(1, LISTINGS[symbol], FACTOR)
    start_us = utc_us("2021-03-01 00:00")
    logs = np.log(prices(walk, start_us + np.arange(steps) * step_s * 1_000_000)).tolist()
    return [b - a for a, b in pairwise(logs)]


@pytest.mark.parametrize(("step_s", "steps"), [(86_400, 800), (3600, 1000), (300, 1500), (60, 2500)])
def test_indices_move_together_stocks_partly_and_bonds_a_little_the_other_way(
    step_s: int, steps: int
) -> None:
    symbols = ("SPY", "QQQ", "IWM", "DIA", "AAPL", "MSFT", "JPM", "TSLA", "TLT")
    moved = {symbol: moves(symbol, step_s, steps) for symbol in symbols}

    def together(one: str, other: str) -> float:
        return statistics.correlation(moved[one], moved[other])

    least = 0.8 if step_s > 60 else 0.7
    assert together("SPY", "QQQ") > least
    assert together("SPY", "DIA") > least
    assert together("SPY", "IWM") > least - 0.1
    stocks = ("AAPL", "MSFT", "JPM", "TSLA")
    for one, other in combinations(stocks, 2):
        assert 0.2 < together(one, other) < 0.75
    for one in stocks:
        assert 0.35 < together(one, "SPY") < 0.85
    assert -0.45 < together("TLT", "SPY") < -0.05


def test_every_listing_has_volatility_left_beside_the_market_s() -> None:
    for listing in LISTINGS.values():
        assert abs(listing.beta) * FACTOR_PCT < listing.volatility_pct


def test_within_seconds_each_symbol_moves_for_itself() -> None:
    assert abs(statistics.correlation(moves("AAPL", 1, 2000), moves("MSFT", 1, 2000))) < 0.2


def test_there_are_some_forty_symbols_in_canonical_form_with_a_class_share_among_them() -> None:
    assert len(SYMBOLS) == 41
    assert [parse_symbol(symbol) for symbol in SYMBOLS] == SYMBOLS
    assert {"AAPL", "SPY", "BRK.B"} <= set(SYMBOLS)


@given(x=st.floats(-5, 5))
def test_the_series_is_the_exponential_function(x: float) -> None:
    assert exponential(x) == pytest.approx(math.exp(x), rel=1e-12)


# -- the hours it keeps -----------------------------------------------------------------------------


def test_the_previous_close_is_the_last_price_before_the_roll_and_changes_at_the_roll() -> None:
    roll_us = utc_us("2026-11-25 21:00")
    for symbol in SYMBOLS:
        feed, clock = market(roll_us - 1)
        last = shown(feed, symbol)
        assert last.prev_close == shown(market(utc_us("2026-11-24 21:00") - 1)[0], symbol).last
        clock.advance(1)
        assert shown(feed, symbol).prev_close == last.last


def test_S5_after_extended_hours_quotes_stand_still_at_the_last_of_them() -> None:
    end_us = utc_us("2026-11-26 01:00")
    for symbol in SYMBOLS:
        feed, clock = market(utc_us("2026-11-25 21:00") - 1, "exchange")
        close = shown(feed, symbol).last
        clock.advance((end_us - 1 - clock.now_us()) / 1_000_000)
        last = shown(feed, symbol)
        assert last.prev_close == close, "the close is that of the regular session"
        clock.advance(1)
        assert shown(feed, symbol) == last
        clock.advance(31 * 3600)
        assert shown(feed, symbol) == last
        clock.advance((utc_us("2026-11-27 09:00") - clock.now_us()) / 1_000_000 + 1)
        opened = shown(feed, symbol)
        assert opened.sequence > last.sequence
        assert opened.prev_close == close
        clock.advance((utc_us("2026-11-27 18:00") - clock.now_us()) / 1_000_000 - 0.000001)
        close = shown(feed, symbol).last
        clock.advance(3600)
        assert shown(feed, symbol).prev_close == close, "an early close is a close"


def test_the_closing_price_is_that_of_the_regular_close_however_long_the_evening_has_ticked_on() -> None:
    roll_us = utc_us("2026-11-25 21:00")
    for symbol in SYMBOLS:
        feed, clock = market(roll_us - 1, "exchange")
        close = shown(feed, symbol)
        for minutes in (0, 0.1, 30, 200, 600, 1800):
            clock.advance(minutes * 60 + 0.000001)
            price = closing_price(shown(feed, symbol), roll_us)
            assert price is not None
            assert close.bid <= price <= close.ask
            if minutes > 0:
                assert price == close.last


def test_outside_the_regular_session_spreads_are_three_times_as_wide_and_sizes_a_tenth() -> None:
    for symbol in SYMBOLS:
        listing = LISTINGS[symbol]
        tape, lot = Tape(1, listing, FACTOR), listing.round_lot
        roll_us = ExchangeHours().previous_roll_us(WEDNESDAY_OPEN_US)
        for n in range(50):
            at_us = WEDNESDAY_OPEN_US + n * 1_000_000
            normal = Tape(1, listing, FACTOR).quote(at_us, roll_us)
            thin = tape.quote(at_us, roll_us, lambda at: False)
            assert (thin.sequence, thin.prev_close) == (normal.sequence, normal.prev_close)
            wanted = 3 * normal.mid * Decimal(listing.spread_bps) / 10_000
            assert wanted <= thin.ask - thin.bid <= wanted + 3 * CENT
            assert thin.bid <= normal.bid < normal.ask <= thin.ask
            for thin_size, size in ((thin.bid_size, normal.bid_size), (thin.ask_size, normal.ask_size)):
                assert thin_size == max(lot, size / lot // 10 * lot)


@pytest.mark.parametrize(
    "at", ["2026-11-25 14:30", "2026-11-25 21:00", "2026-11-25 09:00", "2026-11-26 01:00"]
)
def test_where_a_session_begins_or_ends_one_sequence_is_still_one_quote(at: str) -> None:
    def told(feed: SimulatedFeed, symbol: str) -> Quote:
        return replace(shown(feed, symbol), prev_close=Decimal(0))

    newcomer, _ = market(utc_us(at), "exchange")
    for symbol in SYMBOLS:
        feed, clock = market(utc_us(at) - 3_000_000, "exchange")
        seen: dict[int, Quote] = {}
        for _ in range(120):
            clock.advance(0.05)
            quote = told(feed, symbol)
            assert seen.setdefault(quote.sequence, quote) == quote
        late = told(newcomer, symbol)
        assert late == seen[late.sequence], "nor does it depend on when somebody began to ask"


def stream_of(feed: SimulatedFeed, *symbols: str) -> AsyncGenerator[FeedEvent]:
    feed.follow(symbols)
    stream = feed.listen()
    assert isinstance(stream, AsyncGenerator)
    return stream


async def quote_from(stream: AsyncIterator[FeedEvent]) -> Quote:
    async for event in stream:
        if isinstance(event, Quote):
            return event
    raise AssertionError("the stream has ended")


async def test_out_of_hours_the_stream_shows_the_last_quotes_once_and_goes_on_when_they_begin() -> None:
    feed, clock = market(utc_us("2026-11-27 08:59:50"), "exchange")
    async with aclosing(stream_of(feed, "AAPL", "SPY")) as stream:
        first = [await quote_from(stream), await quote_from(stream)]
        assert {quote.symbol for quote in first} == {"AAPL", "SPY"}
        assert clock.now_us() == utc_us("2026-11-27 08:59:50")
        following = await quote_from(stream)
        assert utc_us("2026-11-27 09:00:00") <= clock.now_us() < utc_us("2026-11-27 09:00:01")
        assert following.sequence > {quote.symbol: quote.sequence for quote in first}[following.symbol]


async def test_the_stream_shows_every_tick_when_nobody_is_late() -> None:
    feed, _ = market(WEDNESDAY_OPEN_US)
    seen: dict[str, list[int]] = {"AAPL": [], "KO": []}
    async with aclosing(stream_of(feed, "AAPL", "KO")) as stream:
        for _ in range(60):
            quote = await quote_from(stream)
            seen[quote.symbol].append(quote.sequence)
    for sequences in seen.values():
        assert len(sequences) > 10
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


async def test_a_reader_who_is_late_gets_the_newest_and_no_backlog() -> None:
    feed, clock = market(WEDNESDAY_OPEN_US)
    async with aclosing(stream_of(feed, "AAPL")) as stream:
        await quote_from(stream)
        clock.advance(30)
        late = await quote_from(stream)
        assert late == shown(feed, "AAPL")
        assert clock.now_us() - late.as_of_us < 1_000_000


async def test_search_finds_words_of_names_after_symbols_and_never_more_than_asked() -> None:
    feed, _ = market(WEDNESDAY_OPEN_US)

    async def found(text: str, limit: int = 20) -> list[str]:
        return [one.symbol for one in await feed.search(text, limit)]

    assert (await found("v"))[0] == "V"
    assert (await found("T"))[:2] == ["T", "TLT"]
    assert await found("bank of") == ["BAC"]
    assert await found("  Nasdaq ") == []
    assert await found("spdr") == ["DIA", "SPY"]
    assert await found("class") == ["BRK.B", "GOOG", "GOOGL"]
    assert await found("alphabet", 1) == ["GOOG"]


def test_what_stands_for_the_indices_is_listed() -> None:
    feed, _ = market(WEDNESDAY_OPEN_US)
    assert {symbol for _, symbol in feed.indices} == {"SPY", "QQQ", "DIA", "IWM"}
    assert {symbol for _, symbol in feed.indices} <= set(SYMBOLS)
