"""The bars of the simulated market: what was quoted, and each longer one the sum of the shorter."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid.domain.bars import INTRADAY, Bar, Timeframe, bar_start_us
from paiid.domain.calendar import eastern_date, hours_of, session_of
from paiid.feeds.simulated import SimulatedFeed, history
from paiid.feeds.simulated.history import History
from paiid.feeds.simulated.listing import LISTINGS
from paiid.feeds.simulated.paths import hashes, prices
from paiid.feeds.simulated.tape import Tape
from paiid.feeds.simulated.walk import Walk, exponential, factor_of, hash64
from tests.fake_clock import FakeClock
from tests.market_world import SATURDAY_US, THANKSGIVING_US, WEDNESDAY_OPEN_US, utc_us

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
SYMBOLS = st.sampled_from(list(LISTINGS))
HOURS = st.sampled_from(["always", "exchange"])
CENT = Decimal("0.01")
FACTOR = factor_of(1)


def market(at_us: int, hours: str = "always", seed: int = 1) -> tuple[SimulatedFeed, FakeClock]:
    clock = FakeClock(at_us)
    return SimulatedFeed(clock, hours_of(hours), seed), clock


def aggregate(bars: Sequence[Bar]) -> Bar:
    """All of them as one that begins with the first; the average price is left out, as each is rounded."""
    return Bar(
        bars[0].start_us,
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        sum((bar.volume for bar in bars), Decimal(0)),
        None,
        sum(bar.trades or 0 for bar in bars),
    )


# -- many instants at once --------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    symbol=SYMBOLS,
    seed=st.integers(0, 2**63 - 1),
    at=st.lists(st.integers(0, utc_us("2100-01-01 00:00")), min_size=1, max_size=5),
    step_us=st.sampled_from([1, 250_000, 20_000_000, 7_777_777_777]),
    count=st.integers(1, 40),
)
def test_many_instants_at_once_give_the_same_bits_as_one_by_one(
    symbol: str, seed: int, at: list[int], step_us: int, count: int
) -> None:
    instants = sorted(start + n * step_us for start in at for n in range(count))
    together = prices(Walk(seed, LISTINGS[symbol]), np.array(instants, dtype=np.int64))
    walk = Walk(seed, LISTINGS[symbol])
    assert together.tolist() == [walk.price(at_us) for at_us in instants]


def test_a_long_stretch_gives_the_same_bits_as_one_by_one() -> None:
    instants = [WEDNESDAY_OPEN_US + n * 1_234_567 for n in range(20_000)]
    walk = Walk(1, LISTINGS["SPY"], FACTOR)
    together = prices(Walk(1, LISTINGS["SPY"]), np.array(instants, dtype=np.int64)).tolist()
    assert together[::7] == [walk.price(at_us) for at_us in instants[::7]]


@given(seed=st.integers(0, 2**64 - 1), parts=st.lists(st.integers(-1, 2**62), min_size=1, max_size=20))
def test_many_hashes_at_once_are_the_same_hashes(seed: int, parts: list[int]) -> None:
    together = hashes(seed, np.array(parts, dtype=np.int64))
    assert together.tolist() == [hash64(seed, part) for part in parts]


def test_the_exponential_of_a_number_is_the_same_to_the_last_bit_on_every_machine() -> None:
    assert exponential(1.0).hex() == "0x1.5bf0a8b14574ep+1"


# -- what was quoted --------------------------------------------------------------------------------


def traded(tape: Tape, hours: str, minute: int) -> list[Decimal]:
    """The last prices of the quotes that make a minute's bar."""
    of, found = hours_of(hours), []
    for tick in tape.traded_ticks:
        at_us = tape.begins_us(minute * tape.ticks_a_minute + tick)
        assert minute * MINUTE_US <= at_us < (minute + 1) * MINUTE_US
        found.append(tape.quote(at_us, of.previous_roll_us(at_us), of.is_open).last)
    return found


