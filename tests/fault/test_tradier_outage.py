"""Twenty minutes without the account stream of Tradier, or without a word of any kind, and a good deal of trading meanwhile:
looks find it, or the reconnect brings it, and everything is booked once."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paiid.sim.tradier.account_stream import AccountStreamOptions
from tests.fault.tradier_kept import agree, referee_for
from tests.fault.tradier_paths import resting, until_venue, up
from tests.moved_clock import MovedClock
from tests.tradier_world import BRISK_LOOKS, TradierWorld, tradier_world

TEN_MINUTES_S = 600.0
LISTENS = replace(BRISK_LOOKS, silence_s=2.0)


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path, template: Path) -> AsyncIterator[TradierWorld]:
    wish = {"stream": AccountStreamOptions(heartbeat_s=0.4)}
    how: dict[str, Any] = {"clock": MovedClock(), "wish": wish, "looks": LISTENS}
    async with tradier_world(sqlite_url, tmp_path, template, **how) as one:
        yield one


def later(world: TradierWorld) -> None:
    """Ten minutes pass."""
    clock = world.app.state.clock
    assert isinstance(clock, MovedClock)
    clock.moved_s += TEN_MINUTES_S


class Meanwhile:
    """Orders from before the outage, and what becomes of them while it lasts."""

    def __init__(self, world: TradierWorld) -> None:
        self.world = world
        self.orders: dict[str, dict[str, Any]] = {}

    async def begin(self) -> None:
        """Five orders that work: one is to fill whole, one in part, one is to be cancelled, one is a bracket, and one
        is to go on as it is."""
        for name, symbol in (("whole", "JNJ"), ("part", "PG"), ("cancelled", "WMT"), ("unmoved", "KO")):
            # Of what is to fill in part there is more than comes in some ticks.
            (self.orders[name],) = await resting(
                self.world, symbol, qty=60 if name in ("whole", "part") else 3
            )
        at = self.world.pin("DIS")
        (self.orders["entry"],) = await self.world.execute(
            {
                "symbol": "DIS", "side": "buy", "qty": 3, "type": "limit", "limit_price": float(up(at, "0.80")),
                "time_in_force": "gtc", "take_profit": {"limit_price": float(up(at, "1.10"))},
                "stop_loss": {"stop_price": float(up(at, "0.50"))},
            }
        )  # fmt: skip
        await agree(self.world)

    async def first_half(self) -> None:
        """Fills, and a cancel by hand."""
        world, orders = self.world, self.orders
        world.pin("JNJ", up(world.price("JNJ"), "0.80"), size=1)
        await until_venue(world, orders["whole"], "PARTIALLY_FILLED")
        world.pin("JNJ", world.price("JNJ"))
        world.pin("PG", up(world.price("PG"), "0.80"), size=1)
        await world.by_hand("DELETE", f"/orders/{orders['cancelled']['broker_order_id']}")
        await until_venue(world, orders["whole"], "FILLED")
        await until_venue(world, orders["part"], "PARTIALLY_FILLED")
        # No more of it, whatever the market does in the next ten minutes.
        world.pin("PG", up(world.price("PG"), "1.25"))
        await until_venue(world, orders["cancelled"], "CANCELED")

    async def second_half(self) -> None:
        """The bracket's entry fills, which brings its exits to life; somebody else's order comes and fills."""
        world = self.world
        world.pin("DIS", up(world.price("DIS"), "0.80"))
        await until_venue(world, self.orders["entry"], "FILLED")
        world.pin("XOM")
        form = {
            "class": "equity", "symbol": "XOM", "side": "buy", "quantity": "2", "type": "market", "duration": "day",
        }  # fmt: skip
        made = (await world.by_hand("POST", "/orders", data=form)).json()["order"]
        self.orders["stranger"] = {"broker_order_id": str(made["id"])}
        await until_venue(world, self.orders["stranger"], "FILLED")

    async def statuses(self) -> dict[str, Any]:
        """How our ledger shows them."""
        rows = {row["broker_order_id"]: row for row in (await referee_for(self.world).read()).our_orders}
        ids = {name: one["broker_order_id"] for name, one in self.orders.items()}
        return {name: rows[one]["status"] if one in rows else None for name, one in ids.items()}

    async def until_found(self, expected: dict[str, str]) -> None:
        """Until the ledger shows at least this."""

        async def found() -> bool:
            now = await self.statuses()
            return all(now[name] == status for name, status in expected.items())

        await self.world.until(found)


BEFORE = {"whole": "NEW", "part": "NEW", "cancelled": "NEW", "unmoved": "NEW", "entry": "NEW"}
FIRST_HALF = {**BEFORE, "whole": "FILLED", "part": "PARTIALLY_FILLED", "cancelled": "CANCELED"}
SECOND_HALF = {**FIRST_HALF, "entry": "FILLED", "stranger": "FILLED"}


async def assert_booked_once(world: TradierWorld, meanwhile: Meanwhile) -> None:
    """At the end of it all: equal in everything, no fill twice, and trading goes on."""
    # Whoever was signed in is so no more.
    world.asked.clear()
    await agree(world)
    both = await referee_for(world).read()
    found = await meanwhile.statuses()
    assert {name: found[name] for name in SECOND_HALF} == SECOND_HALF
    exits = [row for row in both.our_orders if row["group_role"] in ("take_profit", "stop_loss")]
    assert [row["status"] for row in exits] == ["NEW", "NEW"]
    strangers = {row["broker_order_id"] for row in both.our_orders if row["origin"] == "external"}
    assert strangers == {meanwhile.orders["stranger"]["broker_order_id"]}
    world.owner = await world.app.owner()
    (order,) = await world.execute({"symbol": "XOM", "side": "buy", "qty": 1})
    assert order["state"] == "ACCEPTED"
    await until_venue(world, order, "FILLED")
    await agree(world)


async def test_E18_looks_find_what_an_account_stream_that_is_out_for_twenty_minutes_does_not_tell(
    world: TradierWorld,
) -> None:
    meanwhile = Meanwhile(world)
    await meanwhile.begin()
    await world.stream.cut()
    later(world)
    await meanwhile.first_half()
    await meanwhile.until_found(FIRST_HALF)
    later(world)
    await meanwhile.second_half()
    await meanwhile.until_found(SECOND_HALF)
    assert not world.adapter.stream_state[0].connected
    await world.stream.mend()
    await world.until_listened_to()
    await assert_booked_once(world, meanwhile)


async def test_E18_after_twenty_minutes_without_a_word_from_tradier_the_reconnect_brings_all(
    world: TradierWorld,
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
    assert not world.adapter.stream_state[0].connected
    await world.rest.mend()
    await world.stream.mend()
    await assert_booked_once(world, meanwhile)


@pytest.mark.parametrize("deaf", [False, True], ids=["answers pings", "answers nothing"])
async def test_E18_an_account_stream_that_stays_open_and_says_nothing_is_found_out_and_given_up(
    deaf: bool, world: TradierWorld
) -> None:
    meanwhile = Meanwhile(world)
    await meanwhile.begin()
    since = world.adapter.stream_state[0].since_us
    await world.until_listened_to()
    world.fault("silent", params={"deaf": deaf})
    await meanwhile.first_half()
    await world.until_played(0)
    await meanwhile.until_found(FIRST_HALF)
    await meanwhile.second_half()
    await meanwhile.until_found(SECOND_HALF)

    async def connected_anew() -> bool:
        state = world.adapter.stream_state[0]
        return state.connected and state.since_us != since

    await world.until(connected_anew)
    await assert_booked_once(world, meanwhile)
