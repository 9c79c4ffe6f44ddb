"""Tradier's stream when it is of no use, as clients of the service meet it: prices go on, or it is said that they do not (contract S5)."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from paiid.core.clock import SystemClock
from paiid.feeds.tradier import TradierFeed
from tests.feed_world import (
    TRADIER_PACE,
    ShiftedClock,
    Tradier,
    brisk,
    feed_world,
    tradier_on,
)
from tests.market_world import WEDNESDAY_OPEN_US


@pytest.fixture
async def tradier(tmp_path: Path, template: Path) -> AsyncIterator[Tradier]:
    async with tradier_on(tmp_path / "sim", template) as one:
        yield one


async def test_S5_a_silent_stream_costs_nothing_where_questions_are_answered(
    sqlite_url: str, tmp_path: Path, tradier: Tradier
) -> None:
    async with brisk(sqlite_url, tmp_path, tradier) as world, world.watching("AAPL", "SPY") as watcher:
        tradier.fault("silent", on="ticks", next=1)
        await world.until(lambda: _played(tradier, "silent"))
        for price in ("199.05", "199.06"):
            await world.agree(watcher, "AAPL", tradier.pin("AAPL", price))
        assert (await world.order(await world.account("paper")))["state"] == "ACCEPTED"


async def test_S5_a_silent_stream_makes_quotes_stale_and_orders_by_them_are_refused(
    sqlite_url: str, tmp_path: Path, tradier: Tradier
) -> None:
    """It answers pings, so it is not down; and nobody can be asked either."""
    async with brisk(sqlite_url, tmp_path, tradier) as world, world.watching("AAPL") as watcher:
        paper = await world.account("paper")
        tradier.fault("refuse_before", on="data", rate=1)
        tradier.fault("silent", on="ticks", rate=1)
        stale = await watcher.quote("AAPL", lambda quote: quote["stale"])
        assert stale["ask"] > 0
        assert (await world.rest_quote("AAPL"))["stale"] is True
        refused = await world.order(paper)
        assert (refused["state"], refused["reason"]["code"]) == ("REFUSED", "stale_price")
        tradier.heal()
        await world.agree(watcher, "AAPL", tradier.pin("AAPL", "200.05"))
        assert (await world.order(paper))["state"] == "ACCEPTED"


@pytest.mark.parametrize("kind", ["silent", "disconnect"])
async def test_S5_a_feed_that_is_gone_is_told_to_every_client(
    sqlite_url: str, tmp_path: Path, tradier: Tradier, kind: str
) -> None:
    """Deaf or cut, with no session to be had and no question answered."""
    async with brisk(sqlite_url, tmp_path, tradier) as world:
        params = {"params": {"deaf": True}} if kind == "silent" else {}
        async with world.watching("AAPL") as one, world.watching("SPY", "AAPL") as other:
            tradier.fault("refuse_before", on="session", rate=1)
            tradier.fault("refuse_before", on="data", rate=1)
            tradier.fault(kind, on="ticks", rate=1, **params)
            for watcher in (one, other):
                assert "Tradier" in (await watcher.feed("down", source="tradier"))["reason"]
            since = len(one.heard)
            tradier.heal()
            await one.feed("up", since)
            await world.agree(one, "AAPL", tradier.pin("AAPL", "200.11"))
            await world.agree(other, "AAPL", tradier.pin("AAPL", "200.12"))


async def test_S5_a_session_that_another_program_holds_is_waited_for_and_prices_are_asked_for(
    sqlite_url: str, tmp_path: Path, tradier: Tradier
) -> None:
    clock = SystemClock()
    rival = tradier.feed(clock)
    rival.follow(["KO"])
    events = rival.listen()
    await anext(events)
    async with brisk(sqlite_url, tmp_path, tradier) as world, world.watching("AAPL") as watcher:
        await watcher.feed("up", source="tradier")
        for price in ("199.05", "199.06"):
            await world.agree(watcher, "AAPL", tradier.pin("AAPL", price))
        assert rival.connections == 1, "nobody is thrown out"
        assert {one["outcome"] for one in tradier.ledger("market_session")[1:]} == {
            "too many sessions requested"
        }
        await events.aclose()  # type: ignore[attr-defined]
        await world.until(lambda: _streams(tradier, 2))
        await world.agree(watcher, "AAPL", tradier.pin("AAPL", "200.05"))
    await rival.stop()


async def _played(tradier: Tradier, kind: str, times: int = 1) -> bool:
    return tradier.played(kind) >= times


async def _streams(tradier: Tradier, times: int) -> bool:
    return len(tradier.ledger("data_subscribe")) >= times


async def test_S5_a_stream_that_tells_nothing_in_a_session_while_prices_move_is_replaced(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    """It is open and answers pings: what is asked for shows that it missed something."""
    clock = ShiftedClock(WEDNESDAY_OPEN_US)
    async with tradier_on(tmp_path / "sim", template, clock=clock, hours="exchange") as tradier:
        feed = tradier.feed(clock, timings=replace(TRADIER_PACE, confirm_s=600.0, mute_s=0.5))
        async with (
            feed_world(sqlite_url, tmp_path / "data", feed=feed, clock=clock, sim_hours="exchange") as world,
            world.watching("AAPL", "SPY") as watcher,
        ):
            assert feed.connections == 1
            tradier.fault("silent", on="ticks", next=1)
            await world.until(lambda: _is_connected(feed, 2))
            await world.agree(watcher, "AAPL", tradier.pin("AAPL", "200.05"))


async def _is_connected(feed: TradierFeed, times: int) -> bool:
    return feed.connections >= times
