"""The simulated market: the same everywhere, plausible, and honest about the hours it keeps."""

import json
import math
import os
import statistics
import subprocess
import sys
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.domain.calendar import AlwaysOpen, ExchangeHours, hours_of
from paiid.domain.instruments import parse_symbol
from paiid.domain.quotes import Quote
from paiid.feeds.simulated import SimulatedFeed
from paiid.feeds.simulated.listing import LISTINGS
from paiid.feeds.simulated.tape import Tape
from paiid.feeds.simulated.walk import Walk, exponential
from tests.fakes import FakeClock
from tests.market_world import SATURDAY_US, WEDNESDAY_OPEN_US, utc_us

SYMBOLS = list(LISTINGS)
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
    (1, "always", "AAPL", WEDNESDAY_OPEN_US, "223.29 223.32 1520 600 223.32 225.60 2181796840 1795618799320000"),
    (1, "always", "BRK.B", SATURDAY_US + 123_456, "585.53 585.61 600 120 585.53 581.28 5542855555 1795885199820000"),
    (42, "exchange", "SPY", SATURDAY_US, "703.66 703.69 160 400 703.66 703.66 4017455033 1795802399751000"),
    (1, "exchange", "F", 1940943600000000, "9.46 9.48 3800 14700 9.46 9.37 7732843027 1940943599777000"),
    (2**63 - 1, "always", "TSLA", 946684740000000, "352.23 352.28 400 160 352.28 346.12 1916365870 946684739780000"),
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
from paiid.feeds.simulated import SimulatedFeed
from paiid.feeds.simulated.listing import LISTINGS
from tests.fakes import FakeClock
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
    def relative(of: str, with_seed: int) -> float:
        return Walk(with_seed, LISTINGS[of]).price(at_us) / LISTINGS[of].level

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
    intervals = {Tape(1, listing).interval_us for listing in LISTINGS.values()}
    assert len(intervals) > len(SYMBOLS) * 3 // 4


# -- plausible --------------------------------------------------------------------------------------


def measured_pct(symbol: str, step_s: int, seed: int = 1, steps: int = 3000) -> float:
    """Annualised volatility of the logarithm over steps of this length."""
    walk = Walk(seed, LISTINGS[symbol])
    start_us = utc_us("2020-01-01 00:00")
    logs = [math.log(walk.price(start_us + n * step_s * 1_000_000)) for n in range(steps)]
    moves = [b - a for a, b in pairwise(logs)]
    return 100 * math.sqrt(statistics.fmean(move * move for move in moves) * YEAR_S / step_s)


@pytest.mark.parametrize("symbol", ["SPY", "AAPL", "TSLA", "KO", "F"])
@pytest.mark.parametrize("step_s", [10, 60, 3600, 86_400])
def test_the_volatility_measured_is_the_listing_s_at_every_scale(symbol: str, step_s: int) -> None:
    assert measured_pct(symbol, step_s) == pytest.approx(LISTINGS[symbol].volatility_pct, rel=0.15)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_in_ten_years_no_price_leaves_its_level_for_good(symbol: str) -> None:
    listing = LISTINGS[symbol]
    walk = Walk(1, listing)
    prices = [walk.price(at_us) for at_us in TEN_YEARS_US]
    assert listing.level / 5 < min(prices)
    assert max(prices) < listing.level * 5
    assert min(prices) < statistics.median(prices) < max(prices)


def test_symbols_move_each_for_itself() -> None:
    moves = {}
    for symbol in ("AAPL", "MSFT", "SPY"):
        walk = Walk(1, LISTINGS[symbol])
        prices = [math.log(walk.price(at_us)) for at_us in TEN_YEARS_US[:2000]]
        moves[symbol] = [b - a for a, b in pairwise(prices)]
    assert abs(statistics.correlation(moves["AAPL"], moves["MSFT"])) < 0.15
    assert abs(statistics.correlation(moves["AAPL"], moves["SPY"])) < 0.15


def test_there_are_forty_symbols_in_canonical_form_with_a_class_share_among_them() -> None:
    assert len(SYMBOLS) == 40
    assert [parse_symbol(symbol) for symbol in SYMBOLS] == SYMBOLS
    assert {"AAPL", "SPY", "BRK.B"} <= set(SYMBOLS)


@given(x=st.floats(-3, 3))
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


def test_S5_out_of_session_quotes_stand_still_at_the_last_of_the_session() -> None:
    close_us = utc_us("2026-11-25 21:00")
    for symbol in SYMBOLS:
        feed, clock = market(close_us - 1, "exchange")
        last = shown(feed, symbol)
        clock.advance(1)
        resting = shown(feed, symbol)
        assert (resting.sequence, resting.as_of_us, resting.bid, resting.ask, resting.bid_size) == (
            last.sequence, last.as_of_us, last.bid, last.ask, last.bid_size,
        )  # fmt: skip
        assert resting.prev_close == resting.last
        clock.advance(40 * 3600)
        assert shown(feed, symbol) == resting
        clock.advance((utc_us("2026-11-27 14:30") - clock.now_us()) / 1_000_000 + 1)
        opened = shown(feed, symbol)
        assert opened.sequence > resting.sequence
        assert opened.prev_close == resting.last


async def test_out_of_session_the_stream_shows_the_last_quotes_once_and_goes_on_at_the_open() -> None:
    feed, clock = market(utc_us("2026-11-27 14:29:50"), "exchange")
    stream = feed.quotes(["AAPL", "SPY"])
    first = [await anext(stream), await anext(stream)]
    assert {quote.symbol for quote in first} == {"AAPL", "SPY"}
    assert clock.now_us() == utc_us("2026-11-27 14:29:50")
    following = await anext(stream)
    assert clock.now_us() == utc_us("2026-11-27 14:30:00")
    assert following.sequence > {quote.symbol: quote.sequence for quote in first}[following.symbol]
    await stream.aclose()


async def test_the_stream_shows_every_tick_when_nobody_is_late() -> None:
    feed, _ = market(WEDNESDAY_OPEN_US)
    stream = feed.quotes(["AAPL", "KO"])
    seen: dict[str, list[int]] = {"AAPL": [], "KO": []}
    for _ in range(60):
        quote = await anext(stream)
        seen[quote.symbol].append(quote.sequence)
    await stream.aclose()
    for sequences in seen.values():
        assert len(sequences) > 10
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


async def test_a_reader_who_is_late_gets_the_newest_and_no_backlog() -> None:
    feed, clock = market(WEDNESDAY_OPEN_US)
    stream = feed.quotes(["AAPL"])
    await anext(stream)
    clock.advance(30)
    late = await anext(stream)
    assert late == shown(feed, "AAPL")
    assert clock.now_us() - late.as_of_us < 1_000_000
    await stream.aclose()
