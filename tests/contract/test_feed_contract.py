"""What every source of market data promises, whoever it is: the same suite over each `Feed`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from paiid.domain.calendar import AlwaysOpen, ExchangeHours
from paiid.domain.quotes import Quote
from paiid.feeds import Feed
from paiid.feeds.simulated import SimulatedFeed
from tests.fakes import FakeClock
from tests.market_world import SATURDAY_US, WEDNESDAY_OPEN_US, FakeFeed

KNOWN = ("AAPL", "BRK.B", "SPY")
UNKNOWN = "ZZZZZ"


class Stage:
    """A feed, its clock, and a way to make it show something new."""

    def __init__(self, feed: Feed, clock: FakeClock) -> None:
        self.feed = feed
        self.clock = clock

    def move(self, seconds: float = 2.0) -> None:
        """Time passes, and every known symbol has a newer quote."""
        self.clock.advance(seconds)
        if isinstance(self.feed, FakeFeed):
            for symbol in KNOWN:
                self.feed.set(symbol, "10.01", "10.03", as_of_us=self.clock.now_us())


@pytest.fixture(
    params=["simulated, always open", "simulated, in session", "simulated, on a Saturday", "fake"]
)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each feed, started."""
    clock = FakeClock(SATURDAY_US if "Saturday" in request.param else WEDNESDAY_OPEN_US)
    if request.param == "fake":
        fake = FakeFeed(*KNOWN)
        for symbol in KNOWN:
            fake.set(symbol, "10", "10.02", as_of_us=clock.now_us())
        built: Feed = fake
    else:
        hours = AlwaysOpen() if "always" in request.param else ExchangeHours()
        built = SimulatedFeed(clock, hours, seed=1)
    await built.start()
    yield Stage(built, clock)
    async with asyncio.timeout(1):
        await built.stop()


def assert_sound(quote: Quote, feed: Feed, now_us: int) -> None:
    assert quote.source == feed.source
    assert 0 < quote.bid < quote.ask
    assert quote.last > 0
    assert quote.prev_close > 0
    assert quote.bid_size >= 0
    assert quote.ask_size >= 0
    assert quote.as_of_us <= now_us, "no quote is from the future"


async def test_a_feed_says_who_it_is_and_how_often_it_repeats_itself(stage: Stage) -> None:
    assert stage.feed.source in {"simulated", "tradier", "alpaca", "replay", "hand"}
    assert 0 < stage.feed.resend_interval_s <= 60
    assert isinstance(stage.feed.delayed, bool)


async def test_known_symbols_have_instruments_and_quotes(stage: Stage) -> None:
    quotes = await stage.feed.fetch_quotes(KNOWN)
    assert set(quotes) == set(KNOWN)
    for symbol in KNOWN:
        instrument = await stage.feed.fetch_instrument(symbol)
        assert instrument is not None
        assert instrument.symbol == symbol == quotes[symbol].symbol
        assert instrument.name
        assert_sound(quotes[symbol], stage.feed, stage.clock.now_us())


@pytest.mark.parametrize("symbol", [UNKNOWN, "", "aapl", " AAPL", "\u0410APL", "AAPL\0", "A" * 10_000])
async def test_an_unknown_symbol_is_nothing_and_never_an_error(stage: Stage, symbol: str) -> None:
    assert await stage.feed.fetch_instrument(symbol) is None
    assert stage.feed.newest(symbol) is None
    assert set(await stage.feed.fetch_quotes([symbol, "AAPL"])) == {"AAPL"}
    assert await stage.feed.fetch_quotes([symbol]) == {}


async def test_nothing_asked_is_nothing_answered(stage: Stage) -> None:
    assert await stage.feed.fetch_quotes([]) == {}


async def test_memory_holds_what_was_fetched(stage: Stage) -> None:
    fetched = await stage.feed.fetch_quotes(KNOWN)
    for symbol in KNOWN:
        newest = stage.feed.newest(symbol)
        assert newest is not None
        assert newest.sequence >= fetched[symbol].sequence


async def test_the_same_sequence_is_the_same_quote_and_a_higher_one_is_no_older(stage: Stage) -> None:
    before: dict[str, Quote] = {}
    for _ in range(50):
        for symbol in KNOWN:
            quote = stage.feed.newest(symbol)
            assert quote is not None
            assert_sound(quote, stage.feed, stage.clock.now_us())
            last = before.get(symbol, quote)
            assert quote.sequence >= last.sequence
            assert quote.as_of_us >= last.as_of_us
            if quote.sequence == last.sequence:
                assert quote == last
            before[symbol] = quote
        stage.move(0.37)


async def test_the_stream_begins_with_what_is_known_then_only_grows(stage: Stage) -> None:
    async with aclosing(stage.feed.quotes([*KNOWN, UNKNOWN])) as stream:
        first = [await anext(stream) for _ in KNOWN]
        assert {quote.symbol for quote in first} == set(KNOWN)
        sequences = {quote.symbol: quote.sequence for quote in first}
        for _ in range(10):
            if isinstance(stage.feed, FakeFeed):
                stage.move()
            async with asyncio.timeout(20):
                quote = await anext(stream)
            assert quote.sequence > sequences[quote.symbol]
            sequences[quote.symbol] = quote.sequence
            assert_sound(quote, stage.feed, stage.clock.now_us())


@pytest.mark.parametrize("symbols", [[], [UNKNOWN], ["AAPL"]])
async def test_the_stream_goes_on_until_it_is_cancelled_and_then_ends_at_once(
    stage: Stage, symbols: list[str]
) -> None:
    async def read() -> None:
        async with aclosing(stage.feed.quotes(symbols)) as stream:
            async for _ in stream:
                await asyncio.sleep(0)

    task = asyncio.create_task(read())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task], timeout=1)
    assert task.cancelled()


async def test_two_readers_do_not_take_from_each_other(stage: Stage) -> None:
    async with aclosing(stage.feed.quotes(["AAPL"])) as one, aclosing(stage.feed.quotes(["AAPL"])) as other:
        assert await anext(one) == await anext(other)
