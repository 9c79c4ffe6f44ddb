"""Quotes from the board to clients: the leader's numbers, the newest first, demand while somebody wants it."""

from decimal import Decimal

import pytest

from paiid.domain.quotes import Quote
from paiid.market.board import Board
from paiid.market.demand import Demand
from paiid.stream.events import Place
from paiid.stream.hub import Hub
from paiid.stream.quotes import QuoteChannels
from tests.fake_clock import FakeClock
from tests.stream_world import FakeSink


class World:
    """A board that a test writes on, and a hub."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.hub = Hub(self.clock)
        self.board = Board()
        self.demand = Demand(self.clock)
        self.quotes = QuoteChannels(self.hub, self.board, self.demand, delayed=lambda: False)

    def show(self, sequence: int, epoch: int = 5, *, stale: bool = False) -> None:
        price, size = Decimal("10.10"), Decimal(100)
        self.board.show(
            Quote("A", price, price, size, size, price, price, 1, sequence, "test", stale), epoch, sequence
        )

    async def told(self, since: Place | None = None) -> FakeSink:
        sink = FakeSink()
        await self.hub.subscribe(self.hub.attach(sink), "quotes:A", since)
        return sink

    def flush(self) -> None:
        self.hub.flush()
        self.hub.flush()


@pytest.fixture
def world() -> World:
    return World()


async def test_S2_a_subscriber_gets_the_newest_at_once_and_then_what_comes(world: World) -> None:
    world.show(7)
    sink = await world.told()
    world.show(8)
    world.show(9, stale=True)
    world.flush()
    told = sink.told("quotes:A")
    assert [(one["epoch"], one["sequence"], one["merged"]) for one in told] == [(5, 7, 0), (5, 9, 1)]
    assert [one["data"]["stale"] for one in told] == [False, True]


async def test_what_nobody_wants_is_not_demanded(world: World) -> None:
    sink = FakeSink()
    subscriber = world.hub.attach(sink)
    await world.hub.subscribe(subscriber, "quotes:A", None)
    assert world.demand.subscribed() == ["A"]
    world.hub.detach(subscriber)
    assert world.demand.subscribed() == []


@pytest.mark.parametrize(
    ("since", "told"),
    [
        (Place(5, 7), []),
        (Place(5, 4), [("market_data", 7, 2)]),
        (Place(4, 7), [("reset", 6, "epoch"), ("market_data", 7, 0)]),
        (Place(5, 9), [("reset", 6, "unknown_place"), ("market_data", 7, 0)]),
        (Place(5, -9), [("reset", 6, "unknown_place"), ("market_data", 7, 0)]),
    ],
)
async def test_S2_resuming_gives_the_newest_or_says_why_not(
    world: World, since: Place, told: list[tuple[str, int, object]]
) -> None:
    world.show(7)
    sink = await world.told(since)
    assert [
        (one["type"], one["sequence"], one.get("merged", one.get("reason"))) for one in sink.messages
    ] == told


async def test_S2_a_place_of_a_symbol_without_a_quote_is_reset(world: World) -> None:
    assert (await world.told(Place(5, 3))).messages[0]["reason"] == "no_quote_yet"
    assert (await world.told()).messages == []


async def test_S6_a_change_of_leader_is_told_before_his_first_quote(world: World) -> None:
    world.show(7)
    sink = await world.told()
    world.board.clear()
    world.quotes.begin_epoch(6, "leader")
    world.show(3, epoch=6)
    world.flush()
    reset, quote = sink.messages[-2:]
    assert (reset["type"], reset["channel"], reset["epoch"]) == ("reset", "quotes:*", 6)
    assert (quote["epoch"], quote["sequence"], quote["merged"]) == (6, 3, 0)
