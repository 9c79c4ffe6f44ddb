"""The whole service with Tradier's token and nothing else: every price, bar and contract is Tradier's, and nothing is invented."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paiid.brokers import Broker
from paiid.brokers.tradier import TradierBroker
from paiid.core.clock import SystemClock
from paiid.domain.calendar import AlwaysOpen, ExchangeHours
from paiid.feeds.configured import configured_feed
from paiid.wires.governor import Governors
from tests.feed_world import CENT, FeedWorld, Tradier, brisk, feed_world, tradier_on
from tests.world import make_settings


@pytest.fixture
async def tradier(tmp_path: Path, template: Path) -> AsyncIterator[Tradier]:
    async with tradier_on(tmp_path / "sim", template) as one:
        yield one


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path, tradier: Tradier) -> AsyncIterator[FeedWorld]:
    """As the environment would make it: a token and an address."""
    async with feed_world(sqlite_url, tmp_path / "data", **tradier.settings()) as one:
        yield one


async def test_everything_that_is_told_of_the_market_is_tradiers(world: FeedWorld, tradier: Tradier) -> None:
    ask = tradier.pin("AAPL", "200.05")
    quotes = await world.get("/api/market/quotes?symbols=AAPL,SPY,BRK.B")
    assert [(one["symbol"], one["source"]) for one in quotes] == [
        ("AAPL", "tradier"), ("SPY", "tradier"), ("BRK.B", "tradier"),
    ]  # fmt: skip
    assert (quotes[0]["bid"], quotes[0]["ask"]) == (ask - CENT, ask)
    assert all(one["last"] > 0 and not one["stale"] and not one["delayed"] for one in quotes)
    bars = await world.get("/api/market/bars/SPY?timeframe=1Day&limit=5")
    assert (bars["source"], len(bars["bars"])) == ("tradier", 5)
    found = await world.get("/api/market/search?q=aapl")
    assert (found[0]["symbol"], found[0]["source"]) == ("AAPL", "tradier")
    indices = await world.get("/api/market/indices")
    assert {one["source"] for one in indices} == {"tradier"}
    assert (await world.get("/api/market/clock"))["source"] == "tradier"
    async with world.watching("AAPL", "BRK.B") as watcher:
        await watcher.feed("up", source="tradier")
        await world.agree(watcher, "AAPL", tradier.pin("AAPL", "201.10"))
        await world.agree(watcher, "BRK.B", tradier.pin("BRK.B", "480.10"))
    detailed = (await world.get("/api/health/detailed"))["market_data"]
    assert (detailed["source"], detailed["status"]) == ("tradier", "up")
    assert (await world.owner.get("/api/market/quotes?symbols=ZZZZZ")).status_code == 422
    assert set(tradier.statuses) == {200}


async def test_the_built_in_paper_account_trades_at_tradiers_quotes(
    world: FeedWorld, tradier: Tradier
) -> None:
    ask = tradier.pin("AAPL", "200.05")
    paper = await world.account("paper")
    order = await world.order(paper, qty=3)
    assert order["state"] == "ACCEPTED", order
    filled = await world.owner.wait_filled(order["id"], timeout_s=20)
    assert (filled["status"], Decimal(str(filled["filled_avg_price"]))) == ("FILLED", ask)
    tradier.pin("AAPL", "210.01")

    async def valued() -> bool:
        (held,) = await world.get(f"/api/portfolio/positions?account={paper}")
        assert held["source"] == "tradier"
        return bool(held["current_price"] == Decimal("210.005"))

    await world.until(valued)
    dear = await world.order(paper, qty=10_000)
    assert dear["reason"]["code"] == "notional_limit", "ten thousand of them at that price"


async def test_an_order_at_tradier_is_checked_against_tradiers_quotes(
    world: FeedWorld, tradier: Tradier
) -> None:
    ask = tradier.pin("AAPL", "200.05")
    account = await world.account("tradier")
    far = await world.order(account, type="limit", limit_price=500)
    assert far["state"] == "REFUSED", far
    assert far["reason"]["code"] == "price_collar", far
    order = await world.order(account, qty=2)
    assert order["state"] == "ACCEPTED", order
    filled = await world.owner.wait_filled(order["id"], timeout_s=20)
    assert Decimal(str(filled["filled_avg_price"])) == ask
    (held,) = await world.get(f"/api/portfolio/positions?account={account}")
    assert (held["symbol"], held["source"]) == ("AAPL", "tradier")


async def test_contracts_are_listed_quoted_and_traded_as_tradier_has_them(
    world: FeedWorld, tradier: Tradier
) -> None:
    days = await world.get("/api/options/expirations/SPY")
    assert len(days) > 3
    assert {one["source"] for one in days} == {"tradier"}
    chain = await world.get(f"/api/options/chains/SPY?expiration={days[2]['date']}")
    assert chain["source"] == "tradier"
    assert chain["underlying_price"] > 0
    near = min(chain["calls"], key=lambda one: abs(one["strike_price"] - chain["underlying_price"]))
    assert near["ask"] > 0
    quote = await world.rest_quote(near["symbol"])
    assert (quote["source"], quote["ask"] > 0) == ("tradier", True)
    for broker in ("paper", "tradier"):
        order = await world.order(await world.account(broker), symbol=near["symbol"], qty=1, type="market")
        assert order["state"] == "ACCEPTED", order
        assert (await world.owner.wait_filled(order["id"], timeout_s=20))["status"] == "FILLED"
    async with world.watching(near["symbol"], "SPY") as watcher:
        assert watcher.reader.newest[f"quotes:{near['symbol']}"]["source"] == "tradier"


async def test_without_real_market_data_nothing_is_ordered_at_a_real_broker(
    sqlite_url: str, tmp_path: Path, tradier: Tradier
) -> None:
    def real(broker: Broker) -> Broker:
        """Its address is on this machine; everything else of it is as with Tradier's own."""
        if isinstance(broker, TradierBroker):
            broker.simulated = False
        return broker

    settings = {**tradier.settings(), "market_data": "simulated"}
    async with feed_world(sqlite_url, tmp_path / "data", wrap_broker=real, **settings) as world:
        account = await world.account("tradier")
        order = await world.order(account)
        assert (order["state"], order["reason"]["code"]) == ("REFUSED", "no_market_data")
        assert (await world.order(await world.account("paper")))["state"] == "ACCEPTED"


