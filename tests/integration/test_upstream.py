"""One process alone: it leads, shows what the feed says once it is sound, and tells how the feed is (S5, docs/adr/0018)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal

from paiid.domain.quotes import Quote
from paiid.feeds import FeedEvent, Heard
from paiid.market import sequencer as sequencer_module
from tests.bus_world import QUICK, town, until
from tests.market_world import FakeFeed

STEADY = 60.0


def quick_feed(*symbols: str, resend_s: float = STEADY, **options: float | int) -> FakeFeed:
    """A feed whose quotes are good for this long."""
    feed = FakeFeed(*symbols, **options)  # type: ignore[arg-type]
    feed.resend_interval_s = resend_s
    return feed


async def test_a_process_that_is_alone_leads_and_shows_what_is_wanted() -> None:
    async with town() as place:
        one = await place.add("AAPL")
        await until(lambda: one.status == "up")
        assert one.leads
        assert "listens" in one.upstream.health()
        assert one.states[0].status == "down", "nothing is claimed before the feed has said anything"
        place.set("AAPL", "10", "11")
        place.set("SPY", "10", "11")
        await until(lambda: one.bid("AAPL") == "10")
        assert one.bid("SPY") is None, "nobody wants it"
        one.demand.add(["SPY"])
        await until(lambda: one.bid("SPY") == "10")
        assert [epoch for epoch, _ in one.epochs] == [one.upstream.state.epoch]


async def test_a_symbol_that_the_stream_keeps_silent_about_is_asked_for_at_once() -> None:
    class Mute(FakeFeed):
        async def listen(self) -> AsyncIterator[FeedEvent]:
            while True:
                yield Heard()
                await asyncio.sleep(0.05)

    async with town() as place:
        feed = Mute("AAPL", "SPY", heartbeat_s=1.0, quoted_us=place._clock.now_us())
        one = await place.add("AAPL", "SPY", feed=feed)
        await until(lambda: one.bid("AAPL") == "10" and one.bid("SPY") == "10")
        assert feed.fetched == 1, "in one call"


async def test_S5_a_quote_that_nobody_confirms_is_told_as_stale_and_then_as_good_again() -> None:
    async with town() as place:
        # Longer than a slow machine may take from setting a quote to showing it.
        feed = quick_feed(resend_s=1.5, heartbeat_s=1.0)
        one = await place.add("AAPL", feed=feed)
        await until(lambda: one.status == "up")
        feed.down = "the vendor is away"
        place.set("AAPL", "10", "11")
        await until(lambda: [shown.quote.stale for shown in one.shown] == [False, True])
        assert one.status == "up", "the connection is alive"
        feed.down = None
        await until(lambda: [shown.quote.stale for shown in one.shown[:3]] == [False, True, False])
        assert [shown.sequence for shown in one.shown[:3]] == [1, 2, 3]
        assert one.upstream.counts["fetch_failed"] >= 1


async def test_S5_a_quiet_symbol_is_confirmed_without_an_event() -> None:
    async with town() as place:
        feed = quick_feed(resend_s=3.0, heartbeat_s=1.0)
        one = await place.add("AAPL", feed=feed)
        await until(lambda: one.status == "up")
        place.set("AAPL", "10", "11")
        await until(lambda: one.bid("AAPL") == "10")

        def confirmed() -> bool:
            shown = one.board.find("AAPL")
            return shown is not None and shown.quote.confirmed_us > shown.quote.as_of_us + 1_000_000

        await until(confirmed)
        assert len(one.shown) == 1


async def test_S5_no_made_up_words_bad_ticks_are_counted_and_not_shown() -> None:
    async with town() as place:
        one = await place.add("AAPL")
        await until(lambda: one.status == "up")
        place.set("AAPL", "10", "11")
        await until(lambda: one.bid("AAPL") == "10")
        place.set("AAPL", "12", "11")
        place.replicas[0].feed.beat()
        await until(lambda: one.upstream.counts.get("crossed", 0) >= 1)
        assert one.bid("AAPL") == "10"
        place.set("AAPL", "11", "11")
        await until(lambda: one.bid("AAPL") == "11")


async def test_S5_a_feed_that_breaks_its_word_and_raises_is_listened_to_again() -> None:
    class Breaks(FakeFeed):
        broken = 0

        async def listen(self) -> AsyncIterator[FeedEvent]:
            if self.broken < 2:
                self.broken += 1
                raise ValueError("a defect")
            async for event in super().listen():
                yield event

    async with town() as place:
        feed = Breaks(heartbeat_s=1.0)
        one = await place.add("AAPL", feed=feed)
        await until(lambda: one.status == "up")
        assert one.upstream.counts["feed_broke"] == 2


async def test_a_flood_of_quotes_leaves_others_their_turn_and_the_newest_is_shown() -> None:
    class Flood(FakeFeed):
        async def listen(self) -> AsyncIterator[FeedEvent]:
            yield Heard()
            quote = Quote(
                "AAPL", Decimal(1), Decimal(2), Decimal(1), Decimal(1), Decimal(1), Decimal(1), place._clock.now_us(), 0, "x"
            )  # fmt: skip
            for n in range(20_000):
                yield replace(quote, bid=1 + Decimal(n) / 100_000, sequence=n)
            await asyncio.sleep(3600)

    async with town() as place:
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(take_turns())
        one = await place.add("AAPL", feed=Flood(heartbeat_s=60.0))
        await until(lambda: one.bid("AAPL") == "1.19999")
        other.cancel()
        assert turns > 100
        assert one.upstream.counts["quotes_heard"] == 20_000


async def test_when_one_epoch_has_numbered_all_it_can_another_begins(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sequencer_module, "MOST_NUMBERED", 2)
    async with town() as place:
        one = await place.add("AAPL", "SPY")
        place.set("AAPL", "10", "11")
        place.set("SPY", "10", "11")
        await until(lambda: len(one.epochs) > 1)
        assert one.epochs[1][0] > one.epochs[0][0]


async def test_S5_a_replica_on_its_own_says_down_when_the_source_does_not_answer(postgres_url: str) -> None:
    class Deaf(FakeFeed):
        async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
            await asyncio.sleep(3600)
            return {}

    async with town(db_url=postgres_url) as place:
        one = await place.add("AAPL")
        await until(lambda: one.status == "up")
        two = await place.add("AAPL", feed=Deaf(heartbeat_s=0.5))
        three = await place.add("AAPL")
        three.feed.down = "the vendor is away"
        await until(lambda: two.status == "down" and "answer" in two.upstream.state.reason)
        await until(lambda: three.upstream.state.reason == "the vendor is away")
        assert three.status == "down"
        three.feed.down = None
        await until(lambda: three.status == "degraded")


async def test_stop_ends_everything_within_a_second_or_so() -> None:
    async with town() as place:
        one = await place.add("AAPL", pace=replace(QUICK, look_s=60.0))
        await until(lambda: one.status == "up")
        # A second or so, and what a slow machine adds; a look that is waited for is a minute.
        async with asyncio.timeout(5.0):
            await one.upstream.stop()
        assert not one.feed.listening
        place.set("AAPL", "10", "11")
        await asyncio.sleep(0.02)
        assert one.bid("AAPL") is None
