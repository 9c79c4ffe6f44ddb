"""Pruning: what is kept for a while only is deleted now and then, by one replica for all."""

from collections.abc import Awaitable, Callable

from paiid.core.clock import Clock
from paiid.core.db import DatabaseUnavailable
from paiid.core.leases import Leases
from paiid.core.tasks import Background
from paiid.domain.errors import Problem

__all__ = ["Pruning"]

_EVERY_S = 60.0


class Pruning:
    """Calls `prune` every minute, where this replica has the lease `name`. What it raises of Problem and DatabaseUnavailable is the
    next round's business."""

    def __init__(self, clock: Clock, leases: Leases, name: str, prune: Callable[[], Awaitable[int]]) -> None:
        self._clock = clock
        self._leases = leases
        self._name = name
        self._prune = prune
        self._background = Background(clock)

    async def once(self) -> int | None:
        """How many rows were deleted; None where another replica does it. Raises what `prune` does."""
        held = await self._leases.take(self._name, 3 * _EVERY_S)
        return None if held is None else await self._prune()

    async def start(self) -> None:
        """Begin."""
        self._background.begin(self._name, self._run)

    async def stop(self) -> None:
        """End."""
        await self._background.stop()

    @property
    def failing(self) -> dict[str, str]:
        """Whether it breaks."""
        return self._background.failing

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(_EVERY_S)
            try:
                await self.once()
            except (Problem, DatabaseUnavailable):
                continue
