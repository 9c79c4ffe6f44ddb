"""Twenty minutes without the update stream, and a good deal of trading meanwhile: polls find it, or the reconnect brings
it, and everything is booked once."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from paiid.brokers.alpaca import AlpacaBroker
from paiid.sim.alpaca.ids import wire_id
from tests.alpaca_paths import resting, up
from tests.alpaca_world import AlpacaWorld, alpaca_world
from tests.moved_clock import MovedClock

TEN_MINUTES_S = 600.0


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path, template: Path) -> AsyncIterator[AlpacaWorld]:
    async with alpaca_world(sqlite_url, tmp_path, template, clock=MovedClock()) as one:
        yield one


def later(world: AlpacaWorld) -> None:
    """Ten minutes pass."""
    clock = world.app.state.clock
    assert isinstance(clock, MovedClock)
    clock.moved_s += TEN_MINUTES_S


class Meanwhile:
    """Orders from before the outage, and what becomes of them while it lasts."""

    def __init__(self, world: AlpacaWorld) -> None:
        self.world = world
        self.ids: dict[str, str] = {}
        self.unseen = ""
        """The client id of somebody else's order that came and went while nobody could see it."""

    async def begin(self) -> None:
        """Five orders that work: one is to fill whole, one in part, one is to be cancelled, one is a bracket, and one
        is to go on as it is."""
        for name, symbol in (("whole", "JNJ"), ("part", "PG"), ("cancelled", "WMT"), ("unmoved", "KO")):
            # Of what is to fill in part there is more than comes in some ticks.
            (order,) = await resting(self.world, symbol, qty=60 if name in ("whole", "part") else 3)
            self.ids[name] = order["broker_order_id"]
        at = self.world.pin("DIS")
        (entry,) = await self.world.execute(
            {
                "symbol": "DIS", "side": "buy", "qty": 3, "type": "limit", "limit_price": float(up(at, "0.80")),
                "time_in_force": "gtc", "take_profit": {"limit_price": float(up(at, "1.10"))},
                "stop_loss": {"stop_price": float(up(at, "0.50"))},
            }
        )  # fmt: skip
        self.ids["entry"] = entry["broker_order_id"]
        await self.world.agree()

    async def first_half(self) -> None:
        """Fills, a cancel by hand, and orders of somebody else."""
        world = self.world
        world.pin("JNJ", up(world.price("JNJ"), "0.80"), size=1)
        await world.until_there(self.ids["whole"], "PARTIALLY_FILLED")
        world.pin("JNJ", world.price("JNJ"))
        world.pin("PG", up(world.price("PG"), "0.80"), size=1)
        await world.by_hand("DELETE", f"/v2/orders/{self.ids['cancelled']}")
        await world.until_there(self.ids["whole"], "FILLED")
        await world.until_there(self.ids["part"], "PARTIALLY_FILLED")
        # No more of it, whatever the market does in the next ten minutes.
        world.pin("PG", up(world.price("PG"), "1.25"))
        await world.until_there(self.ids["cancelled"], "CANCELED")

    async def second_half(self) -> None:
        """The bracket's entry fills, which brings its exits to life; somebody else's orders come and go."""
        world = self.world
        world.pin("DIS", up(world.price("DIS"), "0.80"))
        await world.until_there(self.ids["entry"], "FILLED")
        world.pin("XOM")
        body = {"symbol": "XOM", "qty": "2", "side": "buy", "type": "market", "time_in_force": "day"}
        filled = (await world.by_hand("POST", "/v2/orders", json=body)).json()["id"]
        await world.until_there(filled, "FILLED")
        body |= {"type": "limit", "limit_price": "1.00", "time_in_force": "gtc"}
        made = (await world.by_hand("POST", "/v2/orders", json=body)).json()
        gone, self.unseen = made["id"], made["client_order_id"]
        await world.by_hand("DELETE", f"/v2/orders/{gone}")
        await world.until_there(gone, "CANCELED")
        self.ids |= {"stranger": filled, "come and gone": gone}

    async def statuses(self) -> dict[str, Any]:
        """How our ledger shows them."""
        rows = {row["broker_order_id"]: row for row in (await self.world.referee.read()).our_orders}
        return {name: rows[one]["status"] if one in rows else None for name, one in self.ids.items()}


BEFORE = {"whole": "NEW", "part": "NEW", "cancelled": "NEW", "unmoved": "NEW", "entry": "NEW"}
FIRST_HALF = {**BEFORE, "whole": "FILLED", "part": "PARTIALLY_FILLED", "cancelled": "CANCELED"}
SECOND_HALF = {**FIRST_HALF, "entry": "FILLED", "stranger": "FILLED"}


