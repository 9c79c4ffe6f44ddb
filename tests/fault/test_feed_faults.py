"""Faults of the market data as clients meet them over a real WebSocket: nothing false is shown, what is down says so, and all is well
again afterwards (contract S4, S5, E17)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from paiid.feeds.alpaca import AlpacaFeed
from paiid.feeds.failover import FailoverFeed
from tests.feed_world import Alpaca, FeedWorld, Watcher, alpaca_on, feed_world

TOLD_WITHIN_S = 5.0
"""Contract S5: `feed: down` reaches everyone."""
FRESH_S = 2.0
"""How long a quote is good here: longer than a busy machine stands still; Alpaca's own 30 s would be a long test."""


SYMBOLS = ("AAPL", "SPY", "QQQ", "NVDA", "MSFT", "TSLA", "KO", "JPM", "AMZN", "META")


class JumpingClock(SystemClock):
    """Time on the wall that can be set, beside time that cannot."""

    jump_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + int(self.jump_s * 1_000_000)


@pytest.fixture
async def alpaca(tmp_path: Path, template: Path) -> AsyncIterator[Alpaca]:
    async with alpaca_on(tmp_path / "sim", template) as one:
        yield one


@asynccontextmanager
async def service(url: str, directory: Path, alpaca: Alpaca, **options: Any) -> AsyncIterator[FeedWorld]:
    """The service with its built-in paper broker, over a feed with short waits."""
    clock = options.pop("clock", None) or SystemClock()
    feed = alpaca.feed(clock)
    feed.resend_interval_s = FRESH_S
    async with feed_world(url, directory / "data", feed=feed, clock=clock, **options) as world:
        yield world


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path, alpaca: Alpaca) -> AsyncIterator[FeedWorld]:
    async with service(sqlite_url, tmp_path, alpaca) as one:
        yield one


async def well(world: FeedWorld, alpaca: Alpaca, watcher: Watcher, price: str) -> None:
    """Once the fault is over: a new price reaches the client and REST alike."""
    alpaca.heal()
    await world.agree(watcher, "AAPL", alpaca.pin("AAPL", price))

    async def up() -> bool:
        # Who was cut off is asked meanwhile: the price may be there before the stream is.
        return bool((await world.get("/api/stream/status"))["feed"]["status"] == "up")

    await world.until(up)


async def refused_as_stale(world: FeedWorld, account: str) -> bool:
    """Whether an order is; one that is accepted instead was checked against a price of a moment ago."""
    order = await world.order(account)
    assert order["state"] == "ACCEPTED" or order["reason"]["code"] == "stale_price", order
    return bool(order["state"] == "REFUSED")


async def within(seconds: float, wait: Any) -> Any:
    async with asyncio.timeout(seconds):
        return await wait


async def test_S5_a_silent_stream_makes_quotes_stale_and_orders_by_them_are_refused(
    world: FeedWorld, alpaca: Alpaca
) -> None:
    """It answers pings, so it is not down; and nobody can be asked either."""
    paper = await world.account("paper")
    async with world.watching("AAPL") as watcher:
        alpaca.fault("refuse_before", on="data", rate=1)
        alpaca.fault("silent", on="ticks", rate=1)
        stale = await watcher.quote("AAPL", lambda quote: quote["stale"])
        assert stale["ask"] > 0
        assert (await world.rest_quote("AAPL"))["stale"] is True
        refused = await world.order(paper)
        assert (refused["state"], refused["reason"]["code"]) == ("REFUSED", "stale_price")
        await well(world, alpaca, watcher, "200.05")
        assert (await world.order(paper))["state"] == "ACCEPTED"


async def test_S5_a_silent_stream_costs_nothing_where_questions_are_answered(
    world: FeedWorld, alpaca: Alpaca
) -> None:
    paper = await world.account("paper")
    async with world.watching("AAPL") as watcher:
        alpaca.fault("silent", on="ticks", next=1)
        await world.until(lambda: _played(alpaca, "silent"))
        ask = alpaca.pin("AAPL", "199.05")
        await watcher.quote("AAPL", lambda quote: quote["ask"] == ask and not quote["stale"])
        assert (await world.order(paper))["state"] == "ACCEPTED"
        await well(world, alpaca, watcher, "200.05")


