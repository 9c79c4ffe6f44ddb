"""The ways in which an order comes, changes and goes, each as a walk through the service with a fault on its way."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from paiid.domain.occ import OptionContract
from tests.alpaca_world import CENT, AlpacaWorld
from tests.world import fresh_key

Play = Callable[..., None]
"""Puts the fault in force, just before the request that it is meant for."""
Told = list[dict[str, Any]]
"""The orders that the fault was about, as the final answer told them."""
Walk = Callable[[AlpacaWorld, Play], Awaitable[Told]]


async def single(world: AlpacaWorld, play: Play) -> Told:
    """A market order that fills in part, and then whole."""
    at = world.pin("INTC", size=4)
    play()
    told = await world.execute({"symbol": "INTC", "side": "buy", "qty": 10})
    await _begun(world, told)
    world.pin("INTC", at)
    for one in told:
        if one["state"] == "ACCEPTED":
            await world.until_there(one["broker_order_id"], "FILLED")
    return told


async def _begun(world: AlpacaWorld, told: Told) -> None:
    """Until what was accepted has filled in part."""
    for one in told:
        if one["state"] == "ACCEPTED":
            await world.until_there(one["broker_order_id"], "PARTIALLY_FILLED", "FILLED")


async def at_once(world: AlpacaWorld, play: Play) -> Told:
    """A market order that fills whole."""
    world.pin("INTC")
    play()
    return await world.execute({"symbol": "INTC", "side": "buy", "qty": 10})


async def batch(world: AlpacaWorld, play: Play) -> Told:
    """Three orders in one call; the fault meets the first."""
    play()
    wanted = [{"symbol": symbol, "side": "buy", "qty": 2} for symbol in ("BAC", "KO", "XOM")]
    told = await world.execute(*wanted)
    rest = {one["state"] for one in told[1:]}
    # The rest of a call goes out after a yes and after nothing else (E4); a late yes comes too late for them.
    assert rest in ({"ACCEPTED"}, {"SKIPPED"}), told
    assert told[0]["state"] == "ACCEPTED" or rest == {"SKIPPED"}, told
    return told[:1]


async def later_in_a_batch(world: AlpacaWorld, play: Play) -> Told:
    """Three orders in one call; the fault meets the second."""
    play(symbol="KO")
    wanted = [{"symbol": symbol, "side": "buy", "qty": 2} for symbol in ("BAC", "KO", "XOM")]
    first, second, third = await world.execute(*wanted)
    assert first["state"] == "ACCEPTED", first
    assert third["state"] in ("SKIPPED", second["state"] if second["state"] == "ACCEPTED" else "SKIPPED")
    return [second]


async def bracket(world: AlpacaWorld, play: Play) -> Told:
    """An entry that fills at once, in two parts, and exits of which the higher one fills."""
    at = world.pin("DIS", size=3)
    play()
    told = await world.execute(
        {
            "symbol": "DIS", "side": "buy", "qty": 6, "type": "limit", "limit_price": float(at), "time_in_force": "gtc",
            "take_profit": {"limit_price": float(up(at, "1.10"))}, "stop_loss": {"stop_price": float(up(at, "0.90"))},
        }
    )  # fmt: skip
    await _begun(world, told)
    world.pin("DIS", at)
    (entry,) = told
    if entry["state"] == "ACCEPTED":
        await world.until_there(entry["broker_order_id"], "FILLED")
        world.pin("DIS", up(at, "1.12"))
        await world.until(lambda: _exit_filled(world))
        world.pin("DIS", at)
    return told


async def _exit_filled(world: AlpacaWorld) -> bool:
    rows = (await world.referee.read()).their_orders
    return not any(row["symbol"] == "DIS" and row["working"] for row in rows)


async def spread(world: AlpacaWorld, play: Play) -> Told:
    """Two legs of calls for a net price that is taken at once."""
    lower, higher = await two_calls(world)
    play()
    width = higher.strike - lower.strike
    return await world.execute(
        {
            "qty": 1, "type": "limit", "limit_price": float(width),
            "legs": [
                {"symbol": lower.symbol, "side": "buy_to_open"},
                {"symbol": higher.symbol, "side": "sell_to_open"},
            ],
        }
    )  # fmt: skip


async def two_calls(world: AlpacaWorld) -> tuple[OptionContract, OptionContract]:
    """Calls on KO with neighbouring strikes around its price, of which both have a quote."""
    market = world.sim.market
    expiration = (await market.fetch_expirations("KO"))[4]
    calls = sorted(
        (one for one in await market.fetch_contracts("KO", expiration) if one.option_type == "call"),
        key=lambda one: abs(one.strike - world.price("KO")),
    )
    lower, higher = sorted(calls[:2], key=lambda one: one.strike)
    return lower, higher


async def replacing(world: AlpacaWorld, play: Play) -> Told:
    """A resting order that is replaced by one at another price and size."""
    (old,) = await resting(world, "JNJ")
    version = (await world.order(old["id"]))["version"]
    play()
    answer = await world.final(
        "PATCH", f"/api/trading/orders/{old['id']}", fresh_key(),
        json={"limit_price": float(up(Decimal(str(old["limit_price"])), "1.02")), "qty": 4},
        headers={"If-Match": str(version)},
    )  # fmt: skip
    (new,) = answer["orders"]
    await world.until_status(old["id"], "REPLACED" if new["state"] == "ACCEPTED" else "NEW")
    return [new]


async def canceling(world: AlpacaWorld, play: Play) -> Told:
    """A resting order that is cancelled."""
    (order,) = await resting(world, "PG")
    play()
    answer = await world.owner.delete(f"/api/trading/orders/{order['id']}")
    assert answer.status_code in (200, 202), answer.text
    # A cancel whose outcome is in doubt is asked for again; one that was refused is not.
    if answer.json()["outcome"] != "refused":
        await world.until_status(order["id"], "CANCELED", "FILLED")
    return [await world.order(order["id"])]


async def closing(world: AlpacaWorld, play: Play) -> Told:
    """A position that is closed."""
    world.pin("WMT")
    (bought,) = await accepted(world, {"symbol": "WMT", "side": "buy", "qty": 5})
    await world.until_status(bought["id"], "FILLED")
    play()
    answer = await world.final("DELETE", "/api/portfolio/positions/WMT", fresh_key())
    told: Told = answer["orders"]
    return told


async def accepted(world: AlpacaWorld, order: dict[str, Any]) -> Told:
    """An order that a walk begins with. One that meets a connection which the fault before has reset is not placed."""
    for _ in range(3):
        told = await world.execute(order)
        if told[0]["state"] == "ACCEPTED":
            break
    assert told[0]["state"] == "ACCEPTED", told
    return told


async def resting(world: AlpacaWorld, symbol: str, qty: int = 3) -> Told:
    """An order that works and does not fill."""
    at = world.pin(symbol)
    told = await accepted(
        world,
        {"symbol": symbol, "side": "buy", "qty": qty, "type": "limit", "limit_price": float(up(at, "0.80"))},
    )
    # Until it is live the broker would refuse to replace it.
    await world.until(lambda: _is_live(world, told[0]["broker_order_id"]))
    return told


async def _is_live(world: AlpacaWorld, broker_order_id: str) -> bool:
    return (await world.told_there(broker_order_id))["status"] == "new"


def up(price: Decimal, factor: str) -> Decimal:
    """A price so much higher, to the cent."""
    return (price * Decimal(factor)).quantize(CENT)
