"""Bars that are remembered: whatever was read before, an answer is what the source says, and costs it as little as it can."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import hours_of
from paiid.feeds import FeedUnavailable
from paiid.market import bars as bars_module
from paiid.market.bars import GROWING_S, BarReader
from tests.fake_clock import FakeClock
from tests.heard_feed import HeardFeed
from tests.market_world import WEDNESDAY_OPEN_US, utc_us

MINUTE_US = 60_000_000
SPAN_US = {
    Timeframe.MINUTE_1: MINUTE_US,
    Timeframe.MINUTE_5: 5 * MINUTE_US,
    Timeframe.HOUR_1: 60 * MINUTE_US,
}
WINDOW = tuple[int | None, int | None, int]


def told(timeframe: Timeframe, start_us: int, end_us: int, at_us: int, limit: int = 5000) -> list[Bar]:
    """What a source says at an instant: its last bar still grows and a late trade changes the one before; in every fifth
    stretch nobody trades."""
    span_us = SPAN_US[timeframe]
    bars: list[Bar] = []
    begin_us = (min(end_us, at_us + 1) - 1) // span_us * span_us
    while begin_us >= start_us and len(bars) < limit:
        if (begin_us // span_us) % 5:
            grown = Decimal(min(at_us - begin_us, span_us + 30_000_000))
            bars.append(Bar(begin_us, *[Decimal(1)] * 4, volume=grown))
        begin_us -= span_us
    return bars[::-1]


class GrowingFeed(HeardFeed):
    """Its bars are a function of time; `windows` are those it was asked for."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("AAPL")
        self.clock = clock
        self.windows: list[tuple[int, int, int]] = []

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        self.windows.append((start_us, end_us, limit))
        await self.gate.wait()
        if self.down is not None:
            raise FeedUnavailable(self.down)
        return told(timeframe, start_us, end_us, self.clock.now_us(), limit)


def reader(at_us: int = WEDNESDAY_OPEN_US + 17_000_000) -> tuple[BarReader, GrowingFeed, FakeClock]:
    clock = FakeClock(at_us)
    feed = GrowingFeed(clock)
    return BarReader(feed, clock, hours_of("always")), feed, clock


def minutes(count: int) -> int:
    return count * MINUTE_US


async def read_last(one: BarReader, limit: int = 100) -> bars_module.BarsFound:
    return await one.read("AAPL", Timeframe.MINUTE_1, None, None, limit)


async def test_finished_bars_are_asked_for_once() -> None:
    one, feed, clock = reader()
    start_us, end_us = WEDNESDAY_OPEN_US - minutes(60), WEDNESDAY_OPEN_US - minutes(10)
    first = await one.read("AAPL", Timeframe.MINUTE_1, start_us, end_us, 1000)
    clock.advance(5 * 3600)
    for begin, end, limit in ((start_us, end_us, 1000), (start_us + minutes(7), end_us - 1, 3)):
        again = await one.read("AAPL", Timeframe.MINUTE_1, begin, end, limit)
        assert again.cached
        assert again.bars == told(Timeframe.MINUTE_1, begin, end, clock.now_us())[-limit:]
    assert (first.cached, len(feed.windows)) == (False, 1)


async def test_the_growing_bar_is_asked_for_anew_after_a_few_seconds_and_the_finished_ones_are_not() -> None:
    one, feed, clock = reader()
    first = await read_last(one)
    clock.advance(GROWING_S * 0.9)
    assert (await read_last(one)).cached
    clock.advance(GROWING_S * 0.2)
    later = await read_last(one)
    assert not later.cached
    assert later.bars[-1].volume > first.bars[-1].volume
    assert later.bars[:-3] == first.bars[:-3]
    assert later.as_of_us == clock.now_us()
    (_, _), (begin_us, _) = [window[:2] for window in feed.windows]
    assert begin_us > clock.now_us() - minutes(4), "only what may have changed"


async def test_a_day_is_dated_by_its_trading_day_which_may_have_begun_the_evening_before() -> None:
    """Where the market never closes the day of Thursday grows from Wednesday, 16:00 Eastern."""
    clock = FakeClock(utc_us("2026-11-25 23:00"))
    feed = HeardFeed("AAPL")
    price = [Decimal(1)] * 4
    days = [Bar(utc_us(f"2026-11-{day} 05:00"), *price, volume=Decimal(1)) for day in (24, 25, 26)]
    feed.set_bars("AAPL", Timeframe.DAY_1, *days)
    one = BarReader(feed, clock, hours_of("always"))
    assert (await one.read("AAPL", Timeframe.DAY_1, None, None, 100)).bars == days
    one = BarReader(feed, clock, hours_of("exchange"))
    clock.advance(-10 * 3600)
    assert (await one.read("AAPL", Timeframe.DAY_1, None, None, 100)).bars == days[:2]


async def test_many_callers_at_once_cost_one_call() -> None:
    one, feed, _ = reader()
    feed.gate.clear()
    tasks = [asyncio.create_task(read_last(one, 10 + n % 3)) for n in range(60)]
    for _ in range(5):
        await asyncio.sleep(0)
    tasks[0].cancel()
    feed.gate.set()
    answers = await asyncio.gather(*tasks[1:])
    assert {len(found.bars) for found in answers} == {10, 11, 12}
    assert len(feed.windows) <= 2, "at most once more, for whoever wants a longer stretch than the first"


