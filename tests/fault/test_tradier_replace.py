"""Changes in place that cross what is still under way: a look-up from before, and a change that was given up, must not be
taken for what a later change has made of the order (ADR 0024)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paiid.brokers import Broker, BrokerOrderView
from tests.alpaca_world import BRISK
from tests.fault.tradier_kept import end
from tests.fault.tradier_paths import resting, up
from tests.tradier_world import TradierWorld, tradier_world
from tests.world import fresh_key


class LateLookups:
    """Passes everything on; look-ups by our id are held until they are let go, and tell what is there then."""

    def __init__(self, inner: Broker) -> None:
        self._inner = inner
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.asked = 0
        self.answered = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        self.asked += 1
        await self.let_go.wait()
        found = await self._inner.fetch_order(account_number, client_order_id, timeout_s)
        self.answered += found is not None
        return found


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path, template: Path) -> AsyncIterator[TradierWorld]:
    # What was given up is looked at often.
    timings = replace(BRISK, watch_lookup_s=0.1)
    async with tradier_world(sqlite_url, tmp_path, template, timings=timings, meddle=LateLookups) as one:
        yield one


async def changed(world: TradierWorld, order: dict[str, Any], **change: Any) -> dict[str, Any]:
    """What a change of the order comes to."""
    path = f"/api/trading/orders/{order['id']}"
    answer = await world.final("PATCH", path, fresh_key(), json=change, headers={"If-Match": "*"})
    (told,) = answer["orders"]
    assert isinstance(told, dict)
    return told


async def no_alarm(world: TradierWorld) -> None:
    """The account is not blocked, and trades."""
    (account,) = [
        one for one in (await world.owner.get("/api/accounts")).json() if one["id"] == world.account
    ]
    assert account["reconcile_problem"] is None
    (order,) = await world.execute({"symbol": "KO", "side": "buy", "qty": 1})
    assert order["state"] == "ACCEPTED", order


@pytest.mark.parametrize("change", ["limit_price", "time_in_force"])
async def test_E12_a_look_up_that_comes_back_after_a_change_in_place_is_no_other_order(
    change: str, world: TradierWorld
) -> None:
    broker = world.broker
    assert isinstance(broker, LateLookups)
    at = world.pin("JNJ")
    broker.let_go.clear()
    world.fault("answer_lost", on="submit")
    world.fault("garbage", on="list", next=4)
    price = up(at, "0.80")
    wanted = {"symbol": "JNJ", "side": "buy", "qty": 3, "type": "limit", "limit_price": float(price)}
    # Its answer is lost, its look-up waits, and the list tells it.
    (order,) = await world.execute(wanted)
    assert (order["state"], order["status"]) == ("ACCEPTED", "NEW")
    assert broker.asked > 0
    new = await changed(world, order, **{change: "gtc" if change == "time_in_force" else float(price + 1)})
    assert new["state"] == "ACCEPTED", new
    broker.let_go.set()

    async def answered() -> bool:
        return broker.answered > 0

    await world.until(answered)
    await no_alarm(world)
    old = await world.order(order["id"])
    assert (old["status"], old["replaced_by"]) == ("REPLACED", new["id"])
    await end(world)


async def test_E12_a_change_that_was_given_up_is_not_taken_for_a_later_one_with_the_same_terms(
    world: TradierWorld,
) -> None:
    (order,) = await resting(world, "JNJ")
    price = float(up(Decimal(str(order["limit_price"])), "1.02"))
    world.fault("not_placed_500", on="replace")
    first = await changed(world, order, limit_price=price)
    assert first["state"] == "NOT_PLACED", first
    # While this one is under way, and nothing is listed, the order shows what the first one wanted.
    before = world.played()
    world.fault("garbage", on="list", rate=1.0)
    second = await changed(world, order, limit_price=price)
    assert world.played() > before
    world.sim.faults.remove()
    assert second["state"] == "ACCEPTED", second
    assert (await world.order(first["id"]))["state"] == "NOT_PLACED"
    assert (await world.order(order["id"]))["replaced_by"] == second["id"]
    await no_alarm(world)
    await end(world)


async def test_E12_a_change_that_was_given_up_and_comes_after_all_is_found(world: TradierWorld) -> None:
    (order,) = await resting(world, "JNJ")
    price = float(up(Decimal(str(order["limit_price"])), "1.02"))
    # Longer than the horizon, and than a busy machine needs to see it pass.
    world.fault("late_accept", on="replace", params={"delay_ms": int(BRISK.horizon_s * 1000) + 4000})
    first = await changed(world, order, limit_price=price)
    assert first["state"] == "NOT_PLACED", first

    async def corrected() -> bool:
        return bool((await world.order(first["id"]))["state"] == "ACCEPTED")

    await world.until(corrected)
    assert (await world.order(order["id"]))["replaced_by"] == first["id"]
    # Loudly: nobody knew of it, so the account is halted until somebody has looked.
    (refused,) = (await world.owner.execute({"symbol": "KO", "side": "buy", "qty": 1})).json()["orders"]
    assert refused["reason"]["code"] == "trading_halted", refused
