"""One app over one simulated Tradier for many cases, with a referee who compares both sides at the end of each."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from paiid.sim.tradier.app import LEDGER_FILE
from tests.both_books import changed_answers
from tests.tradier_referee import Referee
from tests.tradier_world import TradierWorld, tradier_world

PATIENCE_S = 25.0
"""Only guards against hanging."""


def referee_for(world: TradierWorld) -> Referee:
    """The referee between this app and its simulator."""
    exchange = world.sim.exchange
    return Referee(exchange.db, exchange.data_dir / LEDGER_FILE, world.db)


async def agree(world: TradierWorld) -> None:
    """Both sides must come to agree, and every final answer must still be what it was."""
    await world.quiesce()
    referee = referee_for(world)
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_S
    while wrong := await referee.differences():
        assert loop.time() < end, wrong
        await asyncio.sleep(0.05)
    assert await changed_answers(world.app.http, world.asked) == []


async def end(world: TradierWorld) -> None:
    """After a case: faults off, both sides agree; then everything that works is cancelled, and they agree again."""
    world.sim.faults.remove()
    await agree(world)
    if await world.working():
        await world.cancel_all()
        await agree(world)
    world.asked.clear()
    # A connection that this case has reset must not be what the next one begins with.
    await world.adapter._wire.close()

    async def free() -> bool:
        return world.adapter.order_free_in_s(world.number) is None

    # Nor must a budget that it has closed.
    await world.until(free)


class KeptWorld:
    """One world for many cases, made afresh after a case that has failed: what it left behind is no later case's
    fault."""

    def __init__(self, directory: Path, template: Path, **how: Any) -> None:
        self._directory = directory
        self._template = template
        self._how = how
        self._stack: AsyncExitStack | None = None
        self._world: TradierWorld | None = None
        self._count = 0

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[TradierWorld]:
        """The world for one case, in which both sides agree at the beginning and must do so at the end."""
        world = await self._take()
        try:
            yield world
            await end(world)
        except BaseException:
            await self.close()
            raise

    async def _take(self) -> TradierWorld:
        if self._world is None:
            self._count += 1
            here = self._directory / f"world-{self._count}"
            here.mkdir()
            shutil.copy(self._template, here / "test.db")
            self._stack = AsyncExitStack()
            self._world = await self._stack.enter_async_context(
                tradier_world(f"sqlite:///{here / 'test.db'}", here, self._template, **self._how)
            )
        return self._world

    async def close(self) -> None:
        """End it."""
        stack, self._stack, self._world = self._stack, None, None
        if stack is not None:
            await stack.aclose()
