"""Looks at the ledger and the disk every few seconds, so that a scrape of the figures asks neither."""

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.tasks import Background
from paiid.system.figures_store import LedgerFigures, load_ledger_figures

__all__ = ["LedgerWatch"]

EVERY_S = 5.0


class LedgerWatch:
    """`figures` as they were at the last look that succeeded, `at_s` of it; `disk_free` bytes where the data lie."""

    def __init__(self, db: Database, clock: Clock, data_dir: Path, *, every_s: float = EVERY_S) -> None:
        self._db = db
        self._clock = clock
        self._data_dir = data_dir
        self._every_s = every_s
        self._background = Background(clock)
        self._at_s: float | None = None
        self.figures: LedgerFigures | None = None
        self.disk_free: int | None = None

    @property
    def age_s(self) -> float | None:
        """Since the last look that succeeded; None: there was none."""
        return None if self._at_s is None else self._clock.monotonic_s() - self._at_s

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what: for the health page."""
        return self._background.failing

    async def start(self) -> None:
        """Begin to look."""
        self._background.begin("ledger-watch", self._run)

    async def stop(self) -> None:
        """End it."""
        await self._background.stop()

    async def _run(self) -> None:
        while True:
            # What cannot be read keeps its last value, and `age_s` tells that.
            with suppress(DatabaseUnavailable):
                await self.look()
            with suppress(OSError):
                self.disk_free = (await asyncio.to_thread(shutil.disk_usage, self._data_dir)).free
            await self._clock.sleep(self._every_s)

    async def look(self) -> None:
        """One look. Raises DatabaseUnavailable."""
        async with self._db.read() as tx:
            self.figures = await load_ledger_figures(tx)
        self._at_s = self._clock.monotonic_s()
