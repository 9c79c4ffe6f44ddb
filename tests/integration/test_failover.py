"""Failover between providers: by feeds in a test's hand, and by two scripted servers over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import date
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from paiid.domain.bars import Timeframe
from paiid.domain.calendar import AlwaysOpen
from paiid.domain.quotes import Quote
from paiid.feeds import Feed, FeedEvent, FeedUnavailable, Heard, Lost
from paiid.feeds.failover import FailoverFeed
from paiid.feeds.simulated import SimulatedFeed
from tests.alpaca_data_wire import AlpacaDataWire, data_serving, snapshot
from tests.alpaca_wire import told
from tests.fake_clock import FakeClock
from tests.market_world import WEDNESDAY_OPEN_US, FakeFeed

PATIENCE_S = 15.0
"""Only guards against hanging."""


class Stage:
    """Three providers in a test's hand, `first` before `second` before `third`, and what a listener has heard of them."""

    def __init__(self) -> None:
        self.clock = FakeClock(WEDNESDAY_OPEN_US)
        self.feeds = [FakeFeed("AAPL", "SPY", heartbeat_s=4.0, most_streamed=n) for n in (2, 10, 10)]
        for feed, name in zip(self.feeds, ("first", "second", "third"), strict=True):
            feed.source = name
        self.failover = FailoverFeed(self.clock, self.feeds, look_s=0.005)
        self.heard: list[FeedEvent] = []

    @property
    def sources(self) -> list[str]:
        """Of the quotes heard."""
        return [one.source for one in self.heard if isinstance(one, Quote)]

    @property
    def reasons(self) -> list[str]:
        """Of the losses heard."""
        return [one.reason for one in self.heard if isinstance(one, Lost)]

    def set(self, at: int, bid: str) -> None:
        """The next quote of AAPL at a provider."""
        self.feeds[at].set("AAPL", bid, "99", as_of_us=self.clock.now_us())

    async def until(self, fact: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not fact():
                await asyncio.sleep(0.002)

    async def alive(self, at: int) -> None:
        """A provider has just said something, and it was noted, if anybody listens to it."""
        member = self.failover._members[at]
        self.feeds[at].beat()
        now_s = self.clock.monotonic_s()
        await self.until(lambda: member.task is None or (member.sign_s == now_s and member.lost_s is None))

    async def pass_time(self, seconds: float, *alive: int) -> None:
        """In steps of a second, in which these providers say something."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            for at in alive:
                await self.alive(at)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(stage: Stage, *symbols: str) -> AsyncIterator[None]:
    """While somebody listens, everything that comes is in `stage.heard`."""

    async def hear() -> None:
        async with aclosing(stage.failover.listen()) as events:  # type: ignore[type-var]
            async for event in events:
                stage.heard.append(event)

    stage.failover.follow(symbols)
    task = asyncio.create_task(hear())
    try:
        await stage.until(lambda: stage.heard)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_S)
        assert not any(feed.listening for feed in stage.feeds)


def assert_is_a_feed(feed: FailoverFeed) -> Feed:
    """For the type checker's eyes, and ours."""
    return feed


def test_only_real_providers_take_over_from_each_other() -> None:
    clock = FakeClock()
    simulated = SimulatedFeed(clock, AlwaysOpen(), seed=1)
    recording = FakeFeed()
    recording.source = "replay"
    for feeds in ([], [simulated], [FakeFeed(), simulated], [recording]):
        with pytest.raises(ValueError, match="provider"):
            FailoverFeed(clock, feeds)


async def test_the_first_is_listened_to_alone_while_it_is_well() -> None:
    stage = Stage()
    stage.set(0, "10")
    async with listening(stage, "AAPL", "SPY", "QQQ"):
        await stage.until(lambda: stage.sources)
        assert stage.feeds[0].following == ("AAPL", "SPY"), "no more than it can stream"
        await stage.pass_time(60, 0)
        assert [feed.listening for feed in stage.feeds] == [True, False, False]
        assert stage.failover.switches == 0
        assert set(stage.sources) == {"first"}
    assert (stage.failover.source, stage.failover.most_streamed) == ("first", 2)


async def test_S5_a_loss_is_told_at_once_and_after_three_seconds_the_next_takes_over() -> None:
    stage = Stage()
    stage.set(0, "10")
    stage.set(1, "20")
    async with listening(stage, "AAPL"):
        stage.feeds[0].lose("first: the cable is cut")
        await stage.until(lambda: stage.reasons)
        assert stage.reasons == ["first: the cable is cut"]
        await stage.pass_time(3)
        assert stage.failover.active is stage.feeds[0], "it may come back by itself"
        stage.clock.advance(0.5)
        await stage.until(lambda: "second" in stage.sources)
        assert stage.failover.active is stage.feeds[1]
        assert (stage.failover.source, stage.failover.most_streamed, stage.failover.switches) == (
            "second",
            10,
            1,
        )
        assert stage.failover.switched_at_us == stage.clock.now_us()
        assert stage.feeds[0].listening, "to know when it is well again"


async def test_a_loss_that_is_mended_in_time_changes_nothing() -> None:
    stage = Stage()
    async with listening(stage, "AAPL"):
        stage.feeds[0].lose("a moment")
        await stage.until(lambda: stage.reasons)
        await stage.pass_time(2)
        await stage.alive(0)
        await stage.pass_time(10, 0)
        assert stage.failover.switches == 0
        assert stage.heard[-1] == Heard()


async def test_S5_silence_beyond_its_heartbeat_is_told_as_a_loss_and_the_next_takes_over() -> None:
    stage = Stage()
    stage.set(1, "20")
    async with listening(stage, "AAPL"):
        stage.feeds[0].go_silent()
        await stage.pass_time(4)
        assert stage.failover.switches == 0
        stage.clock.advance(0.5)
        await stage.until(lambda: "second" in stage.sources)
        assert any("silent" in one for one in stage.reasons)


async def test_it_goes_back_when_the_first_has_been_well_for_half_a_minute_and_not_before() -> None:
    stage = Stage()
    stage.set(0, "10")
    stage.set(1, "20")
    async with listening(stage, "AAPL"):
        stage.feeds[0].lose("gone")
        await stage.until(lambda: stage.reasons)
        stage.clock.advance(3.5)
        await stage.until(lambda: "second" in stage.sources)
        # It comes back, fails once more, and only then stays.
        await stage.alive(0)
        await stage.pass_time(20, 0, 1)
        stage.feeds[0].lose("again")
        await stage.until(lambda: stage.failover._members[0].lost_s is not None)
        await stage.alive(0)
        await stage.pass_time(29, 0, 1)
        assert stage.failover.source == "second"
        stage.set(0, "11")
        before = len(stage.heard)
        await stage.pass_time(2, 0, 1)
        await stage.until(lambda: stage.failover.source == "first" and not stage.feeds[1].listening)
        await stage.until(
            lambda: "first" in [one.source for one in stage.heard[before:] if isinstance(one, Quote)]
        )
        assert stage.failover.switches == 2
        assert "again" not in stage.reasons, "what is not listened to is nobody's loss"


async def test_where_the_second_fails_too_the_third_takes_over_and_then_whoever_is_well() -> None:
    stage = Stage()
    for at in range(3):
        stage.set(at, str(10 + at))
    async with listening(stage, "AAPL"):
        stage.feeds[1].lose("second: gone too")
        stage.feeds[0].lose("gone")
        await stage.until(lambda: stage.reasons)
        stage.clock.advance(3.5)
        await stage.until(lambda: stage.failover.source == "second" and "second: gone too" in stage.reasons)
        stage.clock.advance(3.5)
        await stage.until(lambda: "third" in stage.sources)
        await stage.alive(1)
        stage.feeds[2].lose("all gone")
        await stage.until(lambda: "all gone" in stage.reasons)
        for _ in range(4):
            stage.clock.advance(1)
            await stage.alive(1)
        await stage.until(lambda: stage.failover.source == "second")


async def test_with_nobody_left_it_stays_says_so_and_takes_the_first_that_comes_back() -> None:
    stage = Stage()
    async with listening(stage, "AAPL"):
        for feed in stage.feeds:
            feed.lose("dark")
        async with asyncio.timeout(PATIENCE_S):
            while stage.failover.source != "third":
                # Time passes as long as it has not looked at all of them.
                await asyncio.sleep(0.02)
                stage.clock.advance(3.5)
        switches = stage.failover.switches
        await stage.pass_time(10)
        assert stage.failover.switches == switches
        stage.set(0, "10")
        stage.heard.clear()
        await stage.alive(0)
        await stage.until(lambda: "first" in stage.sources)


CALLS: dict[str, Callable[[FailoverFeed], Awaitable[Any]]] = {
    "instrument": lambda feed: feed.fetch_instrument("AAPL"),
    "search": lambda feed: feed.search("AAPL", 5),
    "quotes": lambda feed: feed.fetch_quotes(["AAPL"]),
    "bars": lambda feed: feed.fetch_bars("AAPL", Timeframe.DAY_1, 0, 1, 1),
    "expirations": lambda feed: feed.fetch_expirations("AAPL"),
    "contracts": lambda feed: feed.fetch_contracts("AAPL", date(2026, 12, 18)),
    "actions": lambda feed: feed.fetch_corporate_actions(["AAPL"], date(2026, 12, 18)),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_fails_is_put_to_the_next_at_once(name: str) -> None:
    stage = Stage()
    stage.feeds[0].down = "first: 503"
    await CALLS[name](stage.failover)
    assert stage.failover.source == "second"
    stage.feeds[1].down = stage.feeds[2].down = "also down"
    with pytest.raises(FeedUnavailable):
        await CALLS[name](stage.failover)


async def test_a_quote_that_was_fetched_says_who_told_it() -> None:
    stage = Stage()
    stage.feeds[0].down = "503"
    assert (await stage.failover.fetch_quotes(["AAPL"]))["AAPL"].source == "second"
    assert stage.feeds[0].fetched == 0


async def test_nothing_known_is_an_answer_and_asks_nobody_else() -> None:
    stage = Stage()
    assert await stage.failover.fetch_quotes(["ZZZZZ"]) == {}
    assert stage.feeds[1].fetched == 0


async def test_where_nobody_listens_the_first_is_asked_again_after_half_a_minute() -> None:
    stage = Stage()
    stage.feeds[0].down = "503"
    await stage.failover.fetch_quotes(["AAPL"])
    stage.feeds[0].down = None
    await stage.failover.fetch_quotes(["AAPL"])
    assert (stage.feeds[0].fetched, stage.failover.source) == (0, "second")
    stage.clock.advance(31)
    await stage.failover.fetch_quotes(["AAPL"])
    assert (stage.feeds[0].fetched, stage.failover.source, stage.failover.switches) == (1, "first", 2)


async def test_while_its_stream_is_well_it_takes_three_calls_that_fail() -> None:
    stage = Stage()
    stage.set(1, "20")
    async with listening(stage, "AAPL"):
        stage.feeds[0].down = "503"
        for n in range(3):
            assert stage.failover.source == "first", n
            await stage.failover.fetch_quotes(["AAPL"])
        await stage.until(lambda: "second" in stage.sources)
        assert any("refuses calls" in one for one in stage.reasons)


async def test_stop_ends_whoever_listens_and_each_provider() -> None:
    stage = Stage()
    await stage.failover.start()
    async with listening(stage, "AAPL"):
        async with asyncio.timeout(PATIENCE_S):
            await stage.failover.stop()
        await stage.until(lambda: not stage.feeds[0].listening)
    assert [feed.started for feed in stage.feeds] == [0, 0, 0]


async def test_a_provider_whose_reader_breaks_does_not_take_the_others_with_it() -> None:
    class Broken(FakeFeed):
        async def listen(self) -> AsyncIterator[FeedEvent]:
            yield Heard()
            raise ZeroDivisionError

    stage = Stage()
    stage.set(1, "20")
    broken = Broken("AAPL", heartbeat_s=4.0)
    stage.failover = FailoverFeed(stage.clock, [broken, stage.feeds[1]], look_s=0.005)
    async with listening(stage, "AAPL"):
        await stage.until(lambda: any("reader broke" in one for one in stage.reasons))
        stage.clock.advance(3.5)
        await stage.until(lambda: "second" in stage.sources)


# -- over real sockets ------------------------------------------------------------------------------


@pytest.fixture
async def servers() -> AsyncIterator[tuple[AlpacaDataWire, AlpacaDataWire]]:
    async with data_serving() as one, data_serving() as other:
        now_us = SystemClock().now_us()
        one.market["AAPL"] = snapshot(10.0, 10.02, 10.01, now_us)
        other.market["AAPL"] = snapshot(20.0, 20.02, 20.01, now_us)
        yield one, other


async def test_S5_a_server_that_dies_is_taken_over_from_and_gone_back_to_when_it_is_there_again(
    servers: tuple[AlpacaDataWire, AlpacaDataWire],
) -> None:
    one, other = servers
    clock = SystemClock()
    failover = FailoverFeed(
        clock, [one.feed(clock), other.feed(clock)], lost_s=0.2, recovery_s=0.4, look_s=0.01
    )
    failover.follow(["AAPL"])
    await failover.start()

    async def until(fits: Callable[[FeedEvent], bool]) -> None:
        async for event in events:
            if fits(event):
                return

    async with asyncio.timeout(PATIENCE_S), aclosing(failover.listen()) as events:  # type: ignore[type-var]
        await until(lambda event: isinstance(event, Quote) and event.bid == 10)
        one.data_stream.refuse_handshake_with.extend([503] * 1_000)
        one.say("GET", "/v2/stocks/snapshots", told(503, "no"))
        one.data_stream.drop()
        await until(lambda event: isinstance(event, Lost))
        await until(lambda event: isinstance(event, Quote) and event.bid == 20)
        assert failover.switches == 1
        assert (await failover.fetch_quotes(["AAPL"]))["AAPL"].bid == 20
        one.say("GET", "/v2/stocks/snapshots", one._told_snapshots)
        one.data_stream.refuse_handshake_with.clear()
        await until(lambda event: isinstance(event, Quote) and event.bid == 10)
        assert failover.switches == 2
        assert one.data_stream.most_open == other.data_stream.most_open == 1
    async with asyncio.timeout(PATIENCE_S):
        await failover.stop()
