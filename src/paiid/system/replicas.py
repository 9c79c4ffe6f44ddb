"""How the processes over one database know of each other: a row each, renewed in database time (docs/adr/0029).

It is told to people, and a replica whose clock is off lets one whose clock is right have its leases; it is no authority for
anything. On SQLite one process is alone with its file, whose only writer is the order gate: it writes no row and tells of itself.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from paiid import __version__
from paiid.brokers.paper.matcher import LEASE as PAPER_MATCHING
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.tasks import Background
from paiid.market.leadership import LEASE as MARKET_DATA
from paiid.portfolio.dayroll import LEASE as DAY_ROLL
from paiid.system import store
from paiid.system.skew import Skew
from paiid.system.store import Replica

_log = structlog.get_logger("paiid.system.replicas")
_EVERY_S = 5.0
_GONE_US = 15_000_000
"""Three renewals missed: it is not counted any more."""
_SWEPT_US = 60_000_000
_SWEEP_BEATS = 12
_BY_THE_CLOCK = (MARKET_DATA, PAPER_MATCHING, DAY_ROLL)
"""Leases for work that does harm with a clock that is off: it shows quotes, fills orders or ends days at the wrong time. Better nobody
does it. What brokers tell is read with any clock."""


class Replicas:
    """This process's row, and those of the others. `why_not` says why this one is not ready, or None."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        replica_id: str,
        build: str,
        schema: str,
        skew: Skew,
        why_not: Callable[[], str | None],
    ) -> None:
        self.id = replica_id
        self._db = db
        self._clock = clock
        self._build = build
        self._schema = schema
        self._skew = skew
        self._why_not = why_not
        self._started_at_us = clock.now_us()
        self._background = Background(clock)
        self._shared = db.dialect == "postgresql"
        self._known: Sequence[Replica] = ()

    @property
    def known(self) -> Sequence[Replica]:
        """All that were alive when it was last looked, this one first."""
        return self._known or (self._self(),)

    @property
    def builds(self) -> set[str]:
        """The builds that run."""
        return {one.build for one in self.known}

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what."""
        return self._background.failing

    async def start(self) -> None:
        """Begin to tell of this process."""
        if self._shared:
            self._background.begin("replica-row", self._renew)

    async def stop(self) -> None:
        """This process ends: its row goes."""
        await self._background.stop()
        if self._shared:
            with suppress(DatabaseUnavailable):
                async with self._db.begin() as tx:
                    await store.remove_replica(tx, self.id)

    async def look(self) -> Sequence[Replica]:
        """Who is alive now. Raises DatabaseUnavailable."""
        if not self._shared:
            self._known = (self._self(),)
            return self._known
        async with self._db.read() as tx:
            found = await store.load_replicas(tx, _GONE_US)
        self._known = (self._self(), *(one for one in found if one.id != self.id))
        return self._known

    def should_yield(self, lease: str) -> bool:
        """Whether this clock is off, and the work of that lease goes by it or another replica's is right."""
        if self._skew.reason() is None:
            return False
        if lease in _BY_THE_CLOCK:
            return True
        return any(one.id != self.id and not self._skew.is_off(one.skew_us) for one in self._known)

    def _self(self) -> Replica:
        now_us = self._clock.now_us()
        state = self._why_not() or "ready"
        skew_us = self._skew.us or 0
        started_us = self._started_at_us
        return Replica(self.id, self._build, __version__, self._schema, started_us, now_us, 0, skew_us, state)

    async def _renew(self) -> None:
        beats = 0
        while True:
            try:
                await self._beat(sweep=beats % _SWEEP_BEATS == 0)
            except DatabaseUnavailable as problem:
                _log.debug("replica_not_told", reason=str(problem))
            beats += 1
            await self._clock.sleep(_EVERY_S)

    async def _beat(self, *, sweep: bool) -> None:
        """One statement; it takes no gate and no lock but that of its own row. Raises DatabaseUnavailable."""
        async with self._db.begin() as tx:
            await store.tell_replica(tx, self._self())
        if sweep:
            async with self._db.begin() as tx:
                await store.sweep_replicas(tx, _SWEPT_US)
