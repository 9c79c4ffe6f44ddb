"""Sixty requests a minute, and everything that the users of one service want at once."""

import asyncio
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from paiid.core.loop_lag import LoopLag
from paiid.feeds.simulated.listing import LISTINGS
from paiid.feeds.tradier import TradierFeed
from paiid.sim.tradier.markets.days import Day, Days
from tests.feed_world import (
    FeedWorld,
    Tradier,
    feed_world,
    tradier_keys,
    tradier_on,
)

WATCHED = 40
BUDGET = 60
"""Requests a minute in each bucket: the sandbox's, and the least that any page of Tradier names."""
LONGER_THAN_A_WINDOW_S = 64.0
_BURST_SECOND = 20


class NoYears(Days):
    """The figures of a year are of no interest here, and forty of them take a processor as long as a window of the limits."""

    def _with_year(self, symbol: str, day: Day) -> Day:
        return day


@dataclass
class Minute:
    """A service under everything that its users want at once, for longer than one window of Tradier's limits."""

    world: FeedWorld
    tradier: Tradier
    account: str = ""
    orders: list[dict[str, Any]] = field(default_factory=list)
    lag: LoopLag = field(default_factory=LoopLag)
    chains: Counter[int] = field(default_factory=Counter)

    async def run(self, symbols: tuple[str, ...]) -> None:
        """Forty symbols are watched, half of them quiet; a dashboard asks every second, a chain is looked at, a burst of orders comes."""
        self.account = await self.world.account("tradier")
        for symbol in symbols[::2]:
            self.tradier.pin(symbol, "100.05")
        clock = SystemClock()
        await self.lag.start()
        async with self.world.watching(*symbols) as watcher:
            since, began_s, second = len(watcher.heard), clock.monotonic_s(), 0
            # On a slow machine a second's questions take longer than it: the burst comes all the same, and some time behind it.
            while clock.monotonic_s() - began_s < LONGER_THAN_A_WINDOW_S or second < _BURST_SECOND + 5:
                second += 1
                await self._a_second(symbols, second)
                await clock.sleep(1.0)
            await self.lag.stop()
            self._judge(watcher.heard[since:], symbols)
            await asyncio.gather(*(self._accepted(order) for order in self.orders))
            # Whatever was done to the budget, the next price comes.
            await watcher.quote(symbols[1], lambda quote: not quote["stale"])

    async def _a_second(self, symbols: tuple[str, ...], second: int) -> None:
        quotes = await self.world.get(f"/api/market/quotes?symbols={','.join(symbols)}")
        assert not any(one["stale"] for one in quotes)
        assert len(await self.world.get("/api/market/indices")) == 4
        if second % 10 == 5:
            answer = await self.world.owner.get("/api/options/chains/SPY")
            self.chains[answer.status_code] += 1
        if second == _BURST_SECOND:
            wanted = [self.world.order(self.account, symbol=symbol) for symbol in symbols[:24]]
            self.orders = await asyncio.gather(*wanted)

    async def _accepted(self, order: dict[str, Any]) -> None:
        """At once, or found to be so where a slow machine kept the answer: two windows of the limit are enough for a look."""
        state = order["state"]
        async with asyncio.timeout(130):
            while state == "UNKNOWN":
                await asyncio.sleep(1.0)
                state = (await self.world.get(f"/api/trading/orders/{order['id']}"))["state"]
        assert state == "ACCEPTED"

    def _judge(self, heard: list[dict[str, Any]], symbols: tuple[str, ...]) -> None:
        assert 429 not in self.tradier.statuses, self.tradier.statuses
        assert len(self.orders) == 24
        assert self.chains[200] > 0
        quotes = [one["data"] for one in heard if one["type"] == "market_data"]
        assert not [one for one in quotes if one["stale"]], "each is confirmed in time"
        told = {one["symbol"] for one in quotes}
        assert told >= set(symbols[1::2]), "everything that moves is told"
        feed = [one["data"]["feed"] for one in heard if one.get("channel") == "feed"]
        # A process that stands still takes its source for silent.
        stood_still_s = sum(total for _, _, total in self.lag.seconds.items())
        assert stood_still_s > LONGER_THAN_A_WINDOW_S / 8 or not [
            one for one in feed if one["status"] == "down"
        ], feed


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("sandbox", [False, True], ids=["stream", "sandbox"])
async def test_S5_forty_symbols_at_sixty_requests_a_minute_starve_nobody_and_ask_for_no_more_than_there_is(
    tmp_path: Path, template: Path, sandbox: bool
) -> None:
    """With the stream, and without one; as patient as with Tradier. One service at a time: it shares a loop with its simulator, for
    which a whole chain is work."""
    symbols = tuple(list(LISTINGS)[:WATCHED])
    assert len(symbols) == WATCHED
    async with tradier_on(tmp_path / "sim", template, sandbox=sandbox, rate_limit=BUDGET) as tradier:
        clock, side = SystemClock(), tradier.sim.markets.side
        side.days = NoYears(side.market, side.exchange.hours, clock, side.options.day_s)
        feed = TradierFeed(clock, tradier_keys(tradier.url), sandbox=True) if sandbox else None
        database = tmp_path / "service.db"
        shutil.copy(template, database)
        url = f"sqlite:///{database}"
        async with feed_world(url, tmp_path / "data", feed=feed, **tradier.settings()) as world:
            await Minute(world, tradier).run(symbols)
            assert bool(tradier.ledger("data_subscribe")) is not sandbox
