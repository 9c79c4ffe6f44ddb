"""What watches a process, wired to what it watches: health, metrics."""

import asyncio
import platform
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from paiid.app.figures import figures_of
from paiid.app.wired import Wired
from paiid.core.build import build_id
from paiid.core.loop_lag import LoopLag
from paiid.system.checks import Watch
from paiid.system.checks_here import ai_probe, background_probe, event_loop_probe
from paiid.system.checks_of_books import migrations_probe, reconcile_probe, replicas_probe, restore_probe
from paiid.system.details import market_details, operator_details, process_details
from paiid.system.disk import DiskCheck, places_of
from paiid.system.health import Health
from paiid.system.ledger_watch import LedgerWatch
from paiid.system.probes import broker_probe, redis_probe, streaming_probe
from paiid.system.replicas import Replicas

_OFTEN_S, _SELDOM_S, _BROKER_S = 5.0, 10.0, 30.0
"""How often is asked what costs the database, or somebody else, something."""


class Operations:
    """Started last, so that all it looks at is there."""

    def __init__(self, wired: Wired) -> None:
        self._wired = wired

    async def start(self, run: Callable[[Any], Awaitable[None]], state: Any) -> Health:
        """Begin to watch. The check `broker` is of the one where orders go by default. Raises SchemaError."""
        w = self._wired
        lag = state.loop_lag = LoopLag()
        await run(lag)
        health = await self._watch(run, state, lag)
        watch = state.ledger_watch = LedgerWatch(w.db, w.clock, w.settings.data_dir)
        await run(watch)

        state.figures = figures_of(w, health, state.streams.clients, lag, watch, state.failing)
        return health

    async def _watch(self, run: Callable[[Any], Awaitable[None]], state: Any, lag: LoopLag) -> Health:
        """Health, and what it needs: the clock's skew, the replicas. Raises SchemaError."""
        # It loads Alembic, which whoever serves has loaded.
        from paiid.core.migrate import current_head, known_revisions

        w = self._wired
        main = w.brokers.get(w.settings.broker) or next(iter(w.brokers.values()))
        skew, disk, head = w.skew, DiskCheck(places_of(w.settings)), current_head()
        build = build_id(w.settings)
        replicas = Replicas(w.db, w.clock, w.leases.holder, build, head, skew, lambda: health.reason)
        told = {"id": build, "python": platform.python_version(), "database": w.db.dialect}
        health = Health(
            w.db,
            w.clock,
            w.accounting,
            probes={
                "clock": Watch(skew.check, _OFTEN_S),
                "migrations": Watch(migrations_probe(w.db, head, known_revisions()), _SELDOM_S),
                "disk": Watch(disk.check, _OFTEN_S),
                "streaming": Watch(streaming_probe(w.upstream)),
                "broker": Watch(broker_probe(w.db, main), _BROKER_S),
                **{
                    f"broker:{name}": Watch(broker_probe(w.db, one), _BROKER_S)
                    for name, one in w.brokers.items()
                    if one is not main
                },
                **({"redis": Watch(redis_probe(w.bus, w.shared))} if w.bus.shared else {}),
                "ai": Watch(ai_probe(w.settings, lambda: getattr(state, "ai", None))),
                "reconcile": Watch(reconcile_probe(w.db, w.clock), _OFTEN_S),
                "event_loop": Watch(event_loop_probe(lambda: lag)),
                "background": Watch(background_probe(state.failing)),
                "replicas": Watch(replicas_probe(replicas), _OFTEN_S),
                "restore": Watch(restore_probe(w.db), _SELDOM_S),
            },
            gates={"trading": w.desk.not_ready, "clock": skew.reason},
            details={
                **operator_details(w.db, main, w.brokers),
                **market_details(w.market, w.upstream),
                **process_details(w.db, w.leases, w.pool, replicas, disk, told, lambda: lag.worst_s),
            },
        )
        w.desk.service.hold_claims(lambda: skew.reason() or disk.lost)
        w.leases.yield_while(replicas.should_yield)
        await health.probe()
        state.replicas = replicas
        await run(replicas)
        await run(_Rounds(health))
        return health


class _Rounds:
    """The rounds of the health checks, as a part that is started and stopped."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._health.run(), name="paiid-health")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._health.stop()
