"""A broker that does not take our keys, and answers that are no use: the service stands, says so, and waits for nothing
without end."""

from pathlib import Path
from typing import Any

import pytest

from paiid.app import create_app
from paiid.brokers.alpaca import AlpacaBroker, AlpacaKeys
from paiid.brokers.alpaca.wire import Wire
from paiid.core.clock import SystemClock
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID
from paiid.wires.governor import Governors
from tests import alpaca_paths as paths
from tests.alpaca_world import BRISK, alpaca_world, brisk_broker, keys_of
from tests.conftest import _running
from tests.world import App, Client, make_settings

BUY: dict[str, Any] = {"symbol": "INTC", "side": "buy", "qty": 1}
WRONG = "test-secret-which-is-wrong"


async def broker_state(who: Client) -> str:
    """What readiness says of the broker, once it says something of it being down."""
    assert (await who.get("/api/health/ready")).status_code == 200
    told = (await who.get("/api/health/ready/full")).json()["checks"]["broker"]
    return str(told["detail"]) if told["status"] == "down" else ""


async def test_a_start_with_wrong_keys_is_ready_and_says_what_is_wrong_without_them(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with alpaca_world(sqlite_url, tmp_path, template) as world:
        settings = make_settings(sqlite_url, tmp_path, broker="alpaca")
        broker = brisk_broker(SystemClock(), keys_of(world.url, WRONG))
        application = create_app(settings, broker=broker, timings=BRISK)
        async with _running(application), App(application, settings) as app:
            owner = await app.owner()

            async def ready() -> bool:
                return (await owner.get("/api/health/ready")).status_code == 200

            # From then on it must be so.
            await world.until(ready)

            async def down() -> str:
                return await broker_state(owner)

            line = await world.until(down)
            assert line == "alpaca does not take the keys: check them in the environment"
            answer = await owner.execute(BUY)
            (order,) = answer.json()["orders"]
            assert (answer.status_code, order["state"]) == (200, "REJECTED")
            assert order["reason"]["code"] == "not_sent", order["reason"]
            assert "does not take the keys" in order["reason"]["message"]
            assert WRONG not in answer.text
        assert (await world.referee.read()).their_orders == []


async def test_E11_keys_that_are_taken_back_leave_a_refusal_unconfirmed_until_there_are_keys_again(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    made: list[AlpacaBroker] = []

    def meddle(inner: Any) -> Any:
        made.append(inner)
        return inner

    async with alpaca_world(sqlite_url, tmp_path, template, meddle=meddle) as world:
        (session,) = made[0]._sessions.all
        old, good = session.keys, session.wire
        session.keys = AlpacaKeys("paper", DEFAULT_KEY_ID, WRONG, old.api_url, old.stream_url)
        session.wire = Wire(session.keys, Governors(SystemClock()))
        answer = await world.owner.execute(BUY)
        (order,) = answer.json()["orders"]
        assert (answer.status_code, order["state"]) == (202, "UNKNOWN")
        assert WRONG not in answer.text
        await session.wire.close()
        session.keys, session.wire = old, good

        async def settled() -> bool:
            shown = (await world.owner.get(f"/api/trading/orders/{order['id']}")).json()
            return bool(shown["state"] == "NOT_PLACED")

        await world.until(settled)
        (order,) = await world.execute(BUY)
        assert order["state"] == "ACCEPTED"
        await world.end()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "huge", "on": "submit", "params": {"bytes": 50_000_000}},
        {"kind": "huge", "on": "list", "rate": 1.0, "params": {"bytes": 50_000_000}},
        {"kind": "huge", "on": "activities", "rate": 1.0, "params": {"bytes": 50_000_000}},
        {"kind": "trickle", "on": "submit", "params": {"every_ms": 50}},
        {"kind": "trickle", "on": "list", "rate": 1.0, "params": {"every_ms": 50}},
        {"kind": "trickle", "on": "account", "rate": 1.0, "params": {"every_ms": 50}},
        {"kind": "redirect", "on": "any", "next": 20},
        {"kind": "redirect", "on": "any", "next": 20, "params": {"handled": True}},
    ],
    ids=lambda fault: f"{fault['kind']} on {fault['on']} {fault.get('params', {})}",
)
async def test_an_answer_without_end_or_measure_costs_nothing_but_a_look(
    fault: dict[str, Any], sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with alpaca_world(sqlite_url, tmp_path, template) as world:
        world.fault(**fault)
        (order,) = await paths.at_once(world, lambda **_: None)
        assert order["state"] in ("ACCEPTED", "NOT_PLACED", "UNKNOWN")
        await world.until_played(0)
        assert (await world.owner.get("/api/health/ready")).status_code == 200
        await world.end()


async def test_the_operator_is_told_how_the_order_stream_is(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with alpaca_world(sqlite_url, tmp_path, template) as world:

        async def stream() -> dict[str, Any]:
            told = (await world.owner.get("/api/health/detailed")).json()["broker"]
            assert (told["name"], len(told["streams"])) == ("alpaca", 1)
            found: dict[str, Any] = told["streams"][0]
            return found

        async def heard() -> bool:
            return (await stream())["last_event_at"] is not None

        await world.execute(BUY)
        await world.until(heard)
        told = await stream()
        assert (told["connected"], told["problem"]) == (True, None)
        assert told["account"].startswith("PA")
        assert told["since"] <= told["last_event_at"]
        await world.end()
