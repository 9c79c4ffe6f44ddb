"""Midnight in New York, when Tradier's list of orders begins anew: an order in doubt stays in doubt, one that works or has
ended unseen is followed, and one that is forgotten ends where the positions agree (E12, ADR 0025)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import time, timedelta
from pathlib import Path
from typing import Any

from paiid.core.clock import SystemClock
from paiid.core.db import Row
from paiid.domain.calendar import eastern_date, eastern_us
from paiid.trading.forgotten import FORGOTTEN_WORDS
from paiid.trading.resolve import settle_by_owner
from tests.alpaca_world import BRISK
from tests.fault.tradier_kept import agree, end, referee_for
from tests.fault.tradier_paths import resting, until_venue, up
from tests.moved_clock import MovedClock
from tests.tradier_world import TradierWorld, tradier_world
from tests.world import fresh_key

PATIENT = replace(BRISK, horizon_s=60.0)
"""Nothing is given up before the day changes, however slow the machine."""


@asynccontextmanager
async def at_night(url: str, directory: Path, template: Path, **how: Any) -> AsyncIterator[TradierWorld]:
    """It begins at noon in New York: an order of the day that is placed after four belongs to the next one, and outlives midnight."""
    clock = MovedClock()
    now_us = clock.now_us()
    noon_us = eastern_us(eastern_date(now_us) + timedelta(days=1), time(12))
    clock.moved_s += (noon_us - now_us) / 1_000_000
    async with tradier_world(url, directory, template, clock=clock, **how) as world:
        yield world


async def midnight(world: TradierWorld) -> None:
    """It is one o'clock of the next day in New York; whoever was signed in signs in again."""
    clock = world.app.state.clock
    assert isinstance(clock, MovedClock)
    now_us = clock.now_us()
    next_us = eastern_us(eastern_date(now_us) + timedelta(days=1), time(1))
    clock.moved_s += (next_us - now_us) / 1_000_000
    world.owner = await world.app.owner()


async def row_of(world: TradierWorld, order: dict[str, Any]) -> Row:
    """As it stands in our ledger."""
    both = await referee_for(world).read()
    (found,) = [row for row in both.our_orders if row["id"] == order["id"]]
    return found


async def test_E12_an_order_in_doubt_when_the_day_changes_stays_so_until_the_owner_settles_it(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with at_night(sqlite_url, tmp_path, template, timings=PATIENT) as world:
        world.fault("not_placed_500", on="submit")
        wanted = {"orders": [{"symbol": "KO", "side": "buy", "qty": 2}]}
        key = fresh_key()
        answer = await world.owner.post("/api/trading/execute", json=wanted, headers={"Idempotency-Key": key})
        (order,) = answer.json()["orders"]
        assert (answer.status_code, order["state"]) == (202, "UNKNOWN")
        await midnight(world)
        before = (await row_of(world, order))["lookup_count"]

        async def looked_up_again() -> bool:
            return bool((await row_of(world, order))["lookup_count"] > before + 1)

        # The horizon is long over, and the list of the new day does not have it: which proves nothing.
        await world.until(looked_up_again)
        assert (await row_of(world, order))["state"] == "UNKNOWN"
        settled = await settle_by_owner(world.db, SystemClock(), order["id"], False, lambda *_: None)
        assert settled is not None
        told = await world.final("POST", "/api/trading/execute", key, json=wanted)
        assert [one["state"] for one in told["orders"]] == ["NOT_PLACED"]
        await end(world)


async def test_E18_what_works_over_midnight_at_tradier_is_followed_on(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with at_night(sqlite_url, tmp_path, template) as world:
        (fills,), (canceled,) = await resting(world, "JNJ", "gtc"), await resting(world, "PG", "gtc")
        (expires,) = await resting(world, "WMT")
        await agree(world)
        await midnight(world)
        await world.until_status(expires["id"], "EXPIRED")
        world.pin("JNJ", up(world.price("JNJ"), "0.80"))
        await until_venue(world, fills, "FILLED")
        await world.until_status(fills["id"], "FILLED")
        answer = await world.owner.delete(f"/api/trading/orders/{canceled['id']}")
        assert answer.status_code in (200, 202), answer.text
        await world.until_status(canceled["id"], "CANCELED")
        world.asked.clear()
        await end(world)


async def test_E18_what_ended_unseen_before_midnight_is_found_among_the_orders_of_the_day_before(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with at_night(sqlite_url, tmp_path, template) as world:
        (fills,), (canceled,) = await resting(world, "JNJ"), await resting(world, "PG")
        await agree(world)
        await world.stream.cut()
        await world.rest.cut()
        world.pin("JNJ", up(world.price("JNJ"), "0.80"))
        await until_venue(world, fills, "FILLED")
        await world.by_hand("DELETE", f"/orders/{canceled['broker_order_id']}")
        await until_venue(world, canceled, "CANCELED")
        await midnight(world)
        assert (await world.order(fills["id"]))["status"] == "NEW"
        await world.rest.mend()
        await world.stream.mend()
        await world.until_status(fills["id"], "FILLED")
        await world.until_status(canceled["id"], "CANCELED")
        world.asked.clear()
        await end(world)


async def test_E12_an_order_that_a_sandbox_forgets_ends_where_the_positions_agree(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with at_night(sqlite_url, tmp_path, template, wish={"sandbox": True}) as world:
        (order,) = await resting(world, "JNJ")
        await agree(world)
        await midnight(world)
        found = await world.until_status(order["id"], "EXPIRED")
        assert FORGOTTEN_WORDS in str(found["reason"]), found
        (told,) = await world.execute({"symbol": "KO", "side": "buy", "qty": 1})
        assert told["state"] == "ACCEPTED", told


async def test_E12_an_order_that_filled_in_part_before_a_sandbox_forgot_it_is_not_taken_for_ended(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with at_night(sqlite_url, tmp_path, template, wish={"sandbox": True}) as world:
        # More than comes in some ticks.
        (order,) = await resting(world, "JNJ", qty=60)
        await agree(world)
        await world.stream.cut()
        await world.rest.cut()
        world.pin("JNJ", up(world.price("JNJ"), "0.80"), size=1)
        await until_venue(world, order, "PARTIALLY_FILLED")
        await midnight(world)
        await world.rest.mend()
        await world.stream.mend()

        async def blocked() -> Any:
            rows = (await world.owner.get("/api/accounts")).json()
            return next(one for one in rows if one["id"] == world.account)["reconcile_problem"]

        assert "JNJ" in str(await world.until(blocked))
        assert (await world.order(order["id"]))["status"] == "NEW"
