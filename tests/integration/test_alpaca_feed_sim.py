"""Alpaca's feed against the simulated Alpaca: another hand's reading of the same documents, with its whole market and its faults."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from paiid.core.clock import SystemClock
from paiid.core.migrate import migrate
from paiid.domain.bars import Timeframe
from paiid.domain.quotes import Quote
from paiid.feeds import FeedEvent, FeedUnavailable, Heard, Lost
from paiid.feeds.alpaca import AlpacaDataKeys, AlpacaFeed
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET
from paiid.sim.alpaca.marketdata.side import DataOptions
from paiid.sim.alpaca.world import SimWish, database_url, opened
from paiid.sim.engine.serve import running
from tests.alpaca_data_wire import QUICK

PATIENCE_S = 20.0
"""Only guards against hanging."""


@dataclass
class World:
    """A simulator that runs, and how to reach it."""

    url: str

    def feed(self, **options: Any) -> AlpacaFeed:
        keys = AlpacaDataKeys(
            DEFAULT_KEY_ID, DEFAULT_SECRET, self.url, self.url.replace("http", "ws") + "/v2/iex", self.url
        )
        return AlpacaFeed(SystemClock(), keys, **({"timings": QUICK} | options))

    async def fault(self, kind: str, **wish: Any) -> None:
        """Put a fault in force."""
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False, verify=False) as client:
            answer = await client.post("/sim/faults", json={"kind": kind, **wish})
            assert answer.status_code == 201, answer.text


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    migrate(database_url(tmp_path))
    wish = SimWish(tmp_path, rate_limit=0, data=DataOptions(poll_s=0.005, max_symbols=8))
    async with opened(wish, SystemClock()) as sim, running(sim) as url:
        yield World(url)


@asynccontextmanager
async def listening(feed: AlpacaFeed, *symbols: str) -> AsyncIterator[Callable[..., Any]]:
    """`await until(fits)`: the next event that fits."""
    feed.follow(symbols)
    async with aclosing(feed.listen()) as events:  # type: ignore[type-var]

        async def until(fits: Callable[[FeedEvent], Any]) -> Any:
            async with asyncio.timeout(PATIENCE_S):
                async for event in events:
                    if fits(event):
                        return event
            raise AssertionError("the feed ended")

        yield until
    await feed.stop()


def is_quote(symbol: str) -> Callable[[FeedEvent], bool]:
    return lambda event: isinstance(event, Quote) and event.symbol == symbol


async def test_everything_that_is_asked_is_answered(world: World) -> None:
    feed = world.feed()
    found = await feed.fetch_quotes(["AAPL", "SPY", "ZZZZZ"])
    assert set(found) == {"AAPL", "SPY"}
    assert all(0 < one.bid <= one.ask and one.last > 0 and one.prev_close > 0 for one in found.values())
    instrument = await feed.fetch_instrument("AAPL")
    assert instrument is not None
    assert instrument.tradable
    assert (await feed.search("aapl", 3))[0].symbol == "AAPL"
    days = await feed.fetch_expirations("SPY")
    assert len(days) > 3
    contracts = await feed.fetch_contracts("SPY", days[1])
    contract = contracts[len(contracts) // 2]
    assert (await feed.fetch_quotes([contract.symbol]))[contract.symbol].ask > 0
    option = await feed.fetch_instrument(contract.symbol)
    assert option is not None
    assert option.contract == contract
    now_us = SystemClock().now_us()
    for timeframe in (Timeframe.MINUTE_1, Timeframe.DAY_1, Timeframe.WEEK_1):
        bars = await feed.fetch_bars("AAPL", timeframe, now_us - 40 * 86_400_000_000, now_us, 20)
        assert len(bars) > 3
        assert all(one.low <= one.open <= one.high for one in bars)
    await feed.stop()


async def test_quotes_are_streamed_confirmed_and_limited_by_the_plan(world: World) -> None:
    symbols = ["AAPL", "MSFT", "SPY", "QQQ", "TSLA", "NVDA", "AMZN", "META", "KO", "GOOGL", "JPM", "XOM"]
    for packed in (False, True):
        feed = world.feed(packed=packed)
        known = await feed.fetch_quotes(symbols)
        assert len(known) > 8
        async with listening(feed, *symbols) as until:
            first = await until(is_quote("AAPL"))
            while feed.most_streamed > 8:
                await until(lambda event: True)
            later = first
            while later.sequence == first.sequence:
                later = await until(is_quote("AAPL"))
            assert later.sequence > first.sequence
            assert later.prev_close == first.prev_close > 0
            await until(is_quote(list(known)[-1]))
            assert feed.connections == 1
            assert feed.dropped == 0


async def test_spoiled_ticks_leave_a_stream_that_only_grows(world: World) -> None:
    feed = world.feed()
    async with listening(feed, "AAPL", "SPY", "QQQ", "NVDA", "TSLA") as until:
        newest = await until(is_quote("AAPL"))
        for fault in (
            "frame_garbage", "message_unknown", "quote_duplicated", "quote_reordered", "quote_time", "quote_burst", "quote_zero",
        ):  # fmt: skip
            await world.fault(fault, next=3)
            for _ in range(5):
                event = await until(lambda event: isinstance(event, Quote | Lost))
                assert isinstance(event, Quote), "the connection stays"
                if event.symbol == "AAPL":
                    assert event.sequence >= newest.sequence
                    assert event.as_of_us >= newest.as_of_us
                    newest = event
        assert feed.dropped > 0


async def test_a_place_that_is_still_taken_is_waited_for(world: World) -> None:
    first, second = world.feed(), world.feed()
    async with listening(first, "AAPL") as until_first:
        await until_first(is_quote("AAPL"))
        async with listening(second, "AAPL") as until_second:
            assert "another connection" in (await until_second(lambda event: isinstance(event, Lost))).reason
            await first.stop()
            await until_second(lambda event: isinstance(event, Heard))


async def test_wrong_keys_are_told_as_such(world: World) -> None:
    keys = AlpacaDataKeys("WRONG", "wrong", world.url, world.url.replace("http", "ws") + "/v2/iex", world.url)
    feed = AlpacaFeed(SystemClock(), keys, timings=QUICK)
    with pytest.raises(FeedUnavailable, match="keys"):
        await feed.fetch_quotes(["AAPL"])
    async with listening(feed, "AAPL") as until:
        assert "keys" in (await until(lambda event: isinstance(event, Lost))).reason
