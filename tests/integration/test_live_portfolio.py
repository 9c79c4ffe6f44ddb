"""A portfolio is told anew as its symbols tick: the very numbers of REST, without a query a tick, and never an invented price."""

import json
from decimal import Decimal
from typing import Any, cast

import pytest
from sqlalchemy import bindparam, update

from paiid.core.clock import SystemClock
from paiid.core.db import Database, DatabaseUnavailable, statement
from paiid.core.tables import accounts
from paiid.market.board import Board
from paiid.market.demand import Demand
from paiid.portfolio.live import LivePortfolio
from paiid.portfolio.service import PortfolioService
from paiid.stream.events import Event, Place
from tests.channel_world import Counting, Replica, replica
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.market_world import FakeFeed
from tests.orders_world import QUICK, until
from tests.world import App, Client

NEVER_S = 600.0
_STATUS = statement(
    update(accounts).where(accounts.c.id == bindparam("b_id")), columns=["options_level", "version"]
)


class Floor:
    """An app with a feed and a broker in hand, and a live portfolio over its database whose every step the test makes."""

    def __init__(
        self,
        app: App,
        broker: FakeBroker,
        feed: FakeFeed,
        owner: Client,
        account: str,
        reload_s: float = NEVER_S,
    ) -> None:
        self.app, self.broker, self.feed, self.owner, self.account = app, broker, feed, owner, account
        state = app.state
        self.counting = Counting(state.db)
        self.one: Replica = replica(cast("Database", self.counting), SystemClock())
        self.board, self.demand = Board(), Demand(SystemClock())
        service = PortfolioService(
            cast("Database", self.counting),
            state.accounts,
            state.market,
            state.portfolio._brokers,
            state.portfolio.greeks,
        )
        self.live = LivePortfolio(
            service,
            self.one.journal,
            self.board,
            self.demand,
            self.one.hub.as_hub,
            SystemClock(),
            reload_s=reload_s,
        )
        self.channel = f"portfolio:{account}"

    def quote(self, symbol: str, bid: str, ask: str) -> None:
        """A tick: in the feed's memory, and on the board."""
        # It stays fresh for a minute: on a slow machine an order may come a while after the quote that it needs.
        quote = self.feed.set(symbol, bid, ask, as_of_us=self.app.state.clock.now_us() + 60_000_000)
        self.board.show(quote, 1, quote.sequence)

    async def fill(self, symbol: str, side: str, qty: int, price: str) -> None:
        """An order that is executed whole, and booked."""
        answer = await self.owner.execute({"symbol": symbol, "side": side, "qty": qty})
        assert answer.json()["accepted"], answer.text
        order = answer.json()["orders"][0]
        self.broker.fill(order["broker_order_id"], str(qty), price)
        await self.owner.wait_filled(order["id"], 20.0)

    async def turn(self) -> None:
        """What the background does each quarter of a second."""
        await self.one.journal.look()
        await self.live.read_moved()
        await self.live.value_dirty()

    async def rest(self) -> dict[str, Any]:
        """What REST answers now, in the channel's shape."""
        summary = await self.owner.get(f"/api/portfolio/summary?account={self.account}")
        held = await self.owner.get(f"/api/portfolio/positions?account={self.account}")
        return {
            "account": self.account,
            "summary": json.loads(summary.content, parse_float=Decimal),
            "positions": json.loads(held.content, parse_float=Decimal),
        }

    def told(self) -> list[Event]:
        """The messages so far."""
        return self.one.hub.events(self.channel)


def parsed(event: Event) -> Any:
    """The message's content."""
    return json.loads(event.data, parse_float=Decimal)


async def make_floor(make_app: MakeApp, **parts: Any) -> Floor:
    """Ten AAPL bought at 100 and five MSFT sold short at 50; the channel is open and its first message known."""
    broker, feed = FakeBroker(), FakeFeed()
    app = await make_app(broker=broker, feed=feed, timings=QUICK)
    owner = await app.owner()
    account = (await owner.get("/api/account")).json()["id"]
    floor = Floor(app, broker, feed, owner, account, **parts)

    async def compared() -> bool:
        return (await owner.get("/api/account")).json()["reconciled_at"] is not None

    # The first comparison of the books writes to the account too; the next is a minute away.
    await until(compared)
    floor.quote("AAPL", "99", "101")
    floor.quote("MSFT", "49", "51")
    await floor.fill("AAPL", "buy", 10, "100")
    await floor.fill("MSFT", "sell", 5, "50")
    await floor.live.open(account)
    await floor.turn()
    return floor


@pytest.fixture
async def floor(make_app: MakeApp) -> Floor:
    """See `make_floor`."""
    return await make_floor(make_app)


async def test_S4_every_message_has_the_numbers_that_rest_answers_at_the_same_quote(floor: Floor) -> None:
    (first,) = (await floor.live.catch_up(floor.account, None)).events
    assert parsed(first) == await floor.rest()
    assert (first.type, first.channel, first.sequence) == ("portfolio_update", floor.channel, 1)
    for bid, ask in (("110", "112"), ("110.000001", "110.000002"), ("95.5", "96.5")):
        floor.quote("AAPL", bid, ask)
        await floor.live.value_dirty()
        assert parsed(floor.told()[-1]) == await floor.rest()
    assert [e.sequence for e in floor.told()] == [2, 3, 4]
    assert {e.epoch for e in floor.told()} == {first.epoch}
    assert first.epoch > 1_700_000_000_000_000, "the start of the replica, in microseconds"


