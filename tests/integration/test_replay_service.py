"""The whole service over a recording: the market is open while it plays, orders fill at what was recorded, and then it is over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from tests.fakes import FakeBroker
from tests.feed_world import FeedWorld, feed_world
from tests.moved_clock import MovedClock

FIRST = "2013-10-08T13:30:00.000000Z"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Ten minutes of SPY, one quote a second, a cent more in each minute."""
    lines = ["time_et,symbol,bid,bid_size,ask,ask_size"]
    for second in range(601):
        minute = second // 60
        bid = Decimal("166.95") + Decimal("0.01") * minute
        at = f"2013-10-08T09:{30 + minute:02}:{second % 60:02}"
        lines.append(f"{at},SPY,{bid},100,{bid + Decimal('0.05')},100")
    path = tmp_path / "recorded.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@asynccontextmanager
async def playing(url: str, directory: Path, recording: Path, clock: SystemClock) -> AsyncIterator[FeedWorld]:
    settings: dict[str, Any] = {"market_data": "replay", "replay_file": recording, "replay_speed": 10.0}
    async with feed_world(url, directory / "data", clock=clock, **settings) as world:
        yield world


async def test_while_it_plays_the_market_is_open_and_orders_fill_at_recorded_prices(
    sqlite_url: str, tmp_path: Path, recording: Path
) -> None:
    async with playing(sqlite_url, tmp_path, recording, MovedClock()) as world:
        clock = await world.get("/api/market/clock")
        assert (clock["is_open"], clock["source"]) == (True, "replay")
        async with world.watching("SPY") as watcher:
            told = watcher.reader.newest["quotes:SPY"]
            later = await watcher.quote("SPY", lambda one: one["recorded_at"] > told["recorded_at"])
            assert FIRST <= told["recorded_at"] < later["recorded_at"] < "2013-10-08T13:40:01"
            assert later["last"] is later["prev_close"] is later["change"] is None
            assert later["source"] == "replay"
            rest = await world.rest_quote("SPY")
            assert (rest["recorded_at"] >= later["recorded_at"], rest["as_of"] > "2026") == (True, True)
        paper = await world.account("paper")
        order = await world.order(paper, symbol="SPY", qty=3)
        assert order["state"] == "ACCEPTED", order
        filled = await world.owner.wait_filled(order["id"])
        assert filled["status"] == "FILLED"
        assert 167 <= filled["filled_avg_price"] <= 167.1
        (held,) = await world.get(f"/api/portfolio/positions?account={paper}")
        assert held["source"] == "replay"
        assert Decimal("166.97") <= held["current_price"] <= Decimal("167.1"), "the middle of bid and ask"
        assert held["lastday_price"] is None
        bars = await world.get("/api/market/bars/SPY?timeframe=1Min")
        assert {one["volume"] for one in bars["bars"]} == {0}


async def test_when_it_has_ended_the_market_is_closed_until_it_is_played_anew(
    sqlite_url: str, tmp_path: Path, recording: Path
) -> None:
    clock = MovedClock()
    async with playing(sqlite_url, tmp_path, recording, clock) as world:
        paper = await world.account("paper")
        await world.owner.wait_filled((await world.order(paper, symbol="SPY"))["id"])
        clock.moved_s = 90.0
        assert (await world.get("/api/market/clock"))["is_open"] is False
        refused = await world.order(paper, symbol="SPY")
        assert (refused["state"], refused["reason"]["code"]) == ("REFUSED", "market_closed")
        (held,) = await world.get(f"/api/portfolio/positions?account={paper}")
        assert held["current_price"] == Decimal("167.075"), "the last quote stands"
        rest = await world.rest_quote("SPY")
        assert (rest["recorded_at"], rest["stale"]) == ("2013-10-08T13:40:00.000000Z", False)
    async with playing(sqlite_url, tmp_path, recording, clock) as world:
        assert (await world.get("/api/market/clock"))["is_open"] is True
        assert (await world.rest_quote("SPY"))["recorded_at"] < "2013-10-08T13:35:00"
        again = await world.order(paper, symbol="SPY")
        assert again["state"] == "ACCEPTED"
        filled = await world.owner.wait_filled(again["id"])
        assert filled["filled_avg_price"] < 167.05
        (held,) = await world.get(f"/api/portfolio/positions?account={paper}")
        assert held["qty"] == 2


async def test_nothing_recorded_prices_an_order_at_a_real_broker(
    sqlite_url: str, tmp_path: Path, recording: Path
) -> None:
    settings: dict[str, Any] = {"market_data": "replay", "replay_file": recording, "replay_speed": 10.0}
    async with feed_world(
        sqlite_url, tmp_path / "data", wrap_broker=lambda _: FakeBroker(), **settings
    ) as world:
        assert world.app.state.market.prices_for(simulated=False) is False
