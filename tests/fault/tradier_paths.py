"""The ways in which an order comes, changes and goes at Tradier, each as a walk through the service with a fault on its way."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from tests.alpaca_world import CENT
from tests.tradier_world import TradierWorld
from tests.world import fresh_key

Play = Callable[..., None]
"""Puts the fault in force, just before the request that it is meant for."""
Told = list[dict[str, Any]]
"""The orders that the fault was about, as the final answer told them."""
Walk = Callable[[TradierWorld, Play], Awaitable[Told]]


async def single(world: TradierWorld, play: Play) -> Told:
    """A market order that fills in part, and then whole."""
    at = world.pin("INTC", size=4)
    play()
    told = await world.execute({"symbol": "INTC", "side": "buy", "qty": 10})
    await _begun(world, told)
    world.pin("INTC", at)
    for one in filter(is_there, told):
        await until_venue(world, one, "FILLED")
    return told


async def at_once(world: TradierWorld, play: Play) -> Told:
    """A market order that fills whole."""
    world.pin("INTC")
    play()
    return await world.execute({"symbol": "INTC", "side": "buy", "qty": 10})


async def batch(world: TradierWorld, play: Play) -> Told:
    """Three orders in one call; the fault meets the first."""
    play()
    wanted = [{"symbol": symbol, "side": "buy", "qty": 2} for symbol in ("BAC", "KO", "XOM")]
    told = await world.execute(*wanted)
    rest = {one["state"] for one in told[1:]}
    # The rest of a call goes out after a yes and after nothing else (E4); a late yes comes too late for them.
    assert rest in ({"ACCEPTED"}, {"SKIPPED"}), told
    assert told[0]["state"] == "ACCEPTED" or rest == {"SKIPPED"}, told
    return told[:1]


async def later_in_a_batch(world: TradierWorld, play: Play) -> Told:
    """Three orders in one call; the fault meets the second."""
    play(symbol="KO")
    wanted = [{"symbol": symbol, "side": "buy", "qty": 2} for symbol in ("BAC", "KO", "XOM")]
    first, second, third = await world.execute(*wanted)
    assert first["state"] == "ACCEPTED", first
    assert third["state"] in ("SKIPPED", second["state"] if second["state"] == "ACCEPTED" else "SKIPPED")
    return [second]


async def bracket(world: TradierWorld, play: Play) -> Told:
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
    for one in filter(is_there, told):
        await until_venue(world, one, "FILLED")
        world.pin("DIS", up(at, "1.12"))
        await world.until(lambda: _none_works(world, "DIS"))
        world.pin("DIS", at)
    return told


async def spread(world: TradierWorld, play: Play) -> Told:
    """Two legs of calls for a net price that is taken at once."""
    expiration = (await world.sim.market.fetch_expirations("KO"))[4]
    calls = sorted(
        (
            one
            for one in await world.sim.market.fetch_contracts("KO", expiration)
            if one.option_type == "call"
        ),
        key=lambda one: abs(one.strike - world.price("KO")),
    )
    lower, higher = sorted(calls[:2], key=lambda one: one.strike)
    play()
    return await world.execute(
        {
            "qty": 1, "type": "limit", "limit_price": float(higher.strike - lower.strike),
            "legs": [
                {"symbol": lower.symbol, "side": "buy_to_open"},
                {"symbol": higher.symbol, "side": "sell_to_open"},
            ],
        }
    )  # fmt: skip


async def replacing(world: TradierWorld, play: Play) -> Told:
    """A resting order that is changed to another price."""
    (old,) = await resting(world, "JNJ")
    version = (await world.order(old["id"]))["version"]
    play()
    answer = await world.final(
        "PATCH", f"/api/trading/orders/{old['id']}", fresh_key(),
        json={"limit_price": float(up(Decimal(str(old["limit_price"])), "1.02"))},
        headers={"If-Match": str(version)},
    )  # fmt: skip
    (new,) = answer["orders"]
    await world.until_status(old["id"], "REPLACED" if new["state"] == "ACCEPTED" else "NEW")
    return [new]


async def canceling(world: TradierWorld, play: Play) -> Told:
    """A resting order that is cancelled."""
    (order,) = await resting(world, "PG")
    play()
    answer = await world.owner.delete(f"/api/trading/orders/{order['id']}")
    assert answer.status_code in (200, 202), answer.text
    # A cancel whose outcome is in doubt is asked for again; one that was refused is not.
    if answer.json()["outcome"] != "refused":
        await world.until_status(order["id"], "CANCELED", "FILLED")
    return [await world.order(order["id"])]


async def closing(world: TradierWorld, play: Play) -> Told:
    """A position that is closed."""
    world.pin("WMT")
    (bought,) = await accepted(world, {"symbol": "WMT", "side": "buy", "qty": 5})
    await world.until_status(bought["id"], "FILLED")
    play()
    answer = await world.final("DELETE", "/api/portfolio/positions/WMT", fresh_key())
    told: Told = answer["orders"]
    return told


# -- what walks are made of --------------------------------------------------------------------------


async def accepted(world: TradierWorld, order: dict[str, Any]) -> Told:
    """An order that a walk begins with. One that meets a connection which the fault before has reset is not placed."""
    for _ in range(3):
        told = await world.execute(order)
        if told[0]["state"] == "ACCEPTED":
            break
    assert told[0]["state"] == "ACCEPTED", told
    return told


async def resting(world: TradierWorld, symbol: str, life: str = "day", qty: int = 3) -> Told:
    """An order that works and does not fill."""
    at = world.pin(symbol)
    told = await accepted(
        world,
        {
            "symbol": symbol, "side": "buy", "qty": qty, "type": "limit", "limit_price": float(up(at, "0.80")),
            "time_in_force": life,
        },
    )  # fmt: skip
    await until_venue(world, told[0], "NEW")
    return told


async def until_venue(world: TradierWorld, order: dict[str, Any], *statuses: str) -> None:
    """Until the venue, whatever the wire tells, has the order in one of these statuses of ours."""
    number = int(order["broker_order_id"])

    async def has() -> bool:
        venue_id = world.sim.exchange.venue_id(number)
        if venue_id is None:
            return False
        view = await world.sim.exchange.venue.fetch_order_by_id(world.number, venue_id, 5.0)
        return view is not None and view.status.value in statuses

    await world.until(has)


def is_there(order: dict[str, Any]) -> bool:
    """Whether the answer says that the broker has it."""
    return bool(order["state"] == "ACCEPTED")


def up(price: Decimal, factor: str) -> Decimal:
    """A price so much higher, to the cent."""
    return (price * Decimal(factor)).quantize(CENT)


async def _begun(world: TradierWorld, told: Told) -> None:
    """Until what was accepted has filled in part."""
    for one in filter(is_there, told):
        await until_venue(world, one, "PARTIALLY_FILLED", "FILLED")


async def _none_works(world: TradierWorld, symbol: str) -> bool:
    return not any(one.symbol == symbol for one in await world.working())