async def _played(alpaca: Alpaca, kind: str, times: int = 1) -> bool:
    return alpaca.played(kind) >= times


@pytest.mark.parametrize("kind", ["silent", "disconnect"])
async def test_S5_a_feed_that_is_gone_is_told_to_every_client_within_five_seconds(
    world: FeedWorld, alpaca: Alpaca, kind: str
) -> None:
    """Deaf or cut, and then there is no place for the next connection (406)."""
    paper = await world.account("paper")
    params = {"params": {"deaf": True}} if kind == "silent" else {}
    async with world.watching("AAPL") as one, world.watching("SPY", "AAPL") as other:
        alpaca.fault("connection_limit", rate=1)
        alpaca.fault(kind, on="ticks", rate=1, **params)
        async with asyncio.timeout(TOLD_WITHIN_S):
            for watcher in (one, other):
                told = await watcher.feed("down", source="alpaca")
                assert "Alpaca's stream" in told["reason"]
        status = await world.get("/api/stream/status")
        assert status["feed"]["status"] == "down"
        # Whoever needs a price asks for it himself.
        ask = alpaca.pin("AAPL", "199.05")

        async def asked() -> bool:
            return bool((await world.rest_quote("AAPL"))["ask"] == ask)

        await world.until(asked)
        order = await world.order(paper)
        assert order["state"] == "ACCEPTED", order["reason"]
        alpaca.fault("refuse_before", on="data", rate=1)

        async def refused() -> bool:
            return await refused_as_stale(world, paper)

        # What was asked a moment ago serves for as long as the source wants to be left alone.
        await world.until(refused)
        assert (await world.rest_quote("AAPL"))["stale"] is True
        since = len(one.heard)
        alpaca.heal()
        await one.feed("up", since)
        await well(world, alpaca, other, "200.05")
        await world.agree(one, "AAPL", alpaca.pin("AAPL", "200.11"))


async def test_S4_twenty_cuts_in_a_row_leave_contiguous_channels(world: FeedWorld, alpaca: Alpaca) -> None:
    async with world.watching(*SYMBOLS) as watcher:
        alpaca.fault("disconnect", on="ticks", rate=1)
        prices = cycle(("200.01", "200.02"))

        async def enough() -> bool:
            # Whoever has just subscribed is told the next change.
            alpaca.pin("AAPL", next(prices))
            return (await world.counts()).get("feed_lost", 0) >= 20

        await world.until(enough)
        await well(world, alpaca, watcher, "200.05")


SPOILED: dict[str, tuple[dict[str, Any], str | None]] = {
    "quote_crossed": ({}, "crossed"),
    "quote_zero": ({}, "no_price"),
    "quote_duplicated": ({"params": {"times": 3}}, "duplicate"),
    "quote_reordered": ({}, "backward"),
    "quote_time": ({"params": {"shift_ms": -60_000}}, "backward"),
    "quote_burst": ({"params": {"quotes": 500}}, None),
    "frame_garbage": ({}, "unreadable"),
    "message_unknown": ({}, None),
    "tick_missing": ({}, None),
}
"""Faults of ticks, and the word under which the owner finds them counted."""


async def test_S5_spoiled_quotes_never_reach_a_client_and_are_counted(
    world: FeedWorld, alpaca: Alpaca
) -> None:
    async with world.watching(*SYMBOLS) as watcher:
        before = await world.counts()
        for kind, (wish, _) in SPOILED.items():
            alpaca.fault(kind, on="ticks", next=4, **wish)
            await world.until(lambda kind=kind: _played(alpaca, kind, 4))  # type: ignore[misc]
        alpaca.fault("quote_time", on="ticks", next=4, params={"shift_ms": 1_800_000})
        await world.until(lambda: _played(alpaca, "quote_time", 8))
        await well(world, alpaca, watcher, "200.05")
        counts = await world.counts()
        for word in {word for _, word in SPOILED.values() if word} | {"from_the_future"}:
            assert counts[word] > before.get(word, 0), (word, counts)
        viewer = await world.app.user("viewer")
        assert "counts" not in (await viewer.get("/api/stream/status")).json()


