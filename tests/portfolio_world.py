"""A portfolio in a test's hands: an app with a broker and a feed, prices and positions set by hand."""

from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, insert, update

from paiid.core.db import statement
from paiid.core.tables import accounts, positions
from paiid.domain.quotes import Quote
from paiid.portfolio.store import Day, keep_days
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.market_world import FakeFeed
from tests.orders_world import QUICK, until
from tests.world import App, Client

_POSITION = statement(insert(positions))


class PortfolioWorld:
    """An app with a broker and a feed in hand, and its owner."""

    def __init__(self, app: App, broker: FakeBroker, feed: FakeFeed, owner: Client) -> None:
        self.app, self.broker, self.feed, self.owner = app, broker, feed, owner

    def quote(self, symbol: str, bid: str, ask: str, age_s: float = 0.0) -> Quote:
        """The newest quote of a symbol, as old as said."""
        as_of_us = self.app.state.clock.now_us() - int(age_s * 1_000_000)
        return self.feed.set(symbol, bid, ask, as_of_us=as_of_us)

    async def fill(self, symbol: str, side: str, qty: int, price: str) -> None:
        """An order that is executed whole, and booked."""
        answer = await self.owner.execute({"symbol": symbol, "side": side, "qty": qty})
        assert answer.json()["accepted"], answer.text
        order = answer.json()["orders"][0]
        self.broker.fill(order["broker_order_id"], str(qty), price)
        assert (await self.owner.wait_filled(order["id"], 20.0))["status"] == "FILLED"

    async def get(self, path: str) -> Any:
        """The parsed answer."""
        answer = await self.owner.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json(parse_float=Decimal)

    async def hold(self, symbol: str, qty: int, cost: int) -> None:
        """A position in contracts, as its prints would have left it; cost in dollars."""
        async with self.app.state.db.begin() as tx:
            await tx.execute(
                _POSITION,
                {
                    "account_id": (await self.get("/api/account"))["id"], "symbol": symbol, "asset_class": "option",
                    "qty": qty * 10**9, "cost_basis": cost * 10**6, "realized_pl": 0, "open_buy_qty": 0,
                    "open_buy_value": 0, "open_sell_qty": 0, "open_sell_value": 0, "version": 1, "updated_at": 1,
                },
            )  # fmt: skip

    async def set_account(self, **values: int) -> None:
        """Change columns of the account's row."""
        account = (await self.get("/api/account"))["id"]
        change = statement(update(accounts).where(accounts.c.id == bindparam("b_id")), columns=list(values))
        async with self.app.state.db.begin() as tx:
            await tx.execute(change, {"b_id": account, **values})

    async def keep_day(self, equity: str) -> None:
        """What the account was worth at the last roll."""
        account = (await self.get("/api/account"))["id"]
        rolled_us = self.app.state.market.hours.previous_roll_us(self.app.state.clock.now_us())
        async with self.app.state.db.begin() as tx:
            await keep_days(tx, [Day(account, "2026-01-02", Decimal(equity), Decimal(equity), rolled_us)])


async def portfolio_world(make_app: MakeApp) -> PortfolioWorld:
    """Ten AAPL bought at 100 and five MSFT sold short at 50; AAPL is worth 111 now, MSFT 40."""
    broker, feed = FakeBroker(), FakeFeed()
    # A quote must not grow stale because the machine is busy.
    feed.resend_interval_s = 60.0
    app = await make_app(broker=broker, feed=feed, timings=QUICK)
    world = PortfolioWorld(app, broker, feed, await app.owner())

    async def compared() -> bool:
        return (await world.get("/api/account"))["reconciled_at"] is not None

    # The first comparison with the broker writes into the account; the next comes a minute later.
    await until(compared)
    world.quote("AAPL", "99", "101")
    world.quote("MSFT", "49", "51")
    await world.fill("AAPL", "buy", 10, "100")
    await world.fill("MSFT", "sell", 5, "50")
    world.quote("AAPL", "110", "112")
    world.quote("MSFT", "39", "41")
    return world
