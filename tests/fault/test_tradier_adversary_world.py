"""Somebody trades at Tradier's website in the account that we trade in, over real sockets: copies, changes, cancels, and what midnight takes (E12, E18, K6)."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from tests.fault.tradier_kept import referee_for
from tests.fault.tradier_paths import accepted, resting, up
from tests.ledger_world import books
from tests.tradier_world import TradierWorld, tradier_world

_DAY_US = 86_400_000_000


class Shifted(SystemClock):
    """The machine's clock, until a test says that it is later."""

    later_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.later_us


@pytest.fixture
def clock() -> Shifted:
    return Shifted()


@pytest.fixture
async def world(
    sqlite_url: str, tmp_path: Path, template: Path, clock: Shifted
) -> AsyncIterator[TradierWorld]:
    async with tradier_world(sqlite_url, tmp_path, template, clock=clock, wish={"sandbox": True}) as one:
        yield one


def form(order: dict[str, Any], **changes: str) -> dict[str, str]:
    """An order of ours as somebody would type it at the website, tag and all."""
    return {
        "class": "equity", "symbol": order["symbol"], "side": order["side"], "quantity": str(order["qty"]),
        "type": order["type"], "duration": order["time_in_force"], "price": str(order["limit_price"]),
        "tag": order["client_order_id"],
    } | changes  # fmt: skip


async def orders_of(world: TradierWorld, symbol: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        await world.owner.get("/api/trading/orders", params={"status": "all"})
    ).json()["data"]
    return [one for one in rows if one["symbol"] == symbol]


async def same_books(world: TradierWorld) -> None:
    """Until both sides' books are equal. That a tag came twice is what these tests do themselves."""
    await world.quiesce()
    referee = referee_for(world)

    async def equal() -> bool:
        wrong = await referee.differences()
        return not [one for one in wrong if not one.startswith(("sent once:", "accepted once:"))]

    await world.until(equal)


async def test_E18_an_order_that_somebody_copies_with_its_tag_is_one_of_its_own(world: TradierWorld) -> None:
    (ours,) = await resting(world, "JNJ")
    await world.by_hand("POST", "/orders", data=form(await world.order(ours["id"])))

    async def both() -> bool:
        return len(await orders_of(world, "JNJ")) == 2

    await world.until(both)
    world.pin("JNJ", up(Decimal(str(ours["limit_price"])), "0.99"))
    await world.until_status(ours["id"], "FILLED")

    async def filled() -> bool:
        return {one["status"] for one in await orders_of(world, "JNJ")} == {"FILLED"}

    await world.until(filled)
    found = {one["origin"]: one["filled_qty"] for one in await orders_of(world, "JNJ")}
    assert found == {"ours": 3, "external": 3}
    await same_books(world)


async def test_E12_an_order_in_doubt_whose_tag_somebody_copies_is_the_first_of_the_two(
    world: TradierWorld,
) -> None:
    at = world.pin("PG")
    limit = float(up(at, "0.80"))
    world.fault("answer_lost", on="submit")
    world.fault("slow", on="list", next=3, params={"after_ms": 1300})
    wanted = {"symbol": "PG", "side": "buy", "qty": 3, "type": "limit", "limit_price": limit}
    answer = await world.owner.execute(wanted)
    (order,) = answer.json()["orders"]
    await world.by_hand("POST", "/orders", data=form(await world.order(order["id"])))

    async def both() -> bool:
        rows = await orders_of(world, "PG")
        return len(rows) == 2 and {one["state"] for one in rows} == {"ACCEPTED"}

    await world.until(both)
    rows = {one["origin"]: int(one["broker_order_id"]) for one in await orders_of(world, "PG")}
    assert rows["ours"] < rows["external"]
    world.sim.faults.remove()
    await same_books(world)


async def test_K06_a_halt_cancels_what_others_have_placed_and_exits_by_their_own_ids(
    world: TradierWorld,
) -> None:
    at = world.pin("DIS")
    (entry,) = await accepted(
        world,
        {
            "symbol": "DIS", "side": "buy", "qty": 6, "type": "limit", "limit_price": float(at), "time_in_force": "gtc",
            "take_profit": {"limit_price": float(up(at, "1.10"))}, "stop_loss": {"stop_price": float(up(at, "0.90"))},
        },
    )  # fmt: skip
    await world.until_status(entry["id"], "FILLED")
    (ours,) = await resting(world, "JNJ")
    await world.by_hand("POST", "/orders", data=form(await world.order(ours["id"])))
    wish = {"halt": True, "reason": "out", "scope": "global", "cancel": True}
    told = (await world.owner.post("/api/admin/kill", json=wish)).json()

    async def done() -> bool:
        nonlocal told
        told = (await world.owner.get("/api/admin/kill")).json()
        return not told["receipt"]["pending"]

    await world.until(done)
    assert await world.working() == []
    assert {one["outcome"] for one in told["cancels"]} == {"done"}
    await same_books(world)


async def test_E12_the_sandbox_forgets_a_partly_filled_and_changed_order_and_it_ends_as_what_it_was(
    world: TradierWorld, clock: Shifted
) -> None:
    (old,) = await resting(world, "JNJ", qty=60)
    price = Decimal(str(old["limit_price"]))
    # One with each tick.
    world.pin("JNJ", price, size=1)

    async def some() -> bool:
        return bool((await world.order(old["id"]))["filled_qty"] >= 1)

    await world.until(some)
    world.pin("JNJ", up(price, "1.10"))
    answer = await world.final(
        "PATCH", f"/api/trading/orders/{old['id']}", "midnight-replace-1",
        json={"limit_price": float(up(price, "0.95"))}, headers={"If-Match": "*"},
    )  # fmt: skip
    (new,) = answer["orders"]
    assert new["state"] == "ACCEPTED"
    done = (await world.until_status(old["id"], "REPLACED"))["filled_qty"]
    clock.later_us = _DAY_US

    async def over() -> list[dict[str, Any]]:
        # Past the service, whose sessions are over as well by that clock.
        (account,) = (one for one in (await books(world.db)).values() if one["orders"])
        rows = [one for one in account["orders"] if one["broker_order_id"] == new["broker_order_id"]]
        return rows if rows[0]["status"] in ("EXPIRED", "CANCELED") else []

    (row,) = await world.until(over)
    assert 0 < done < 60
    assert (row["qty"], row["filled_qty"]) == (60 - done, 0)
    (account,) = (one for one in (await books(world.db)).values() if one["orders"])
    assert {one["symbol"]: one["qty"] for one in account["positions"]} == {"JNJ": done}