@pytest.mark.parametrize(
    ("url", "sim_hours", "hours", "delayed"),
    [
        ("https://api.tradier.com/v1", "always", ExchangeHours, False),
        ("https://sandbox.tradier.com/v1", "always", ExchangeHours, True),
        ("http://127.0.0.1:8791/v1", "always", AlwaysOpen, False),
        ("http://127.0.0.1:8791/v1", "exchange", ExchangeHours, False),
    ],
)
def test_a_real_market_has_the_exchanges_hours_and_a_simulated_one_its_own(
    tmp_path: Path, url: str, sim_hours: str, hours: type, delayed: bool
) -> None:
    settings = make_settings(
        "", tmp_path, testing=False, market_data="tradier", sim_hours=sim_hours, tradier_api_base_url=url,
        tradier_api_key="test-token-0001",
    )  # fmt: skip
    feed, found = configured_feed(settings, SystemClock(), Governors(SystemClock()))
    assert (feed.source, type(found), feed.delayed) == ("tradier", hours, delayed)


async def test_the_sandbox_says_of_everything_that_it_is_late(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with (
        tradier_on(tmp_path / "sandbox", template, sandbox=True) as tradier,
        brisk(sqlite_url, tmp_path, tradier, sandbox=True) as world,
    ):

        async def fresh() -> dict[str, Any] | None:
            found = await world.rest_quote("AAPL")
            return None if found["stale"] else found

        # Here a quote is good for a second, and a slow machine may take longer to tell it.
        quote = await world.until(fresh)
        assert (quote["source"], quote["delayed"]) == ("tradier", True)
        async with world.watching("AAPL", "SPY") as watcher:
            await watcher.feed("up", source="tradier")
            first = await watcher.quote("AAPL", lambda quote: not quote["stale"])
            assert first["delayed"] is True
            await watcher.quote("AAPL", lambda quote: quote["as_of"] > first["as_of"])
        assert not tradier.ledger("market_session"), "there is no stream to ask for"
        order = await world.order(await world.account("paper"))
        assert order["state"] == "ACCEPTED", "by what is known, late as it is"
