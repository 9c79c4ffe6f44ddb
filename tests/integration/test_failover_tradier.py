"""Tradier before Alpaca, as two tokens in the settings make it: simulators of both, and whoever is up tells the prices."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from paiid.feeds.configured import configured_feed
from paiid.feeds.failover import FailoverFeed
from paiid.wires.governor import Governors
from tests.alpaca_gate import Gate
from tests.feed_world import Alpaca, FeedWorld, Tradier, Watcher, alpaca_on, feed_world, tradier_on
from tests.world import make_settings


@dataclass
class Both:
    """Two simulators with different prices, and the line to the one of Tradier, which can be cut."""

    tradier: Tradier
    alpaca: Alpaca
    line: Gate
    settings: dict[str, Any]


@pytest.fixture
async def both(tmp_path: Path, template: Path) -> AsyncIterator[Both]:
    async with AsyncExitStack() as stack:
        tradier = await stack.enter_async_context(tradier_on(tmp_path / "tradier", template))
        alpaca = await stack.enter_async_context(alpaca_on(tmp_path / "alpaca", template))
        line = Gate(int(tradier.url.rpartition(":")[2]))
        await line.mend()
        stack.push_async_callback(line.cut)
        tradier.pin("AAPL", "200.05")
        alpaca.pin("AAPL", "300.05")
        near = Tradier(tradier.sim, f"http://127.0.0.1:{line.port}", tradier.directory, tradier.statuses)
        settings = {**alpaca.settings(), **near.settings(), "broker": "paper"}
        yield Both(tradier, alpaca, line, settings)


@asynccontextmanager
async def service(url: str, directory: Path, both: Both, **changes: Any) -> AsyncIterator[FeedWorld]:
    """As the environment would make it, but that a source is gone back to sooner."""
    async with feed_world(url, directory / "data", **{**both.settings, **changes}) as world:
        feed = world.app.state.market._feed
        assert isinstance(feed, FailoverFeed)
        feed._recovery_s = 1.0
        yield world


async def told_by(world: FeedWorld, watcher: Watcher, source: str, ask: str) -> None:
    """The price of one provider is what streams and answers tell."""
    await watcher.quote("AAPL", lambda one: (one["source"], str(one["ask"])) == (source, ask))

    async def asked() -> bool:
        rest = await world.rest_quote("AAPL")
        return (rest["source"], str(rest["ask"])) == (source, ask)

    await world.until(asked)


async def test_S5_alpaca_takes_over_from_tradier_when_it_is_down_and_gives_back(
    sqlite_url: str, tmp_path: Path, both: Both
) -> None:
    async with service(sqlite_url, tmp_path, both) as world, world.watching("AAPL", "SPY") as watcher:
        paper = await world.account("paper")
        await watcher.feed("up", source="tradier")
        assert (await world.rest_quote("AAPL"))["source"] == "tradier"
        for _ in range(2):
            since = len(watcher.heard)
            await both.line.cut()
            await watcher.feed("up", since, source="alpaca")
            await told_by(world, watcher, "alpaca", "300.05")
            order = await world.order(paper)
            assert order["state"] == "ACCEPTED", order
            filled = await world.owner.wait_filled(order["id"], timeout_s=20)
            assert str(filled["filled_avg_price"]) == "300.05"
            days = await world.get("/api/options/expirations/KO")
            assert {one["source"] for one in days} == {"alpaca"}
            since = len(watcher.heard)
            await both.line.mend()
            await watcher.feed("up", since, source="tradier")
            both.tradier.pin("AAPL", "200.07")
            await told_by(world, watcher, "tradier", "200.07")
            both.tradier.pin("AAPL", "200.05")
        sources = {one["source"] for one in watcher.heard if one["type"] == "market_data"}
        assert sources == {"tradier", "alpaca"}


async def test_S5_with_both_down_the_feed_is_down_and_whoever_comes_back_first_tells_the_prices(
    sqlite_url: str, tmp_path: Path, both: Both
) -> None:
    async with service(sqlite_url, tmp_path, both) as world, world.watching("AAPL") as watcher:
        since = len(watcher.heard)
        both.alpaca.fault("refuse_before", on="data", rate=1)
        both.alpaca.fault("connection_limit", rate=1)
        await both.line.cut()
        await watcher.feed("down", since)
        since = len(watcher.heard)
        both.alpaca.heal()
        await watcher.feed("up", since, source="alpaca")
        await told_by(world, watcher, "alpaca", "300.05")


async def test_a_stream_of_tradier_that_is_refused_is_no_reason_to_leave_it(
    sqlite_url: str, tmp_path: Path, both: Both
) -> None:
    """Another program has the session: it is asked instead, and its prices are as new as its answers."""
    both.tradier.fault("too_many_sessions", rate=1)
    async with service(sqlite_url, tmp_path, both) as world, world.watching("AAPL") as watcher:
        for price in ("200.07", "200.09", "200.11"):
            both.tradier.pin("AAPL", price)
            await told_by(world, watcher, "tradier", price)
        assert not both.tradier.sim.markets.connections
        assert {one["source"] for one in watcher.heard if one["type"] == "market_data"} == {"tradier"}


@pytest.mark.parametrize(
    ("market_data", "url", "order"),
    [
        ("tradier", "https://api.tradier.com/v1", ["tradier", "alpaca"]),
        ("tradier", "https://sandbox.tradier.com/v1", ["tradier", "alpaca"]),
        ("alpaca", "https://api.tradier.com/v1", ["alpaca", "tradier"]),
        ("alpaca", "https://sandbox.tradier.com/v1", ["alpaca", "tradier"]),
    ],
)
def test_the_source_that_is_named_comes_first_and_every_other_that_has_keys_after_it(
    tmp_path: Path, market_data: str, url: str, order: list[str]
) -> None:
    settings = make_settings(
        "", tmp_path, testing=False, market_data=market_data, tradier_api_base_url=url, tradier_api_key="test-token-0001",
        alpaca_paper_api_key="PKTEST0001", alpaca_paper_secret_key="test-secret-1",
    )  # fmt: skip
    feed, _ = configured_feed(settings, SystemClock(), Governors(SystemClock()))
    assert isinstance(feed, FailoverFeed)
    assert [member.feed.source for member in feed._members] == order
