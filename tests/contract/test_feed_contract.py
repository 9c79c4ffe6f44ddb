"""What every source of market data promises, whoever it is: the same suite over each `Feed`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from paiid.domain.bars import INTRADAY, Timeframe
from paiid.domain.calendar import AlwaysOpen, ExchangeHours
from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import parse_symbol
from paiid.domain.occ import OptionContract
from paiid.domain.quotes import Quote
from paiid.feeds import Feed, FeedEvent, Heard
from paiid.feeds.replay import ReplayFeed
from paiid.feeds.simulated import SimulatedFeed
from paiid.feeds.tradier import Transport
from tests.fake_clock import FakeClock
from tests.feed_world import SteppedClock, tradier_feed_at
from tests.market_world import SATURDAY_US, WEDNESDAY_OPEN_US, FakeFeed

KNOWN = ("AAPL", "BRK.B", "SPY")
UNKNOWN = "ZZZZZ"
AN_OPTION = OptionContract("AAPL", date(2027, 1, 15), "call", Decimal(10))


class Stage:
    """A feed, its clock, and a way to make it show something new. `remembers`: what it knows is a function of time or in memory."""

    def __init__(self, name: str, feed: Feed, clock: FakeClock | SteppedClock) -> None:
        self.name = name
        self.feed = feed
        self.clock = clock
        self.remembers = feed.source != "tradier"

    def move(self, seconds: float = 2.0) -> None:
        """Time passes, and every known symbol has a newer quote."""
        self.clock.advance(seconds)
        if isinstance(self.feed, FakeFeed):
            for symbol in KNOWN:
                self.feed.set(symbol, "10.01", "10.03", as_of_us=self.clock.now_us())

    async def newest(self, symbol: str) -> Quote | None:
        """What is in memory; of a source that keeps nothing there, what it answers."""
        found = self.feed.newest(symbol)
        if self.remembers:
            return found
        assert found is None, "one has to listen to it"
        return (await self.feed.fetch_quotes([symbol])).get(symbol)


RECORDED_DAY = date(2013, 10, 8)


def recording(path: Path) -> Path:
    """Five minutes in which each known symbol has a quote a second, and the chain of another one at a close."""
    chain = path.parent / f"chain_msft_{RECORDED_DAY:%Y%m%d}.csv"
    rows = [
        f"{day},{right},{strike},{bid},10,{bid + 1},20,300"
        for day in ("2013-10-19", "2014-01-18")
        for strike, bid in ((30, 4), (35, 1))
        for right in ("put", "call")
    ]
    header = "expiration,right,strike,bid,bid_size,ask,ask_size,open_interest"
    chain.write_text("\n".join([header, *rows]) + "\n")
    return Path(f"{_played(path)},{chain}")


def _played(path: Path) -> Path:
    lines = ["time_et,symbol,bid,bid_size,ask,ask_size"]
    for second in range(300):
        at = f"2013-10-08T09:{30 + second // 60}:{second % 60:02d}"
        lines += [
            f"{at},{symbol},{10 + second / 100:.2f},100,{10.02 + second / 100:.2f},200" for symbol in KNOWN
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


STAGES = (
    "simulated, always open",
    "simulated, in session",
    "simulated, on a Saturday",
    "replay",
    "fake",
    "tradier",
    "tradier, on a Saturday",
    "tradier, over HTTP",
    "tradier, sandbox",
)


@pytest.fixture(params=STAGES)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """Each feed, started."""
    at_us = SATURDAY_US if "Saturday" in request.param else WEDNESDAY_OPEN_US
    async with AsyncExitStack() as stack:
        clock: FakeClock | SteppedClock
        if request.param.startswith("tradier"):
            clock = SteppedClock(at_us)
            transport: Transport = "http" if "HTTP" in request.param else "websocket"
            simulated = tradier_feed_at(
                tmp_path, clock, sandbox="sandbox" in request.param, transport=transport
            )
            built: Feed = await stack.enter_async_context(simulated)
        else:
            clock = FakeClock(at_us)
            built = of_itself(request.param, clock, tmp_path)
        await built.start()
        yield Stage(request.param, built, clock)
        async with asyncio.timeout(5):
            await built.stop()


def of_itself(name: str, clock: FakeClock, directory: Path) -> Feed:
    """A feed that has nobody to ask."""
    if name == "fake":
        fake = FakeFeed(*KNOWN, heartbeat_s=0.4)
        for symbol in KNOWN:
            fake.set(symbol, "10", "10.02", as_of_us=clock.now_us())
        return fake
    if name == "replay":
        return ReplayFeed(clock, recording(directory / "recording.csv"), speed=2)
    return SimulatedFeed(clock, AlwaysOpen() if "always" in name else ExchangeHours(), seed=1)


def assert_sound(quote: Quote, feed: Feed, now_us: int) -> None:
    assert quote.source == feed.source
    assert 0 < quote.bid < quote.ask
    if feed.source == "replay":  # A recording of quotes does not tell them, and they are not made up.
        assert quote.last == quote.prev_close == 0
        assert quote.recorded_at_us is not None
    else:
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


async def some_contract(stage: Stage) -> OptionContract:
    """A contract that the feed lists, near the middle of the strikes of the first expiration but one."""
    if isinstance(stage.feed, FakeFeed):
        stage.feed.list_contracts(
            *(f"AAPL{day}{right}00010000" for day in ("261218", "270115") for right in "CP")
        )
        stage.feed.set("AAPL270115C00010000", "0.50", "0.52", as_of_us=stage.clock.now_us())
    days = await stage.feed.fetch_expirations("AAPL")
    found = await stage.feed.fetch_contracts("AAPL", days[1])
    return found[len(found) // 4 * 2]


async def test_the_contracts_listed_are_those_that_have_instruments_and_quotes(stage: Stage) -> None:
    if stage.name == "replay":
        assert list(await stage.feed.fetch_expirations("AAPL")) == []
        return
    contract = await some_contract(stage)
    days = await stage.feed.fetch_expirations("AAPL")
    assert list(days) == sorted(set(days))
    for day in days[:2]:
        found = await stage.feed.fetch_contracts("AAPL", day)
        assert {one.expiration for one in found} == {day}
        assert [(one.strike, one.option_type) for one in found] == sorted(
            {(one.strike, one.option_type) for one in found}
        )
        assert {one.underlying for one in found} == {"AAPL"}
        for one in (found[0], found[-1], contract):
            instrument = await stage.feed.fetch_instrument(one.symbol)
            assert instrument is not None
            assert (instrument.asset_class, instrument.contract, instrument.symbol) == (
                "option",
                one,
                one.symbol,
            )
            assert instrument.last_trade_us is not None
            assert instrument.last_trade_us > stage.clock.now_us()
            assert instrument.tick in (Decimal("0.01"), Decimal("0.05"))
    quote = (await stage.feed.fetch_quotes([contract.symbol]))[contract.symbol]
    assert_sound(quote, stage.feed, stage.clock.now_us())
    assert await stage.newest(contract.symbol) == quote
    stage.feed.follow([contract.symbol])
    async with aclosing(stage.feed.listen()) as stream:
        assert (await next_quote(stream)).symbol == contract.symbol


async def test_a_chain_is_what_is_listed_in_its_order_with_a_quote_and_what_is_known_of_each(
    stage: Stage,
) -> None:
    symbol = "MSFT" if stage.name == "replay" else "AAPL"
    if isinstance(stage.feed, FakeFeed):
        await some_contract(stage)
    days = await stage.feed.fetch_expirations(symbol)
    assert len(days) > 1
    rows = await stage.feed.fetch_chain(symbol, days[0], days[1])
    listed = [one for day in days[:2] for one in await stage.feed.fetch_contracts(symbol, day)]
    assert [row.contract for row in rows] == listed
    assert [row.order for row in rows] == sorted(row.order for row in rows)
    assert any(row.quote is not None for row in rows)
    quotes = await stage.feed.fetch_quotes([one.symbol for one in listed])
    for row in rows:
        assert row.size == 100
        assert row.volume is None or row.volume >= 0
        assert row.open_interest is None or row.open_interest >= 0
        if row.quote is not None:
            assert row.quote.symbol == row.contract.symbol
            assert (row.quote.source, row.quote.recorded_at_us is not None) == (
                stage.feed.source,
                stage.name == "replay",
            )
            assert quotes[row.contract.symbol] == row.quote
        if stage.feed.source in ("simulated", "replay", "hand"):
            assert row.vendor is None, "it computes none"
    for first, last in ((days[1], days[1]), (days[0] + timedelta(days=1), days[1])):
        assert {row.contract.expiration for row in await stage.feed.fetch_chain(symbol, first, last)} == {
            days[1]
        }
    everything = await stage.feed.fetch_chain(symbol, date.min, date.max)
    assert {row.contract.expiration for row in everything} == set(days)
    assert list(await stage.feed.fetch_chain(symbol, days[1], days[0])) == []
    assert list(await stage.feed.fetch_chain(symbol, date(2010, 1, 1), date(2010, 2, 1))) == []
    for unknown in (UNKNOWN, "", "aapl", "AAPL\0", listed[0].symbol):
        assert list(await stage.feed.fetch_chain(unknown, date.min, date.max)) == []


async def test_announced_dividends_are_those_of_the_ticker_and_the_days_asked_in_order(stage: Stage) -> None:
    if isinstance(stage.feed, FakeFeed):
        paid = [date(2027, 2, 3), date(2026, 11, 3), date(2026, 8, 3)]
        stage.feed.actions = [CorporateAction("AAPL", day, "dividend", Decimal("0.26")) for day in paid]
    first, last = date(2026, 8, 3), date(2026, 11, 3)
    told = await stage.feed.fetch_dividends("AAPL", first, last)
    assert [one.ex_date for one in told] == ([first, last] if isinstance(stage.feed, FakeFeed) else [])
    assert all((one.symbol, one.kind) == ("AAPL", "dividend") for one in told)
    for symbol in (UNKNOWN, "", "aapl"):
        assert list(await stage.feed.fetch_dividends(symbol, date.min, date.max)) == []
    assert list(await stage.feed.fetch_dividends("AAPL", last, first)) == []


async def test_a_contract_that_is_not_listed_is_nothing_and_never_an_error(stage: Stage) -> None:
    contract = AN_OPTION if stage.name == "replay" else await some_contract(stage)
    for symbol in (
        replace(contract, strike=Decimal("9999")).symbol,
        replace(contract, expiration=contract.expiration + timedelta(days=1)).symbol,
        replace(contract, expiration=date(2020, 1, 17)).symbol,
        replace(contract, root="AAPL1").symbol,
        replace(contract, root="ZZZZZ").symbol,
        replace(contract, root="BRKB1").symbol,
        contract.padded,
        contract.symbol.lower(),
        "AAPL261399C00265000",
    ):
        assert await stage.feed.fetch_instrument(symbol) is None
        assert stage.feed.newest(symbol) is None
        assert await stage.feed.fetch_quotes([symbol]) == {}
    assert list(await stage.feed.fetch_expirations(UNKNOWN)) == []
    assert list(await stage.feed.fetch_contracts(UNKNOWN, contract.expiration)) == []
    assert list(await stage.feed.fetch_contracts("AAPL", contract.expiration + timedelta(days=1))) == []
    assert list(await stage.feed.fetch_expirations("")) == []


async def test_corporate_actions_are_told_for_the_day_and_the_symbols_asked(stage: Stage) -> None:
    day = date(2026, 1, 1)
    if isinstance(stage.feed, FakeFeed):
        stage.feed.actions = [CorporateAction("AAPL", date(2026, 2, 3), "dividend", Decimal("0.26"))]
    told = []
    for n in range(365):
        ex_date = day + timedelta(days=n)
        actions = await stage.feed.fetch_corporate_actions(["AAPL", UNKNOWN], ex_date)
        assert all((one.symbol, one.ex_date) == ("AAPL", ex_date) for one in actions)
        assert list(await stage.feed.fetch_corporate_actions([UNKNOWN], ex_date)) == []
        assert list(await stage.feed.fetch_corporate_actions([], ex_date)) == []
        told += actions
    # Tradier tells of none that is confirmed.
    assert bool(told) == (stage.feed.source not in ("replay", "tradier"))


async def test_nothing_asked_is_nothing_answered(stage: Stage) -> None:
    assert await stage.feed.fetch_quotes([]) == {}


async def test_memory_holds_what_was_fetched(stage: Stage) -> None:
    fetched = await stage.feed.fetch_quotes(KNOWN)
    for symbol in KNOWN:
        newest = await stage.newest(symbol)
        assert newest is not None
        assert newest.sequence >= fetched[symbol].sequence


async def test_the_same_sequence_is_the_same_quote_and_a_higher_one_is_no_older(stage: Stage) -> None:
    before: dict[str, Quote] = {}
    for _ in range(50):
        for symbol in KNOWN:
            quote = await stage.newest(symbol)
            assert quote is not None
            assert_sound(quote, stage.feed, stage.clock.now_us())
            last = before.get(symbol, quote)
            assert quote.sequence >= last.sequence
            assert quote.as_of_us >= last.as_of_us
            assert quote.confirmed_us >= last.confirmed_us
            if quote.sequence == last.sequence:
                # Who is asked may confirm what he said before.
                assert quote == replace(last, confirmed_us=quote.confirmed_us)
            before[symbol] = quote
        stage.move(0.37)


# -- the stream -------------------------------------------------------------------------------------


async def next_quote(stream: AsyncIterator[FeedEvent]) -> Quote:
    """The next event that is a quote."""
    async for event in stream:
        if isinstance(event, Quote):
            return event
    raise AssertionError("the stream has ended")


async def newer_quote(stream: AsyncIterator[FeedEvent], sequences: dict[str, int]) -> Quote:
    """The next quote that is newer than what was known; one that is told again confirms that, and none is older."""
    while True:
        quote = await next_quote(stream)
        assert quote.sequence >= sequences[quote.symbol]
        if quote.sequence > sequences[quote.symbol]:
            return quote


async def test_the_stream_begins_with_what_is_known_then_only_grows(stage: Stage) -> None:
    stage.feed.follow([*KNOWN, UNKNOWN])
    async with aclosing(stage.feed.listen()) as stream:
        first = [await next_quote(stream) for _ in KNOWN]
        assert {quote.symbol for quote in first} == set(KNOWN)
        sequences = {quote.symbol: quote.sequence for quote in first}
        if "Saturday" in stage.name:
            return
        for _ in range(10):
            stage.move()
            async with asyncio.timeout(20):
                quote = await newer_quote(stream, sequences)
            sequences[quote.symbol] = quote.sequence
            assert_sound(quote, stage.feed, stage.clock.now_us())


@pytest.mark.parametrize("symbols", [[], [UNKNOWN], ["AAPL"]])
async def test_S5_while_it_listens_it_says_something_at_least_every_heartbeat(
    stage: Stage, symbols: list[str]
) -> None:
    assert 0 < stage.feed.heartbeat_s <= 4
    stage.feed.follow(symbols)
    async with aclosing(stage.feed.listen()) as stream:
        for _ in range(6):
            began_us = stage.clock.now_us()
            async with asyncio.timeout(4):
                assert isinstance(await anext(stream), Quote | Heard)
            assert stage.clock.now_us() - began_us <= stage.feed.heartbeat_s * 1_000_000


async def test_what_is_followed_can_change_at_any_time_and_is_then_told_anew(stage: Stage) -> None:
    async with aclosing(stage.feed.listen()) as stream:
        began_us = stage.clock.now_us()
        assert isinstance(await anext(stream), Heard)
        assert stage.clock.now_us() == began_us, "it says at once that it is there"
        for symbols in (["AAPL"], ["SPY", "BRK.B"], ["AAPL"]):
            stage.feed.follow(symbols)
            stage.move()
            seen = {(await next_quote(stream)).symbol for _ in symbols}
            assert seen == set(symbols)
        stage.feed.follow([])
        for _ in range(3):
            assert not isinstance(await anext(stream), Quote)


async def test_a_new_listener_is_told_everything_anew(stage: Stage) -> None:
    stage.feed.follow(KNOWN)
    for _ in range(2):
        async with aclosing(stage.feed.listen()) as stream:
            assert {(await next_quote(stream)).symbol for _ in KNOWN} == set(KNOWN)


async def test_no_more_is_followed_than_the_feed_can_stream_and_the_first_come_first(stage: Stage) -> None:
    most = stage.feed.most_streamed
    assert most >= 1
    stage.feed.follow(["AAPL", "AAPL", *(f"X{n}" for n in range(most - 1)), "SPY"])
    async with aclosing(stage.feed.listen()) as stream:
        assert (await next_quote(stream)).symbol == "AAPL"
        events = [await anext(stream) for _ in range(5)]
    assert {event.symbol for event in events if isinstance(event, Quote)} <= {"AAPL"}


@pytest.mark.parametrize("symbols", [[], [UNKNOWN], ["AAPL"]])
async def test_the_stream_goes_on_until_it_is_cancelled_and_then_ends_at_once(
    stage: Stage, symbols: list[str]
) -> None:
    stage.feed.follow(symbols)

    async def read() -> None:
        async with aclosing(stage.feed.listen()) as stream:
            async for _ in stream:
                await asyncio.sleep(0)

    task = asyncio.create_task(read())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task], timeout=3)
    assert task.cancelled()


# -- search, indices, bars --------------------------------------------------------------------------


async def test_search_finds_the_symbol_first_then_those_that_begin_so_whatever_the_case(stage: Stage) -> None:
    assert (await stage.feed.search("aapl", 10))[0].symbol == "AAPL"
    assert "BRK.B" in [one.symbol for one in await stage.feed.search("br", 10)]
    for text in ("", " ", "no such thing", "\0", "\u0410", "*", "%", "A" * 10_000):
        assert list(await stage.feed.search(text, 10)) == []
    assert len(await stage.feed.search("a", 1)) <= 1
    assert list(await stage.feed.search("a", 0)) == []


async def test_what_stands_for_the_indices_are_names_and_tickers(stage: Stage) -> None:
    for name, symbol in stage.feed.indices:
        assert name
        assert parse_symbol(symbol) == symbol


@pytest.mark.parametrize("timeframe", list(Timeframe))
async def test_bars_are_sound_in_order_within_what_was_asked_and_the_newest_of_it(
    stage: Stage, timeframe: Timeframe
) -> None:
    day_us = 86_400_000_000
    now_us = stage.clock.now_us()
    start_us, end_us = now_us - 100 * day_us, now_us + day_us
    bars = await stage.feed.fetch_bars("AAPL", timeframe, start_us, end_us, 50)
    assert len(bars) <= 50
    assert [one.start_us for one in bars] == sorted({one.start_us for one in bars})
    for bar in bars:
        assert start_us <= bar.start_us < end_us
        # Where the market never closes the day that has begun in the evening bears the date of tomorrow.
        assert bar.start_us <= (now_us if timeframe in INTRADAY else now_us + day_us)
        assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert bar.volume >= 0
    assert list(await stage.feed.fetch_bars("AAPL", timeframe, start_us, end_us, 2)) == list(bars[-2:])
    assert list(await stage.feed.fetch_bars("AAPL", timeframe, start_us, end_us, 0)) == []
    assert list(await stage.feed.fetch_bars("AAPL", timeframe, end_us, start_us, 5)) == []
    for symbol in (UNKNOWN, "", "aapl", "AAPL\0"):
        assert list(await stage.feed.fetch_bars(symbol, timeframe, start_us, end_us, 5)) == []


async def test_the_bars_of_two_stretches_are_the_bars_of_both(stage: Stage) -> None:
    now_us = stage.clock.now_us()
    first, middle, end = now_us - 7_000_000_000, now_us - 3_333_333_333, now_us
    both = await stage.feed.fetch_bars("AAPL", Timeframe.MINUTE_1, first, end, 1000)
    parts = [
        *await stage.feed.fetch_bars("AAPL", Timeframe.MINUTE_1, first, middle, 1000),
        *await stage.feed.fetch_bars("AAPL", Timeframe.MINUTE_1, middle, end, 1000),
    ]
    assert parts == list(both)