@pytest.mark.parametrize("hours", ["always", "exchange"])
@pytest.mark.parametrize("symbol", ["AAPL", "BRK.B", "F"])
@pytest.mark.parametrize("at", ["2026-11-25 15:00", "2026-11-25 21:20", "2026-11-25 14:40"])
async def test_the_prices_of_a_bar_are_those_that_quotes_have_shown_as_last(
    hours: str, symbol: str, at: str
) -> None:
    feed, clock = market(utc_us(at), hours)
    bars = await feed.fetch_bars(
        symbol, Timeframe.MINUTE_1, clock.now_us() - 30 * MINUTE_US, clock.now_us(), 99
    )
    assert len(bars) == 30
    tape = Tape(1, LISTINGS[symbol])
    for bar in bars:
        shown = traded(tape, hours, bar.start_us // MINUTE_US)
        assert (bar.open, bar.high, bar.low, bar.close) == (shown[0], max(shown), min(shown), shown[-1])
        assert bar.vwap is not None
        assert bar.low <= bar.vwap <= bar.high
        assert bar.trades is not None
        assert bar.trades >= 3
        assert bar.volume > 0


async def test_the_growing_bar_has_what_was_quoted_so_far_and_only_grows() -> None:
    feed, clock = market(WEDNESDAY_OPEN_US)
    tape, minute = Tape(1, LISTINGS["AAPL"]), WEDNESDAY_OPEN_US // MINUTE_US
    before: Bar | None = None
    for n in range(61):
        clock.advance((WEDNESDAY_OPEN_US + n * 1_000_000 - clock.now_us()) / 1_000_000)
        got = await feed.fetch_bars(
            "AAPL", Timeframe.MINUTE_1, WEDNESDAY_OPEN_US, WEDNESDAY_OPEN_US + MINUTE_US, 9
        )
        begun = sum(
            tape.begins_us(minute * tape.ticks_a_minute + tick) <= clock.now_us()
            for tick in tape.traded_ticks
        )
        assert len(got) == (begun > 0)
        if not begun:
            continue
        shown = traded(tape, "always", minute)[:begun]
        bar = got[0]
        assert (bar.open, bar.high, bar.low, bar.close) == (shown[0], max(shown), min(shown), shown[-1])
        if before is not None:
            assert bar.volume >= before.volume
            assert bar.high >= before.high
            assert bar.low <= before.low
        before = bar
    assert before is not None
    assert len(traded(tape, "always", minute)) == 3


@pytest.mark.parametrize("hours", ["always", "exchange"])
async def test_the_close_of_a_day_is_the_previous_close_that_quotes_tell(hours: str) -> None:
    for at_us in (WEDNESDAY_OPEN_US, SATURDAY_US, utc_us("2026-11-25 21:00"), utc_us("2027-03-15 13:00")):
        feed, _ = market(at_us, hours)
        last_roll_us = hours_of(hours).previous_roll_us(at_us)
        days = await feed.fetch_bars("SPY", Timeframe.DAY_1, 0, at_us + 2 * DAY_US, 3)
        closed = next(bar for bar in days if eastern_date(bar.start_us) == eastern_date(last_roll_us - 1))
        quote = feed.newest("SPY")
        assert quote is not None
        assert closed.close == quote.prev_close


# -- a longer one is the sum of the shorter ----------------------------------------------------------


@settings(max_examples=3)
@given(symbol=SYMBOLS, hours=HOURS, at_us=st.integers(utc_us("2025-01-01 00:00"), utc_us("2029-12-01 00:00")))
async def test_a_longer_bar_is_the_aggregate_of_the_shorter_ones(symbol: str, hours: str, at_us: int) -> None:
    feed, _ = market(at_us, hours)
    start_us = bar_start_us(Timeframe.WEEK_1, at_us - 2 * DAY_US)
    chart = {
        one: await feed.fetch_bars(symbol, one, start_us, at_us + DAY_US, 100_000)
        for one in Timeframe
        if one is not Timeframe.MONTH_1
    }
    minutes = chart[Timeframe.MINUTE_1]
    for timeframe in INTRADAY - {Timeframe.MINUTE_1}:
        groups: dict[int, list[Bar]] = {}
        for bar in minutes:
            groups.setdefault(bar_start_us(timeframe, bar.start_us), []).append(bar)
        wanted = [replace(aggregate(some), start_us=begins_us) for begins_us, some in groups.items()]
        assert [replace(bar, vwap=None) for bar in chart[timeframe]] == wanted
    kept = hours_of(hours)
    by_day: dict[int, list[Bar]] = {}
    for bar in minutes:
        if kept.is_open(bar.start_us):
            day = kept.trading_day(bar.start_us)
            begins_us = bar_start_us(Timeframe.DAY_1, utc_us(f"{day} 12:00"))
            by_day.setdefault(begins_us, []).append(bar)
    days = [replace(aggregate(some), start_us=begins_us) for begins_us, some in by_day.items()]
    if hours == "always":  # The first day began in the evening before the first minute asked for.
        days = days[1:]
    assert [replace(bar, vwap=None) for bar in chart[Timeframe.DAY_1]][-len(days) :] == days
    weeks: dict[int, list[Bar]] = {}
    for bar in chart[Timeframe.DAY_1]:
        weeks.setdefault(bar_start_us(Timeframe.WEEK_1, bar.start_us), []).append(bar)
    wanted = [replace(aggregate(some), start_us=begins_us) for begins_us, some in weeks.items()]
    assert [replace(bar, vwap=None) for bar in chart[Timeframe.WEEK_1]] == wanted


async def test_a_month_is_the_aggregate_of_its_days() -> None:
    feed, _ = market(WEDNESDAY_OPEN_US, "exchange")
    start_us = utc_us("2026-08-01 04:00")
    days = await feed.fetch_bars("KO", Timeframe.DAY_1, start_us, WEDNESDAY_OPEN_US, 1000)
    months: dict[int, list[Bar]] = {}
    for bar in days:
        months.setdefault(bar_start_us(Timeframe.MONTH_1, bar.start_us), []).append(bar)
    found = await feed.fetch_bars("KO", Timeframe.MONTH_1, start_us, WEDNESDAY_OPEN_US, 1000)
    assert len(found) == 4
    assert [replace(bar, vwap=None) for bar in found] == [
        replace(aggregate(some), start_us=begins_us) for begins_us, some in months.items()
    ]


# -- hours ------------------------------------------------------------------------------------------


async def test_there_are_bars_only_of_the_hours_in_which_the_market_trades() -> None:
    feed, _ = market(SATURDAY_US, "exchange")
    kept = hours_of("exchange")
    minutes = await feed.fetch_bars(
        "AAPL", Timeframe.MINUTE_1, SATURDAY_US - 5 * DAY_US, SATURDAY_US, 100_000
    )
    assert len(minutes) == 2 * 960 + 13 * 60 + 480, "two whole days, an early close, Monday evening"
    assert all(kept.is_extended(bar.start_us) for bar in minutes)
    days = await feed.fetch_bars("AAPL", Timeframe.DAY_1, SATURDAY_US - 30 * DAY_US, SATURDAY_US, 100)
    assert all(session_of(eastern_date(bar.start_us)) for bar in days)
    assert utc_us("2026-11-26 05:00") not in {bar.start_us for bar in days}, "Thanksgiving"
    always, _ = market(THANKSGIVING_US, "always")
    minutes = await always.fetch_bars(
        "AAPL", Timeframe.MINUTE_1, THANKSGIVING_US - DAY_US, THANKSGIVING_US, 100_000
    )
    assert len(minutes) == 1440


async def test_where_the_market_never_closes_the_day_that_grows_in_the_evening_bears_tomorrow_s_date() -> (
    None
):
    feed, clock = market(utc_us("2026-11-25 20:59"))
    day = utc_us("2026-11-25 05:00")
    assert (await feed.fetch_bars("AAPL", Timeframe.DAY_1, 0, clock.now_us(), 1))[0].start_us == day
    clock.advance(120)
    evening = await feed.fetch_bars("AAPL", Timeframe.DAY_1, 0, clock.now_us(), 2)
    assert [bar.start_us for bar in evening] == [day, day + DAY_US]
    assert (evening[1].trades or 0) < (evening[0].trades or 0) / 100
    past = await feed.fetch_bars("AAPL", Timeframe.DAY_1, 0, day, 1)
    assert [bar.start_us for bar in past] == [day - DAY_US], "whoever asks for the past does not get it"


# -- how far back, how many, how much is remembered ---------------------------------------------------


async def test_history_reaches_back_two_years_and_more_and_its_beginning_is_stable() -> None:
    feed, _ = market(WEDNESDAY_OPEN_US, "exchange")
    days = await feed.fetch_bars("PFE", Timeframe.DAY_1, 0, WEDNESDAY_OPEN_US, 10_000)
    assert days[0].start_us <= utc_us("2024-01-02 05:00")
    assert days[-1].start_us == utc_us("2026-11-25 05:00")
    for bar in days:
        assert CENT <= bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert all(price == price.quantize(CENT) for price in (bar.open, bar.high, bar.low, bar.close))
    assert await feed.fetch_bars("PFE", Timeframe.DAY_1, 0, WEDNESDAY_OPEN_US, 10_000) == days
    old = await feed.fetch_bars("PFE", Timeframe.MINUTE_1, 0, utc_us("2024-01-03 00:00"), 10_000)
    assert old[0].start_us >= utc_us("2024-01-01 05:00")
    assert len(old) > 500


@pytest.mark.parametrize("timeframe", list(Timeframe))
@pytest.mark.parametrize("hours", ["always", "exchange"])
async def test_the_newest_so_many_are_the_end_of_all(timeframe: Timeframe, hours: str) -> None:
    at_us = utc_us("2026-11-30 08:00")
    feed, _ = market(at_us, hours)
    back = {"1Day": 20, "1Week": 60, "1Month": 100}.get(timeframe, 9)
    bars = await feed.fetch_bars("T", timeframe, at_us - back * DAY_US, at_us, 100_000)
    for limit in (1, 2, 7) if timeframe is not Timeframe.MONTH_1 else (1, 3):
        fresh, _ = market(at_us, hours)
        assert await fresh.fetch_bars("T", timeframe, at_us - back * DAY_US, at_us, limit) == bars[-limit:]
        if len(bars) >= limit:
            assert await fresh.fetch_bars("T", timeframe, 0, at_us, limit) == bars[-limit:]


async def test_an_option_has_no_bars_and_neither_has_the_future() -> None:
    feed, _ = market(WEDNESDAY_OPEN_US)
    [day, *_] = await feed.fetch_expirations("AAPL")
    contract = (await feed.fetch_contracts("AAPL", day))[0]
    for timeframe in Timeframe:
        assert list(await feed.fetch_bars(contract.symbol, timeframe, 0, WEDNESDAY_OPEN_US, 9)) == []
        ahead_us = WEDNESDAY_OPEN_US + 40 * DAY_US
        assert list(await feed.fetch_bars("AAPL", timeframe, ahead_us, ahead_us + DAY_US, 9)) == []
        far = await feed.fetch_bars("AAPL", timeframe, -(10**18), 10**18, 2)
        assert far == await feed.fetch_bars("AAPL", timeframe, 0, WEDNESDAY_OPEN_US + DAY_US, 2)


def test_what_is_remembered_is_bounded_and_never_changes_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(kept: History, at_us: int) -> list[list[Bar]]:
        return [
            kept.bars(symbol, timeframe, at_us - 12 * DAY_US, at_us, 500, at_us)
            for symbol in ("T", "F")
            for timeframe in (Timeframe.MINUTE_30, Timeframe.DAY_1, Timeframe.WEEK_1)
        ]

    monkeypatch.setattr(history, "MOST_DAYS_OF_MINUTES", 5)
    monkeypatch.setattr(history, "MOST_DAYS", 20)
    worn = History(hours_of("exchange"), 1)
    later_us = WEDNESDAY_OPEN_US + 2 * DAY_US
    for at_us in (WEDNESDAY_OPEN_US, later_us, WEDNESDAY_OPEN_US, later_us + DAY_US // 3):
        assert asked(worn, at_us) == asked(History(hours_of("exchange"), 1), at_us)
        assert len(worn._minutes) <= 5
        assert all(len(rows) <= 20 for rows in worn._days.values())
        assert len(worn._known) <= 20


# -- the same everywhere ------------------------------------------------------------------------------

_DUMP = """
import asyncio, json, sys
from paiid.domain.bars import Timeframe
from paiid.domain.calendar import hours_of
from paiid.feeds.simulated import SimulatedFeed
from tests.fake_clock import FakeClock
now_us = int(sys.argv[1])
async def main():
    feed = SimulatedFeed(FakeClock(now_us), hours_of("exchange"), 7)
    assert "numpy" not in sys.modules, "numpy is loaded when bars are asked for"
    print(json.dumps({one: repr(await feed.fetch_bars("GE", one, 0, now_us, 3)) for one in Timeframe}))
asyncio.run(main())
"""


async def test_two_processes_show_the_same_bars_and_numpy_is_loaded_only_when_it_is_needed() -> None:
    def process(hash_seed: str) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", _DUMP, str(WEDNESDAY_OPEN_US)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            timeout=60,
        )
        found: dict[str, str] = json.loads(done.stdout)
        return found

    feed, _ = market(WEDNESDAY_OPEN_US, "exchange", seed=7)
    here = {one: repr(await feed.fetch_bars("GE", one, 0, WEDNESDAY_OPEN_US, 3)) for one in Timeframe}
    assert process("1") == here


GOLDEN = {
    "1Min": "1795532340000000 276.21 276.30 276.21 276.28 31200 276.2636 84",
    "1Day": "1795496400000000 275.04 280.11 275.04 279.92 11634800 277.9181 38037",
}


@pytest.mark.parametrize("timeframe", list(GOLDEN))
async def test_a_bar_is_the_same_in_every_version(timeframe: str) -> None:
    feed, _ = market(WEDNESDAY_OPEN_US, "exchange")
    [bar] = await feed.fetch_bars("AAPL", Timeframe(timeframe), 0, WEDNESDAY_OPEN_US - DAY_US, 1)
    told = (bar.start_us, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.vwap, bar.trades)
    assert " ".join(map(str, told)) == GOLDEN[timeframe]
