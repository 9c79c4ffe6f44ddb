"""Walks a path of orders until the fault of its case has been met: one that never is proves nothing."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from paiid.sim.engine.faults import FaultBook

_MET_S = 8.0
_TRIES = 4


class _Sim(Protocol):
    @property
    def faults(self) -> FaultBook: ...


class World(Protocol):
    """As much of a world as is needed here."""

    @property
    def sim(self) -> _Sim: ...

    @property
    def doubted(self) -> list[dict[str, Any]]:
        """Orders of answers that were not final."""
        ...

    def played(self) -> int:
        """How many faults have been played so far."""
        ...

    async def until_played(self, before: int) -> None:
        """Until another fault than these has been played. Raises TimeoutError."""
        ...


W = TypeVar("W", bound=World)
Told = list[dict[str, Any]]


async def walked(
    world: W, walk: Callable[[W, Callable[..., None]], Awaitable[Told]], play: Callable[..., None]
) -> Told:
    """The order as it was told, of each time that the path was walked. A fault of a look-up is met by none where the stream has
    told of the order before; then it is walked again."""
    told: Told = []
    for _ in range(_TRIES):
        before = world.played()
        (order,) = await walk(world, play)
        told.append(order)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MET_S):
                await world.until_played(before)
                return told
        world.sim.faults.remove()
    raise AssertionError("nobody has met the fault")


def outcomes(world: World, told: Told) -> set[str]:
    """What the orders came to. One that was refused, and whose refusal the broker of a busy machine did not confirm in time, is in
    doubt first and then not placed: that is a refusal as well, and nothing else is."""
    unconfirmed = {
        one["id"] for one in world.doubted if "refusal could not be confirmed" in str(one["reason"])
    }
    return {
        "REJECTED" if one["state"] == "NOT_PLACED" and one["id"] in unconfirmed else str(one["state"])
        for one in told
    }