async def until_found(meanwhile: Meanwhile, expected: dict[str, str]) -> None:
    """Until the ledger shows at least this."""

    async def found() -> bool:
        now = await meanwhile.statuses()
        return all(now[name] == status for name, status in expected.items())

    await meanwhile.world.until(found)


async def agree(meanwhile: Meanwhile) -> None:
    """Both sides, but for the order that came and went unseen: no list and no print tells of it any more, and it has
    moved nothing."""
    await meanwhile.world.quiesce()

    async def same() -> bool:
        wrong = await meanwhile.world.referee.differences()
        return not [one for one in wrong if meanwhile.unseen not in one]

    await meanwhile.world.until(same)


def connected(world: AlpacaWorld) -> bool:
    broker = world.broker
    assert isinstance(broker, AlpacaBroker)
    return broker.stream_state[0].connected


async def assert_booked_once(world: AlpacaWorld, meanwhile: Meanwhile) -> None:
    """At the end of it all: equal in everything, no print twice, and trading goes on."""
    await agree(meanwhile)
    both = await world.referee.read()
    ids = [row["execution_id"] for row in both.our_prints]
    # How many there are is the market's: it shows its size again with each tick.
    assert len(set(ids)) == len(ids) == len(both.their_prints) >= 5
    found = await meanwhile.statuses()
    assert {name: found[name] for name in SECOND_HALF} == SECOND_HALF
    exits = [row for row in both.our_orders if row["group_role"] in ("take_profit", "stop_loss")]
    assert [row["status"] for row in exits] == ["NEW", "NEW"]
    strangers = {row["broker_order_id"] for row in both.our_orders if row["origin"] == "external"}
    missed = {wire_id(row["id"]) for row in both.their_orders} - {
        r["broker_order_id"] for r in both.our_orders
    }
    assert meanwhile.ids["stranger"] in strangers
    assert missed <= {meanwhile.ids["come and gone"]}
    world.owner = await world.app.owner()
    (order,) = await world.execute({"symbol": "XOM", "side": "buy", "qty": 1})
    assert order["state"] == "ACCEPTED"
    await world.until_there(order["broker_order_id"], "FILLED")
    await agree(meanwhile)


async def test_E18_polls_find_what_a_stream_that_is_out_for_twenty_minutes_does_not_tell(
    world: AlpacaWorld,
) -> None:
    meanwhile = Meanwhile(world)
    await meanwhile.begin()
    await world.stream.cut()
    later(world)
    await meanwhile.first_half()
    await until_found(meanwhile, FIRST_HALF)
    later(world)
    await meanwhile.second_half()
    await until_found(meanwhile, SECOND_HALF)
    assert not connected(world)
    await world.stream.mend()
    await world.until_listened_to()
    await assert_booked_once(world, meanwhile)


async def test_E18_after_twenty_minutes_without_a_word_of_any_kind_the_reconnect_brings_all(
    world: AlpacaWorld,
) -> None:
    meanwhile = Meanwhile(world)
    await meanwhile.begin()
    await world.stream.cut()
    await world.rest.cut()
    later(world)
    await meanwhile.first_half()
    later(world)
    await meanwhile.second_half()
    found = await meanwhile.statuses()
    assert {name: found[name] for name in BEFORE} == BEFORE, "told on a line that was cut"
    assert not connected(world)
    await world.rest.mend()
    await world.stream.mend()
    await assert_booked_once(world, meanwhile)


def _listens(world: AlpacaWorld) -> Callable[[], Awaitable[bool]]:
    """Whether another connection has taken the place of the silent one."""

    async def listens() -> bool:
        return connected(world) and bool(world.sim.hub.audience.counts)

    return listens


@pytest.mark.parametrize("deaf", [False, True], ids=["answers pings", "answers nothing"])
async def test_E18_a_socket_that_stays_open_and_says_nothing_is_found_out_and_given_up(
    deaf: bool, world: AlpacaWorld
) -> None:
    meanwhile = Meanwhile(world)
    await meanwhile.begin()
    world.fault("silent", params={"deaf": deaf})
    await meanwhile.first_half()
    await world.until_played(0)
    await until_found(meanwhile, FIRST_HALF)
    later(world)
    await meanwhile.second_half()
    await until_found(meanwhile, SECOND_HALF)
    await assert_booked_once(world, meanwhile)
    await world.until(_listens(world))