async def test_S4_ticks_between_two_messages_become_one_and_none_costs_a_query(floor: Floor) -> None:
    floor.counting.statements = 0
    for n in range(200):
        floor.quote("AAPL", f"{100 + n}", f"{102 + n}")
        floor.quote("MSFT", f"{40 + n}", f"{42 + n}")
        floor.quote("NVDA", "1", "2")
    await floor.live.read_moved()
    await floor.live.value_dirty()
    await floor.live.value_dirty()
    (event,) = floor.told()
    prices = {one["symbol"]: one["current_price"] for one in parsed(event)["positions"]}
    assert prices == {"AAPL": 300, "MSFT": 240}
    assert floor.counting.statements == 0
    floor.quote("NVDA", "3", "4")
    await floor.live.value_dirty()
    assert len(floor.told()) == 1, "what is not held changes nothing"
    floor.board.show(floor.feed.newest("AAPL"), 1, 999)  # type: ignore[arg-type]
    await floor.live.value_dirty()
    assert len(floor.told()) == 1, "a tick that changes no number is no message"


async def test_S4_a_fill_is_told_after_the_accounts_channel_has_moved(floor: Floor) -> None:
    await floor.turn()
    before = len(floor.told())
    floor.counting.statements = 0
    await floor.fill("AAPL", "buy", 5, "101")
    floor.quote("NVDA", "20", "22")
    await floor.fill("NVDA", "buy", 1, "21")
    await floor.turn()
    told = floor.told()
    assert len(told) == before + 1
    assert parsed(told[-1]) == await floor.rest()
    assert {one["symbol"]: one["qty"] for one in parsed(told[-1])["positions"]} == {
        "AAPL": 15,
        "MSFT": -5,
        "NVDA": 1,
    }
    assert floor.counting.statements < 8
    assert sorted(floor.demand.subscribed()) == ["AAPL", "MSFT", "NVDA"]
    await floor.fill("AAPL", "sell", 15, "101")
    await floor.turn()
    assert sorted(floor.demand.subscribed()) == ["MSFT", "NVDA"], "what is held no more is followed no more"
    floor.quote("AAPL", "1", "2")
    await floor.live.value_dirty()
    assert parsed(floor.told()[-1]) == await floor.rest()


async def test_S5_a_missing_price_is_null_and_named_and_comes_back_with_the_first_quote(floor: Floor) -> None:
    quote = floor.feed.newest("MSFT")
    assert quote is not None
    floor.feed.unlist("MSFT")
    floor.board.show(quote, 1, 50)
    await floor.live.value_dirty()
    told = parsed(floor.told()[-1])
    assert told == await floor.rest()
    assert (told["summary"]["missing_prices"], told["summary"]["total_value"]) == (["MSFT"], None)
    assert told["positions"][1]["current_price"] is None
    floor.quote("MSFT", "39", "41")
    await floor.live.value_dirty()
    told = parsed(floor.told()[-1])
    assert told == await floor.rest()
    assert (told["summary"]["missing_prices"], told["positions"][1]["current_price"]) == ([], 40)


async def test_S2_who_comes_back_gets_the_newest_unless_he_has_seen_just_that(floor: Floor) -> None:
    floor.quote("AAPL", "110", "112")
    await floor.live.value_dirty()
    epoch = floor.told()[-1].epoch
    given = await floor.live.catch_up(floor.account, Place(epoch, 1))
    assert (given.reset, given.place, given.events) == (None, Place(epoch, 2), (floor.told()[-1],))
    assert (await floor.live.catch_up(floor.account, Place(epoch, 2))).events == ()
    for since in (Place(epoch - 1, 2), Place(epoch, 3), Place(epoch, -1), Place(2**80, 0)):
        given = await floor.live.catch_up(floor.account, since)
        assert given.reset is not None
        assert given.events == (floor.told()[-1],)


async def test_what_moves_no_channel_is_found_by_reading_again_now_and_then(make_app: MakeApp) -> None:
    floor = await make_floor(make_app, reload_s=0.0)
    before = len(floor.told())
    await floor.turn()
    assert len(floor.told()) == before, "the same again is no message"
    async with floor.app.state.db.begin() as tx:
        await tx.execute(_STATUS, {"b_id": floor.account, "options_level": 1, "version": 10**6})
    await floor.live.read_moved()
    await floor.live.value_dirty()
    told = parsed(floor.told()[-1])
    assert (told["summary"]["options_level"], told) == (1, await floor.rest())


async def test_without_the_database_ticks_go_on_and_the_books_are_read_when_it_is_back(floor: Floor) -> None:
    floor.counting.away = True
    floor.quote("AAPL", "110", "112")
    await floor.live.value_dirty()
    assert parsed(floor.told()[-1]) == await floor.rest()
    await floor.fill("MSFT", "buy", 5, "50")
    floor.live._moved.add(floor.account)
    with pytest.raises(DatabaseUnavailable):
        await floor.live.read_moved()
    floor.counting.away = False
    await floor.live.read_moved()
    await floor.live.value_dirty()
    assert parsed(floor.told()[-1]) == await floor.rest()


async def test_a_closed_channel_costs_nothing_and_one_that_is_not_there_is_a_key_error(floor: Floor) -> None:
    with pytest.raises(KeyError):
        await floor.live.open("nowhere")
    floor.counting.away = True
    with pytest.raises(DatabaseUnavailable):
        await floor.live.open("elsewhere")
    floor.counting.away = False
    assert list(floor.one.journal._watches) == [floor.account]
    before = len(floor.told())
    floor.live.close(floor.account)
    assert (floor.demand.subscribed(), floor.live._holders, floor.one.journal._watches) == ([], {}, {})
    floor.quote("AAPL", "200", "202")
    floor.counting.statements = 0
    await floor.turn()
    assert (len(floor.told()), floor.counting.statements) == (before, 0)