@pytest.mark.parametrize("hours", [1, -1, 3, -3])
async def test_S5_quotes_go_on_while_the_clock_is_set(
    sqlite_url: str, tmp_path: Path, alpaca: Alpaca, hours: int
) -> None:
    clock = JumpingClock()
    async with service(
        sqlite_url, tmp_path, alpaca, clock=clock, jwt_access_token_expire_minutes=1440
    ) as world:
        async with world.watching("AAPL") as watcher:
            clock.jump_s = hours * 3600.0
            watcher.forget_times()
            ask = alpaca.pin("AAPL", "199.05")
            await watcher.quote("AAPL", lambda quote: quote["ask"] == ask and not quote["stale"])
            clock.jump_s = 0.0
            watcher.forget_times()
            ask = alpaca.pin("AAPL", "198.05")
            await watcher.quote("AAPL", lambda quote: quote["ask"] == ask and not quote["stale"])
            world.owner = await world.app.owner()
            await well(world, alpaca, watcher, "200.05")


async def test_S5_a_place_that_stays_taken_is_told_and_then_had(world: FeedWorld, alpaca: Alpaca) -> None:
    async with world.watching("AAPL") as watcher:
        alpaca.fault("slot_held", on="hangup", next=1, params={"hold_ms": 2_500})
        alpaca.fault("disconnect", on="ticks", next=1)
        # The first words may be of the cut itself, where the next try came late.
        told = await within(TOLD_WITHIN_S, watcher.until(_is_down_for_406, watcher.begun))
        assert told["data"]["feed"]["source"] == "alpaca"
        await watcher.feed("up", len(watcher.heard) - 1)
        await well(world, alpaca, watcher, "200.05")


def _is_down_for_406(message: dict[str, Any]) -> bool:
    if message.get("channel") != "feed":
        return False
    told = message["data"]["feed"]
    return bool(told["status"] == "down" and "406" in told["reason"])


class Second(AlpacaFeed):
    """Another provider, under a name of its own."""

    source = "second"


def quote_of(source: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a message is a quote of AAPL by this source."""
    return lambda one: (
        one.get("channel") == "quotes:AAPL"
        and one["type"] == "market_data"
        and one["data"]["source"] == source
    )


async def test_S5_another_real_provider_takes_over_and_gives_back(
    sqlite_url: str, tmp_path: Path, template: Path, alpaca: Alpaca
) -> None:
    clock = SystemClock()
    async with alpaca_on(tmp_path / "other", template) as other:
        feeds = [alpaca.feed(clock), other.feed(clock, Second)]
        feed = FailoverFeed(clock, feeds, lost_s=0.3, recovery_s=0.3, look_s=0.03)
        ask, second_ask = alpaca.pin("AAPL", "200.05"), other.pin("AAPL", "200.15")
        async with feed_world(sqlite_url, tmp_path / "data", feed=feed, clock=clock) as world:
            paper = await world.account("paper")
            async with world.watching("AAPL") as watcher:
                await watcher.feed("up", source="alpaca")
                since = len(watcher.heard)
                alpaca.fault("refuse_before", on="data", rate=1)
                alpaca.fault("connection_limit", rate=1)
                alpaca.fault("disconnect", on="ticks", rate=1)
                await watcher.feed("up", since, source="second")
                told = await watcher.until(quote_of("second"), since)
                assert told["data"]["ask"] == second_ask
                rest = await world.rest_quote("AAPL")
                assert (rest["source"], rest["ask"]) == ("second", second_ask)
                order = await world.order(paper)
                assert order["state"] == "ACCEPTED"
                filled = await world.owner.wait_filled(order["id"])
                assert str(filled["filled_avg_price"]) == str(second_ask)
                since = len(watcher.heard)
                alpaca.heal()
                await watcher.feed("up", since, source="alpaca")
                told = await watcher.until(quote_of("alpaca"), since)
                assert told["data"]["ask"] == ask
                for one in (alpaca, other):
                    one.fault("refuse_before", on="data", rate=1)
                    one.fault("connection_limit", rate=1)
                    one.fault("disconnect", on="ticks", rate=1)
                await watcher.feed("down", len(watcher.heard))

                async def refused() -> bool:
                    return await refused_as_stale(world, paper)

                await world.until(refused)
            assert {one["source"] for one in watcher.heard if one["type"] == "market_data"} == {
                "alpaca",
                "second",
            }
