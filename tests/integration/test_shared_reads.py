"""What replicas ask of a provider: the same at once costs one request, ages count from when it was told, and nothing odd in Redis matters."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec
import pytest

from paiid.core.redis_store import RedisStore
from paiid.core.shared import Link, SharedCache
from paiid.domain.bars import Timeframe
from paiid.domain.calendar import ExchangeHours
from paiid.feeds import Feed, FeedUnavailable
from paiid.feeds.tradier import TradierFeed
from paiid.market import shared_reads
from paiid.market.bars import GROWING_S
from paiid.market.service import MarketService
from paiid.options.chains import ChainReader
from paiid.options.given import Given
from paiid.options.pool import PricingPool
from paiid.options.service import OptionsService
from tests.bus_world import until
from tests.fake_clock import FakeClock
from tests.feed_world import SteppedClock, Tradier, tradier_keys, tradier_on
from tests.heard_feed import HeardFeed
from tests.market_world import WEDNESDAY_OPEN_US
from tests.options_world import ChainFeed, chain
from tests.shared_world import a_secret, forget
from tests.tradier_markets_world import PATIENCE_S

TICKER = "KO"


@dataclass
class Replica:
    """The market side of one."""

    clock: SteppedClock | FakeClock
    feed: Feed
    market: MarketService
    chains: ChainReader
    options: OptionsService
    link: Link
    store: RedisStore


@asynccontextmanager
async def replicas(url: str, *feeds: tuple[Feed, SteppedClock | FakeClock]) -> AsyncIterator[list[Replica]]:
    """One for each feed, with connections of its own."""
    secret = a_secret()
    async with AsyncExitStack() as stack:
        pool = PricingPool()
        stack.push_async_callback(pool.stop)
        found = []
        for feed, clock in feeds:
            # A busy machine must not make a replica ask for itself.
            store = RedisStore(url, SteppedClock(), deadline_s=10.0, break_s=0.05)
            await store.start()
            stack.push_async_callback(store.stop)
            await until(lambda store=store: store.up)  # type: ignore[misc]
            link = Link(store, secret)
            market = MarketService(feed, clock, ExchangeHours(), cache=SharedCache(link, clock, "test-build"))
            chains = ChainReader(market, clock, Given(), pool)
            options = OptionsService(market, clock, chains, pool)
            found.append(Replica(clock, feed, market, chains, options, link, store))
        yield found


@asynccontextmanager
async def at_tradier(
    url: str, directory: Path, template: Path
) -> AsyncIterator[tuple[Tradier, list[Replica]]]:
    """Two replicas at one simulated Tradier."""
    clock = SteppedClock(WEDNESDAY_OPEN_US)
    async with (
        tradier_on(directory, template, clock=clock, hours="exchange") as tradier,
        AsyncExitStack() as stack,
    ):
        feeds = []
        for _ in range(2):
            feed = TradierFeed(clock, tradier_keys(tradier.url), request_s=PATIENCE_S)
            stack.push_async_callback(feed.stop)
            feeds.append((feed, clock))
        async with replicas(url, *feeds) as both:
            yield tradier, both


def asked(tradier: Tradier, path: str) -> int:
    """How many requests the provider has had."""
    return sum(str(one.get("path", "")).endswith(path) for one in tradier.ledger("request"))


async def test_two_replicas_that_ask_the_same_at_once_cost_the_provider_one_request(
    valkey_url: str, tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long the provider takes on a busy machine: nobody gives up waiting for the other.
    monkeypatch.setattr(shared_reads, "WAIT_S", 60.0)
    monkeypatch.setattr(shared_reads, "CLAIM_S", 60.0)
    async with at_tradier(valkey_url, tmp_path / "sim", template) as (tradier, both):
        listed = await asyncio.gather(*[one.chains.expirations(TICKER) for one in both])
        assert listed[0] == listed[1]
        assert asked(tradier, "/options/expirations") == 1
        day = next(day for day in listed[0][2:] if 14 <= day.day <= 21)

        found = await asyncio.gather(*[one.chains.load(TICKER, [day]) for one in both])
        # Beside the chain, up to three others from which the rate is implied.
        first = asked(tradier, "/options/chains")
        assert first <= 4
        assert found[0].assumptions == found[1].assumptions
        assert found[0].rows == found[1].rows
        assert len(found[0]) > 20

        bars = await asyncio.gather(
            *[one.market.bars(TICKER, Timeframe.DAY_1, None, None, 50) for one in both]
        )
        assert bars[0].bars == bars[1].bars
        assert len(bars[0].bars) == 50
        assert sorted(one.cached for one in bars) == [False, True]
        assert asked(tradier, "/markets/history") == 1

        counts = await asyncio.gather(*[one.options._count(TICKER, listed[0][:3]) for one in both])
        assert counts[0] == counts[1]
        assert len(counts[0]) == 3
        assert asked(tradier, "/options/chains") - first == 3, "one for each expiration, once"

        # When its time is over it is asked for again: once.
        forget(valkey_url, both[0].link)
        assert isinstance(both[0].clock, SteppedClock)
        both[0].clock.advance(300)
        again = await asyncio.gather(
            *[one.market.bars(TICKER, Timeframe.DAY_1, None, None, 50) for one in both]
        )
        assert sorted(one.cached for one in again) == [False, True]
        assert asked(tradier, "/markets/history") == 2


async def test_without_an_answer_of_redis_each_asks_for_itself(
    valkey_url: str, tmp_path: Path, template: Path
) -> None:
    async with at_tradier(valkey_url, tmp_path / "sim", template) as (tradier, both):
        for one in both:
            await one.store.stop()
        listed = await asyncio.gather(*[one.chains.expirations(TICKER) for one in both])
        assert listed[0] == listed[1] != ()
        assert asked(tradier, "/options/expirations") == 2


class CountedChain(ChainFeed):
    """Counts what it is asked for."""

    source = "tradier"

    def __init__(self) -> None:
        super().__init__(chain())
        self.calls = 0

    async def fetch_chain(self, symbol: str, first: date, last: date):  # type: ignore[no-untyped-def]
        self.calls += 1
        return await super().fetch_chain(symbol, first, last)


async def test_S05_a_chain_of_another_replica_is_as_old_as_it_is(valkey_url: str) -> None:
    ours, theirs = FakeClock(WEDNESDAY_OPEN_US), FakeClock(WEDNESDAY_OPEN_US - 2_000_000)
    async with replicas(valkey_url, (CountedChain(), ours), (CountedChain(), theirs)) as (one, other):
        one.feed.poll_s = other.feed.poll_s = 20.0
        first = await one.chains.load("ACME")
        # Their clock is behind by 2 s: what they take over is no younger for it.
        theirs.advance(9.0)
        second = await other.chains.load("ACME")
        assert [row.contract for row in second.rows] == [row.contract for row in first.rows]
        assert isinstance(other.feed, CountedChain)
        assert other.feed.calls == 0
        told_ago_s = (theirs.now_us() - second.fetched_us) / 1e6
        assert told_ago_s == pytest.approx(7.0, abs=0.5)
        # It holds for as long as it would have there, and then the source is asked.
        theirs.advance(12.0)
        await other.chains.load("ACME")
        assert other.feed.calls == 0
        theirs.advance(2.0)
        await other.chains.load("ACME")
        assert other.feed.calls == 1


async def test_S05_what_only_some_settings_make_late_is_not_shared_with_what_is_live(valkey_url: str) -> None:
    feeds = CountedChain(), CountedChain()
    feeds[0].poll_s = feeds[1].poll_s = 20.0
    feeds[1].delayed = True
    clock = FakeClock(WEDNESDAY_OPEN_US)
    async with replicas(valkey_url, (feeds[0], clock), (feeds[1], clock)) as both:
        for one in both:
            await one.chains.load("ACME")
        assert [feed.calls for feed in feeds] == [1, 1]


async def test_of_a_market_that_is_made_here_nothing_is_shared(valkey_url: str) -> None:
    feed = CountedChain()
    feed.source = "simulated"
    async with replicas(valkey_url, (feed, FakeClock(WEDNESDAY_OPEN_US))) as (one,):
        await one.chains.load("ACME")
        assert list(one.market.shared.counts.items()) == []


class Failing(CountedChain):
    """Is silent the first time."""

    async def fetch_chain(self, symbol: str, first: date, last: date):  # type: ignore[no-untyped-def]
        if self.calls == 0:
            self.calls += 1
            raise FeedUnavailable("nobody there")
        return await super().fetch_chain(symbol, first, last)


async def test_who_could_not_fetch_it_lets_the_others_try_at_once(valkey_url: str) -> None:
    clock = FakeClock(WEDNESDAY_OPEN_US)
    broken, well = Failing(), CountedChain()
    async with replicas(valkey_url, (broken, clock), (well, clock)) as (one, other):
        with pytest.raises(FeedUnavailable):
            await one.market.shared_chain("ACME", date(2026, 1, 1), date(2027, 12, 31), lambda _: 5.0)
        began_s = clock.monotonic_s()
        await other.market.shared_chain("ACME", date(2026, 1, 1), date(2027, 12, 31), lambda _: 5.0)
        assert clock.monotonic_s() == began_s, "it did not wait"
        assert well.calls == 1


async def test_a_value_of_another_form_is_asked_for_anew_and_counted(valkey_url: str) -> None:
    clock = FakeClock(WEDNESDAY_OPEN_US)
    feed = CountedChain()
    async with replicas(valkey_url, (feed, clock)) as (one,):
        cache = SharedCache(one.link, clock, "test-build")
        where = "\0".join(("chain", "tradier", "False", "ACME", "2026-01-01", "2027-12-31"))
        odd = [b"", b"no zip", msgspec.msgpack.encode([1]), b"x" * 20_000]
        for number, body in enumerate(odd, 1):
            await cache.put(where, body, 60, clock.now_us())
            rows, age_s = await one.market.shared_chain(
                "ACME", date(2026, 1, 1), date(2027, 12, 31), lambda _: 5.0
            )
            assert rows
            assert age_s == 0.0
            assert feed.calls == number
        assert one.market.shared.counts.of("chain", "unreadable") == len(odd)


async def test_bars_of_another_replica_are_taken_over_only_where_they_are_enough(valkey_url: str) -> None:
    ours, theirs = FakeClock(WEDNESDAY_OPEN_US), FakeClock(WEDNESDAY_OPEN_US)
    feeds = HeardFeed("AAPL"), HeardFeed("AAPL")
    async with replicas(valkey_url, (feeds[0], ours), (feeds[1], theirs)) as (one, other):
        first = await one.market.bars("AAPL", Timeframe.MINUTE_5, None, None, 10)
        second = await other.market.bars("AAPL", Timeframe.MINUTE_5, None, None, 10)
        assert (first.cached, second.cached) == (False, True)
        theirs.advance(GROWING_S + 0.1)
        third = await other.market.bars("AAPL", Timeframe.MINUTE_5, None, None, 10)
        assert not third.cached, "it was told no later than that"
        ours.advance(GROWING_S + 0.1)
        few = await one.market.bars("AAPL", Timeframe.MINUTE_1, None, None, 10)
        more = await other.market.bars("AAPL", Timeframe.MINUTE_1, None, None, 500)
        same = await other.market.bars("AAPL", Timeframe.MINUTE_1, None, None, 10)
        assert (few.cached, more.cached, same.cached) == (False, False, True)
        theirs.advance(GROWING_S + 0.1)
        later = await other.market.bars("AAPL", Timeframe.MINUTE_1, None, None, 10)
        assert later.as_of_us == theirs.now_us()
        assert not later.cached
