"""An order that needs a price goes only with one that is there and fresh; no risk input is ever made up (contract E17)."""

from typing import Any

import pytest

from paiid.core.clock import SystemClock
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.market_world import FakeFeed
from tests.orders_world import BUY, QUICK, Trading, until
from tests.world import fresh_key

MINUTE_US = 60_000_000
LIMIT: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 1, "type": "limit", "limit_price": 100}


class Market:
    """An app over a fake broker and a feed in the test's hand."""

    def __init__(self, trading: Trading, feed: FakeFeed) -> None:
        self.trading = trading
        self.feed = feed

    def fresh(self, symbol: str, bid: str = "99.99", ask: str = "100") -> None:
        """A quote of now."""
        self.feed.set(symbol, bid, ask, as_of_us=SystemClock().now_us() + MINUTE_US)

    def stale(self, symbol: str) -> None:
        """A quote of an hour ago."""
        self.feed.set(symbol, "99.99", "100", as_of_us=SystemClock().now_us() - 60 * MINUTE_US)

    async def refused(self, order: dict[str, Any], **body: Any) -> dict[str, Any]:
        """The reason why it is refused, which is final and sends nothing."""
        key, sent = fresh_key(), len(self.trading.broker.submitted)
        answer = await self.trading.owner.execute(order, key=key, **body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["accepted"] is False
        (one,) = answer.json()["orders"]
        assert one["state"] == "REFUSED"
        assert len(self.trading.broker.submitted) == sent
        again = await self.trading.owner.execute(order, key=key, **body)
        assert again.content == answer.content
        reason: dict[str, Any] = one["reason"]
        return reason


@pytest.fixture
async def market(make_app: MakeApp, broker: FakeBroker) -> Market:
    """AAPL and MSFT are listed, and nobody quotes them yet."""
    feed = FakeFeed("AAPL", "MSFT")
    feed.unquoted = True
    app = await make_app(broker=broker, feed=feed, timings=QUICK)
    return Market(Trading(app, broker, await app.owner()), feed)


@pytest.mark.parametrize("order", [BUY, LIMIT, {**BUY, "side": "sell"}], ids=["market", "limit", "sell"])
async def test_E17_without_a_price_the_order_is_refused_with_that_reason(
    market: Market, order: dict[str, Any]
) -> None:
    assert (await market.refused(order))["code"] == "no_price"


@pytest.mark.parametrize("order", [BUY, LIMIT, {**BUY, "side": "sell"}], ids=["market", "limit", "sell"])
async def test_E17_with_a_stale_price_the_order_is_refused_with_that_reason(
    market: Market, order: dict[str, Any]
) -> None:
    market.stale("AAPL")
    assert (await market.refused(order))["code"] == "stale_price"


@pytest.mark.parametrize(("bid", "ask", "side"), [("0", "0", "buy"), ("0", "0", "sell"), ("0", "5", "sell")])
async def test_E17_a_side_that_nobody_quotes_is_no_price(
    market: Market, bid: str, ask: str, side: str
) -> None:
    market.fresh("AAPL", bid, ask)
    assert (await market.refused({**BUY, "side": side}))["code"] == "no_price"
    resting = {**LIMIT, "side": side, "limit_price": 5}
    assert (await market.refused(resting))["code"] == "no_price"


async def test_E17_an_order_to_be_sized_needs_a_price_too(market: Market) -> None:
    sized = {"symbol": "AAPL", "side": "buy"}
    assert (await market.refused(sized))["code"] == "no_quantity"
    chosen = await market.trading.owner.post("/api/settings", json={"position_size": 1000})
    assert chosen.status_code == 200, chosen.text
    assert (await market.refused(sized))["code"] == "no_price"
    market.stale("AAPL")
    assert (await market.refused(sized))["code"] == "stale_price"
    market.fresh("AAPL", "0", "0")
    assert (await market.refused(sized))["code"] == "no_price"
    market.fresh("AAPL")
    answer = await market.trading.owner.execute(sized)
    assert answer.json()["orders"][0]["qty"] == 10
    assert answer.json()["accepted"] is True


async def test_E17_a_short_position_without_a_price_stops_every_order_that_needs_buying_power(
    market: Market,
) -> None:
    """What the short ties up is not known, so neither is what is left; getting out of it needs no such knowledge."""
    trading = market.trading
    market.fresh("AAPL")
    market.fresh("MSFT")
    await trading.hold("AAPL", -10)
    market.stale("AAPL")
    reason = await market.refused({**BUY, "symbol": "MSFT"})
    assert reason["code"] == "stale_price"
    assert "AAPL" in reason["message"]
    market.fresh("AAPL")

    async def goes() -> bool:
        return bool((await trading.owner.execute({**BUY, "symbol": "MSFT"})).json()["accepted"])

    await until(goes)


async def test_E17_the_second_order_of_a_call_is_checked_against_the_prices_of_its_turn(
    market: Market,
) -> None:
    """Fresh at the claim, stale when its turn comes: refused, and what is behind it skipped (E4)."""
    market.fresh("AAPL")

    async def grows_stale(broker: FakeBroker, order: Any) -> Any:
        market.stale("AAPL")
        return broker.place(order)

    market.trading.broker.scripts.append(grows_stale)
    answer = await market.trading.owner.execute(BUY, LIMIT, LIMIT)
    assert [one["state"] for one in answer.json()["orders"]] == ["ACCEPTED", "REFUSED", "SKIPPED"]
    assert answer.json()["orders"][1]["reason"]["code"] == "stale_price"
    assert len(market.trading.broker.submitted) == 1


async def test_E16_a_dry_run_says_that_the_price_is_missing(market: Market) -> None:
    before = await market.trading.everything()
    answer = await market.trading.owner.execute(BUY, dryRun=True)
    assert answer.status_code == 200
    assert answer.json()["orders"][0]["reason"]["code"] == "no_price"
    assert await market.trading.everything() == before


async def test_a_users_own_limits_tighten_and_never_loosen(market: Market) -> None:
    market.fresh("AAPL", "99.99", "100")
    owner = market.trading.owner
    for name, value, code in (
        ("max_order_qty", 9, "quantity_limit"),
        ("max_order_notional", 999, "notional_limit"),
        ("max_position_value", 999, "position_limit"),
    ):
        assert (await owner.post("/api/settings", json={name: value})).status_code == 200
        reason = await market.refused(BUY)
        assert reason["code"] == code
        assert float(reason["limit"]) == value
        assert (await owner.post("/api/settings", json={name: None})).status_code == 200
    assert (await owner.post("/api/settings", json={"max_order_qty": 10**8})).status_code == 200
    reason = await market.refused({**BUY, "qty": 200_000})
    assert (reason["code"], reason["limit"]) == ("quantity_limit", "100000")


async def test_E05_while_the_market_data_cannot_be_reached_the_answer_is_503_and_the_key_stays_free(
    market: Market,
) -> None:
    key = fresh_key()
    market.feed.down = "the vendor is away"
    before = await market.trading.counts()
    answer = await market.trading.owner.execute(BUY, key=key)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:paiid:problem:market-data-unavailable")
    assert await market.trading.counts() == before
    assert market.trading.broker.submitted == []
    market.feed.down = None
    market.fresh("AAPL")
    assert (await market.trading.owner.execute(BUY, key=key)).json()["accepted"] is True


async def test_the_first_order_in_a_symbol_has_its_quote_fetched(market: Market) -> None:
    market.feed.unquoted = False
    assert market.feed.newest("AAPL") is None
    answer = await market.trading.owner.execute({**LIMIT, "limit_price": 11}, dryRun=True)
    assert market.feed.newest("AAPL") is not None
    # Whether it is fresh is another question, and has another answer.
    (order,) = answer.json()["orders"]
    assert (order["reason"] or {}).get("code") != "no_price"
