"""A Tradier that does not take our token, and answers that are no use: the service stands, says so, and waits for nothing
without end."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from paiid.app import create_app
from tests.alpaca_world import BRISK
from tests.conftest import _running
from tests.fault import tradier_paths as paths
from tests.fault.tradier_kept import agree, end, referee_for
from tests.tradier_world import TradierWorld, brisk_broker, keys_of, tradier_world
from tests.world import App, Client, make_settings

BUY: dict[str, Any] = {"symbol": "INTC", "side": "buy", "qty": 1}
WRONG = "test-token-which-is-wrong-0000000001"


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path, template: Path) -> AsyncIterator[TradierWorld]:
    async with tradier_world(sqlite_url, tmp_path, template) as one:
        yield one


async def broker_state(who: Client) -> str:
    """What readiness says of the broker, once it says something of it being down."""
    assert (await who.get("/api/health/ready")).status_code == 200
    told = (await who.get("/api/health/ready/full")).json()["checks"]["broker"]
    return str(told["detail"]) if told["status"] == "down" else ""


async def test_a_start_with_a_wrong_token_is_ready_and_says_what_is_wrong_without_it(
    world: TradierWorld, sqlite_url: str, tmp_path: Path
) -> None:
    settings = make_settings(sqlite_url, tmp_path, broker="tradier")
    broker = brisk_broker(world.app.state.clock, keys_of(world.url, token=WRONG))
    application = create_app(settings, broker=broker, timings=BRISK, clock=world.app.state.clock)
    async with _running(application), App(application, settings) as app:
        owner = await app.owner()

        async def ready() -> bool:
            return (await owner.get("/api/health/ready")).status_code == 200

        # From then on it must be so.
        await world.until(ready)

        async def down() -> str:
            return await broker_state(owner)

        line = await world.until(down)
        assert "token" in line or "keys" in line, line
        assert WRONG not in line
        answer = await owner.execute(BUY)
        assert WRONG not in answer.text
    assert (await referee_for(world).read()).their_orders == []


async def test_E11_a_token_that_is_taken_back_costs_no_order_and_is_believed_again(
    world: TradierWorld,
) -> None:
    (resting,) = await paths.resting(world, "JNJ")
    user = world.sim.exchange.accounts._users.popitem()
    answer = await world.owner.execute(BUY)
    (order,) = answer.json()["orders"]
    # The refusal could not be confirmed: whoever takes no look-up may have taken the order.
    assert order["state"] in ("UNKNOWN", "REJECTED"), answer.text
    world.sim.exchange.accounts._users[user[0]] = user[1]

    async def settled() -> bool:
        return bool((await world.order(order["id"]))["state"] in ("NOT_PLACED", "REJECTED"))

    await world.until(settled)
    assert (await world.order(resting["id"]))["status"] == "NEW"
    (order,) = await world.execute(BUY)
    assert order["state"] == "ACCEPTED"
    await end(world)


async def test_E18_a_401_for_a_known_order_is_neither_its_end_nor_that_of_the_token(
    world: TradierWorld,
) -> None:
    (order,) = await paths.resting(world, "JNJ")
    before = world.played()
    world.fault("unauthorized_order", on="lookup", rate=1.0)
    # Nothing is listed either, so that it is asked for by itself.
    world.fault("lookup_lag", on="lookup", rate=1.0, params={"lag_ms": 600_000})
    await world.until_played(before)
    for _ in range(3):
        found = await world.adapter.fetch_order_by_id(world.number, order["broker_order_id"], 2.0)
        assert found is None
    assert (await world.order(order["id"]))["status"] == "NEW"
    assert (await world.owner.get("/api/health/ready/full")).json()["checks"]["broker"]["status"] == "up"
    world.sim.faults.remove()
    world.pin("JNJ", paths.up(world.price("JNJ"), "0.80"))
    await world.until_status(order["id"], "FILLED")
    await agree(world)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "huge", "on": "submit", "params": {"bytes": 50_000_000}},
        {"kind": "huge", "on": "list", "rate": 1.0, "params": {"bytes": 50_000_000}},
        {"kind": "trickle", "on": "submit", "params": {"every_ms": 50}},
        {"kind": "trickle", "on": "list", "rate": 1.0, "params": {"every_ms": 50}},
        {"kind": "trickle", "on": "account", "rate": 1.0, "params": {"every_ms": 50}},
        {"kind": "garbage", "on": "positions", "rate": 1.0},
        {"kind": "xml_answer", "on": "any", "next": 20},
        {"kind": "empty_as_text", "on": "any", "next": 20, "params": {"text": False}},
        {"kind": "redirect", "on": "any", "next": 20},
        {"kind": "redirect", "on": "any", "next": 20, "params": {"handled": True}},
    ],
    ids=lambda fault: f"{fault['kind']} on {fault['on']} {fault.get('params', {})}",
)
async def test_an_answer_of_tradier_without_end_or_measure_costs_nothing_but_a_look(
    fault: dict[str, Any], world: TradierWorld
) -> None:
    before = world.played()
    world.fault(**fault)
    (order,) = await paths.at_once(world, lambda **_: None)
    assert order["state"] in ("ACCEPTED", "NOT_PLACED", "UNKNOWN", "REJECTED"), order
    await world.until_played(before)
    assert (await world.owner.get("/api/health/ready")).status_code == 200
    await end(world)