async def test_bars_of_several_symbols_are_asked_for_side_by_side_but_not_all_at_once() -> None:
    one, feed, _ = reader()
    feed.gate.clear()
    tasks = [
        asyncio.create_task(one.read(f"AA{letter}", Timeframe.MINUTE_1, None, None, 10))
        for letter in "ABCDEFGH"
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(feed.windows) == 4
    feed.gate.set()
    assert all(found.bars for found in await asyncio.gather(*tasks))


async def test_while_the_feed_is_down_what_is_remembered_is_told_as_stale_and_the_rest_is_a_failure() -> None:
    one, feed, clock = reader()
    first = await read_last(one)
    feed.down = "away"
    clock.advance(GROWING_S + 1)
    again = await read_last(one)
    assert (again.bars, again.as_of_us) == (first.bars, first.as_of_us)
    assert (again.cached, again.stale) == (True, True)
    with pytest.raises(FeedUnavailable, match="away"):
        await read_last(one, 1000)
    with pytest.raises(FeedUnavailable, match="away"):
        await one.read("MSFT", Timeframe.MINUTE_1, None, None, 10)
    settled = await one.read("AAPL", Timeframe.MINUTE_1, None, clock.now_us() - minutes(10), 5)
    assert (settled.cached, settled.stale, len(settled.bars)) == (True, False, 5)


async def test_bars_of_two_sources_are_never_put_together() -> None:
    one, feed, clock = reader()
    start_us, end_us = clock.now_us() - minutes(60), clock.now_us() - minutes(10)
    await one.read("AAPL", Timeframe.MINUTE_1, start_us, end_us, 100)
    feed.source = "another"
    narrow = await one.read("AAPL", Timeframe.MINUTE_1, end_us - minutes(10), end_us, 100)
    assert (narrow.source, narrow.cached) == ("another", False)
    wide = await one.read("AAPL", Timeframe.MINUTE_1, start_us, end_us, 100)
    assert (wide.source, wide.cached) == ("another", False)
    assert [window[0] for window in feed.windows] == [start_us, end_us - minutes(10), start_us]


async def test_two_stretches_with_a_hole_between_them_are_not_taken_for_one() -> None:
    one, _, clock = reader()
    now_us = clock.now_us()
    for first, last in ((-200, -190), (-30, -20)):
        await one.read("AAPL", Timeframe.MINUTE_1, now_us + minutes(first), now_us + minutes(last), 100)
    start_us, end_us = now_us + minutes(-200), now_us + minutes(-20)
    found = await one.read("AAPL", Timeframe.MINUTE_1, start_us, end_us, 1000)
    assert (found.bars, found.cached) == (told(Timeframe.MINUTE_1, start_us, end_us, now_us), False)


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars_module, "MOST_KEPT", 100)
    monkeypatch.setattr(bars_module, "MOST_KEPT_OF_ONE", 40)
    monkeypatch.setattr(bars_module, "MOST_SYMBOLS", 5)
    one, _, clock = reader()
    for n in range(12):
        found = await one.read("ABCDEFGHIJKL"[n], Timeframe.MINUTE_1, None, None, 200)
        assert len(found.bars) == 200, "what is not kept is told all the same"
        assert sum(len(kept.bars) for kept in one._kept.values()) == one._count <= 100
        assert max(len(kept.bars) for kept in one._kept.values()) <= 40
    end_us = clock.now_us() - 3 * 86_400_000_000
    for n in range(12):
        await one.read("ABCDEFGHIJKL"[n], Timeframe.HOUR_1, end_us, end_us + 1, 5)
        assert len(one._kept) <= 5


STEP = st.tuples(
    st.sampled_from([0.0, 0.5, 2.9, 3.1, 29.0, 61.0, 1000.0, 20_000.0]),
    st.none() | st.integers(-400, 5),
    st.none() | st.integers(-400, 5),
    st.sampled_from([1, 2, 7, 50, 1000]),
    st.booleans(),
    st.sampled_from(list(SPAN_US)),
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, min_size=1, max_size=14), st.booleans())
def test_whatever_was_read_before_the_answer_is_what_the_source_says(
    runner: asyncio.Runner,
    steps: list[tuple[float, int | None, int | None, int, bool, Timeframe]],
    delayed: bool,
) -> None:
    """`start` and `end` are minutes from now. Where a bar still grows the answer is at most a few seconds old."""

    async def walk() -> None:
        one, feed, clock = reader()
        feed.delayed = delayed
        for pause_s, start, end, limit, down, timeframe in steps:
            clock.advance(pause_s)
            feed.down = "away" if down else None
            now_us = clock.now_us()
            start_us = None if start is None else now_us + minutes(start)
            end_us = None if end is None else now_us + minutes(end)
            try:
                found = await one.read("AAPL", timeframe, start_us, end_us, limit)
            except FeedUnavailable:
                assert down
                continue
            last_us = now_us + 1 if end_us is None else end_us
            first_us = (
                one.begin_us(timeframe, min(last_us, now_us + 1), limit) if start_us is None else start_us
            )
            expected = told(timeframe, first_us, last_us, found.as_of_us, limit)
            if found.bars != expected:
                # Bars that had settled need not be of the same instant as the newest.
                expected = told(timeframe, first_us, last_us, now_us, limit)
            assert list(found.bars) == expected
            assert not found.stale or down
            if expected != told(timeframe, first_us, last_us, now_us, limit) and not found.stale:
                assert now_us - found.as_of_us < GROWING_S * 1_000_000

    runner.run(walk())
