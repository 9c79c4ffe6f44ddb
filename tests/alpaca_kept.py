"""One app over one simulated Alpaca for many cases: starting them costs more than most cases do."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.alpaca_world import AlpacaWorld, alpaca_world


class KeptWorld:
    """One world for many cases, made afresh after a case that has failed: what it left behind is no later case's
    fault."""

    def __init__(self, directory: Path, template: Path, **how: Any) -> None:
        self._directory = directory
        self._template = template
        self._how = how
        self._stack: AsyncExitStack | None = None
        self._world: AlpacaWorld | None = None
        self._count = 0

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[AlpacaWorld]:
        """The world for one case, in which both sides agree at the beginning and must do so at the end."""
        world = await self._take()
        try:
            yield world
            await world.end()
        except BaseException:
            await self.close()
            raise

    async def _take(self) -> AlpacaWorld:
        if self._world is None:
            self._count += 1
            here = self._directory / f"world-{self._count}"
            here.mkdir()
            shutil.copy(self._template, here / "test.db")
            self._stack = AsyncExitStack()
            self._world = await self._stack.enter_async_context(
                alpaca_world(f"sqlite:///{here / 'test.db'}", here, self._template, **self._how)
            )
        return self._world

    async def close(self) -> None:
        """End it."""
        stack, self._stack, self._world = self._stack, None, None
        if stack is not None:
            await stack.aclose()
