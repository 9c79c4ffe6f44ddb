"""The whole service with Alpaca's keys and nothing else: every price, bar, contract and value is Alpaca's, and nothing is invented."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from paiid.brokers import Broker
from paiid.brokers.alpaca import AlpacaBroker
from paiid.core.clock import SystemClock
from paiid.domain.calendar import AlwaysOpen, ExchangeHours
from paiid.feeds.configured import configured_feed
from paiid.wires.governor import Governors
from tests.feed_world import CENT, Alpaca, FeedWorld, alpaca_on, feed_world
from tests.world import make_settings


@pytest.fixture
async def alpaca(tmp_path: Path, template: Path) -> AsyncIterator[Alpaca]:
    async with alpaca_on(tmp_path / "sim", template) as one:
        yield one


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path, alpaca: Alpaca) -> AsyncIterator[FeedWorld]:
    """As the environment would make it: two keys and an address."""
    async with feed_world(sqlite_url, tmp_path / "data", **alpaca.settings()) as one:
        yield one


async def test_everything_that_is_told_of_the_market_is_alpacas(world: FeedWorld, alpaca: Alpaca) -> None:
    ask = alpaca.pin("AAPL", "200.05")
    quotes = await world.get("/api/market/quotes?symbols=AAPL,SPY,QQQ")
    assert [one["source"] for one in quotes] == ["alpaca"] * 3
    assert (quotes[0]["bid"], quotes[0]["ask"]) == (ask - CENT, ask)
    assert all(one["prev_close"] > 0 and one["last"] > 0 and not one["stale"] for one in quotes)
    bars = await world.get("/api/market/bars/SPY?timeframe=1Day&limit=5")
    assert (bars["source"], len(bars["bars"])) == ("alpaca", 5)
    found = await world.get("/api/market/search?q=aapl")
    assert (found[0]["symbol"], found[0]["source"]) == ("AAPL", "alpaca")
    indices = await world.get("/api/market/indices")
    assert {one["source"] for one in indices} == {"alpaca"}
    assert (await world.get("/api/market/clock"))["source"] == "alpaca"
    async with world.watching("AAPL", "SPY") as watcher:
        await watcher.feed("up", source="alpaca")
        ask = alpaca.pin("AAPL", "201.10")
        await world.agree(watcher, "AAPL", ask)
    detailed = (await world.get("/api/health/detailed"))["market_data"]
    assert (detailed["source"], detailed["status"]) == ("alpaca", "up")
    assert (await world.owner.get("/api/market/quotes?symbols=ZZZZZ")).status_code == 422


async def test_the_built_in_paper_account_trades_at_alpacas_quotes(world: FeedWorld, alpaca: Alpaca) -> None:
    ask = alpaca.pin("AAPL", "200.05")
    paper = await world.account("paper")
    order = await world.order(paper, qty=3)
    assert order["state"] == "ACCEPTED", order
    filled = await world.owner.wait_filled(order["id"])
    assert (filled["status"], Decimal(str(filled["filled_avg_price"]))) == ("FILLED", ask)
    alpaca.pin("AAPL", "210.01")

    async def valued() -> bool:
        (held,) = await world.get(f"/api/portfolio/positions?account={paper}")
        assert held["source"] == "alpaca"
        return bool(held["current_price"] == Decimal("210.005"))

    await world.until(valued)
    dear = await world.order(paper, qty=10_000)
    assert dear["reason"]["code"] == "notional_limit", "ten thousand of them at that price"


async def test_an_order_at_alpaca_is_checked_against_alpacas_quotes(world: FeedWorld, alpaca: Alpaca) -> None:
    ask = alpaca.pin("AAPL", "200.05")
    account = await world.account("alpaca")
    far = await world.order(account, type="limit", limit_price=500)
    assert far["state"] == "REFUSED", far
    assert far["reason"]["code"] == "price_collar", far
    order = await world.order(account, qty=2)
    assert order["state"] == "ACCEPTED", order
    filled = await world.owner.wait_filled(order["id"])
    assert Decimal(str(filled["filled_avg_price"])) == ask
    (held,) = await world.get(f"/api/portfolio/positions?account={account}")
    assert (held["symbol"], held["source"]) == ("AAPL", "alpaca")


async def test_contracts_are_listed_quoted_and_traded_as_alpaca_has_them(
    world: FeedWorld, alpaca: Alpaca
) -> None:
    days = await world.get("/api/options/expirations/SPY")
    assert len(days) > 3
    assert {one["source"] for one in days} == {"alpaca"}
    chain = await world.get(f"/api/options/chains/SPY?expiration={days[2]['date']}")
    assert chain["source"] == "alpaca"
    assert chain["underlying_price"] > 0
    near = min(chain["calls"], key=lambda one: abs(one["strike_price"] - chain["underlying_price"]))
    assert near["ask"] > 0
    quote = await world.rest_quote(near["symbol"])
    assert (quote["source"], quote["ask"] > 0) == ("alpaca", True)
    paper = await world.account("paper")
    order = await world.order(paper, symbol=near["symbol"], qty=1, type="market")
    assert order["state"] == "ACCEPTED", order
    assert (await world.owner.wait_filled(order["id"]))["status"] == "FILLED"
    async with world.watching(near["symbol"], "SPY") as watcher:
        assert watcher.reader.newest[f"quotes:{near['symbol']}"]["source"] == "alpaca"


async def test_without_real_market_data_nothing_is_ordered_at_a_real_broker(
    sqlite_url: str, tmp_path: Path, alpaca: Alpaca
) -> None:
    def real(broker: Broker) -> Broker:
        """Its address is on this machine; everything else of it is as with Alpaca's own."""
        if isinstance(broker, AlpacaBroker):
            broker.simulated = False
        return broker

    settings = {**alpaca.settings(), "market_data": "simulated"}
    async with feed_world(sqlite_url, tmp_path / "data", wrap_broker=real, **settings) as world:
        account = await world.account("alpaca")
        order = await world.order(account)
        assert (order["state"], order["reason"]["code"]) == ("REFUSED", "no_market_data")
        assert (await world.order(await world.account("paper")))["state"] == "ACCEPTED"


@pytest.mark.parametrize(
    ("url", "sim_hours", "hours"),
    [
        ("https://data.alpaca.markets", "always", ExchangeHours),
        ("http://127.0.0.1:8010", "always", AlwaysOpen),
        ("http://127.0.0.1:8010", "exchange", ExchangeHours),
    ],
)
def test_a_real_market_has_the_exchanges_hours_and_a_simulated_one_its_own(
    tmp_path: Path, url: str, sim_hours: str, hours: type
) -> None:
    settings = make_settings(
        "", tmp_path, testing=False, market_data="alpaca", sim_hours=sim_hours, alpaca_data_base_url=url,
        alpaca_paper_api_key="PKTEST0001", alpaca_paper_secret_key="test-secret-1",
    )  # fmt: skip
    feed, found = configured_feed(settings, SystemClock(), Governors(SystemClock()))
    assert (feed.source, type(found)) == ("alpaca", hours)
