"""Tradier's stream when it is of no use, as clients of the service meet it: prices go on, or it is said that they do not (contract S5)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from paiid.feeds.tradier import TradierFeed
from tests.feed_world import (
    PATIENCE_S,
    TRADIER_PACE,
    FeedWorld,
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
        await _is_accepted(world, await world.account("paper"))


async def test_S5_a_silent_stream_makes_quotes_stale_and_orders_by_them_are_refused(
    sqlite_url: str, tmp_path: Path, tradier: Tradier
) -> None:
    """It answers pings, so it is not down; and nobody can be asked either."""
    async with brisk(sqlite_url, tmp_path, tradier) as world, world.watching("AAPL") as watcher:
        paper = await world.account("paper")
        since = len(watcher.heard)
        tradier.fault("refuse_before", on="data", rate=1)
        tradier.fault("silent", on="ticks", rate=1)
        # What was under way before may still confirm a quote; from here on nothing does.
        await world.until(lambda: _played(tradier, "silent"))
        await world.until(lambda: _played(tradier, "refuse_before", 2))
        stale = await watcher.until(lambda one: _is_stale(one, "AAPL"), since)
        assert stale["data"]["ask"] > 0

        async def told() -> bool:
            return (await world.rest_quote("AAPL"))["stale"] is True

        await world.until(told)
        refused = await world.order(paper)
        assert (refused["state"], refused["reason"]["code"]) == ("REFUSED", "stale_price")
        tradier.heal()
        await world.agree(watcher, "AAPL", tradier.pin("AAPL", "200.05"))
        await _is_accepted(world, paper)


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
    # Nobody reads what it hears: it must not take a slow machine for a stream that is dead, and come again.
    rival = tradier.feed(clock, timings=replace(TRADIER_PACE, reply_s=20.0, silence_s=20.0))
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


async def _is_accepted(world: FeedWorld, account: str) -> None:
    """An order must be taken. These quotes are good for a second: on a slow machine one may just be too old, and for nothing else is an
    order refused."""
    async with asyncio.timeout(PATIENCE_S):
        while (order := await world.order(account))["state"] != "ACCEPTED":
            assert (order["state"], order["reason"]["code"]) == ("REFUSED", "stale_price"), order
            await asyncio.sleep(0.02)


def _is_stale(message: dict[str, Any], symbol: str) -> bool:
    is_quote = message["type"] == "market_data" and message["channel"] == f"quotes:{symbol}"
    return is_quote and message["data"]["stale"]


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
            # A slow machine may have found it silent for half a second before.
            before = feed.connections
            tradier.fault("silent", on="ticks", next=1)
            await world.until(lambda: _played(tradier, "silent"))
            await world.until(lambda: _is_connected(feed, before + 1))
            await world.agree(watcher, "AAPL", tradier.pin("AAPL", "200.05"))


async def _is_connected(feed: TradierFeed, times: int) -> bool:
    return feed.connections >= times
