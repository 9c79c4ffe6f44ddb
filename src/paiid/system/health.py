"""Health in the background: dependencies are probed now and then, so that asking costs nothing."""

import asyncio
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from paiid import __version__
from paiid.core.accounting import Accounting
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.instants import instant

_EVERY_S = 1.0
_PROBE_S = 2.0
_PACE_S = {"broker": 30.0}
"""Probes that cost somebody else something are asked less often while they are up."""
_DEPENDENCIES = ("database", "redis", "streaming", "broker", "ai")
"""Always told, so that a page can rely on them; one without a probe is unconfigured, which is not down."""
Probe = Callable[[], Awaitable[str]]
"""Proves that a dependency answers, and names it. Raises anything where it does not."""


class Down(Exception):
    """A dependency is down, in words that may be shown to anybody."""


@dataclass(frozen=True, slots=True)
class Check:
    """One dependency at its last probe: up, down or unconfigured."""

    status: str
    latency_ms: float | None
    detail: str
    at_s: float = 0.0


_UNCONFIGURED = Check("unconfigured", None, "not configured")


class Health:
    """Probes each dependency every second. `gates` say why the service is not ready yet, or None."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        accounting: Accounting,
        probes: Mapping[str, Probe],
        gates: Mapping[str, Callable[[], str | None]],
        details: Mapping[str, Callable[[], Awaitable[Any]]],
    ) -> None:
        self._db = db
        self._clock = clock
        self._accounting = accounting
        self._probes = {"database": self._probe_database, **probes}
        self._gates = gates
        self._details = details
        self._started_s = clock.monotonic_s()
        self._checks: dict[str, Check] = {}
        self._process = psutil.Process()

    @property
    def reason(self) -> str | None:
        """Why requests should go elsewhere, or None: from the last probe, and the gates as they are now."""
        if not self._checks:
            return "the first checks are still running"
        if self._checks["database"].status != "up":
            return "the database cannot be reached"
        for gate in self._gates.values():
            reason = gate()
            if reason is not None:
                return reason
        return None

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            await self.probe()
            await self._clock.sleep(_EVERY_S)

    async def probe(self) -> None:
        """One round."""
        names = [name for name in self._probes if self._is_due(name)]
        results = await asyncio.gather(*(self._check(self._probes[name]) for name in names))
        self._checks = {**self._checks, **dict(zip(names, results, strict=True))}

    def _is_due(self, name: str) -> bool:
        last = self._checks.get(name)
        if last is None or last.status != "up":
            return True
        return self._clock.monotonic_s() - last.at_s >= _PACE_S.get(name, 0.0)

    async def _check(self, probe: Probe) -> Check:
        began = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(_PROBE_S):
                detail = await probe()
        except TimeoutError:
            return Check("down", None, "no answer in time")
        except Down as why:
            return Check("down", None, str(why))
        except Exception as error:  # noqa: BLE001 - a probe that fails in any way is a dependency that is down
            return Check("down", None, type(error).__name__)
        return Check("up", round((self._clock.monotonic_s() - began) * 1000, 2), detail, began)

    async def _probe_database(self) -> str:
        await self._db.ping()
        return self._db.dialect

    def full(self) -> dict[str, Any]:
        """The answer of `/ready/full`."""
        down = [name for name, check in self._checks.items() if check.status == "down"]
        status = "up" if not down and self.reason is None else "degraded"
        if "database" in down or not self._checks:
            status = "down"
        return {
            "status": status,
            "checks": {
                name: {"status": check.status, "latency_ms": check.latency_ms, "detail": check.detail}
                for name, check in {**dict.fromkeys(_DEPENDENCIES, _UNCONFIGURED), **self._checks}.items()
            },
            "time": instant(self._clock.now_us()),
        }

    async def detailed(self) -> dict[str, Any]:
        """The answer of `/detailed`."""
        accounting = self._accounting
        memory = self._process.memory_info().rss
        full = self.full()
        extra: dict[str, Any] = {}
        for name, load in self._details.items():
            try:
                extra[name] = await load()
            except DatabaseUnavailable:
                extra[name] = None
        return {
            "status": full["status"],
            "version": __version__,
            "build": {"python": platform.python_version(), "database": self._db.dialect},
            "uptime_seconds": round(self._clock.monotonic_s() - self._started_s, 1),
            "system": {
                "cpu_percent": self._process.cpu_percent(),
                "memory_percent": round(self._process.memory_percent(), 2),
                "memory_used_mb": round(memory / 1_048_576, 1),
                "threads": self._process.num_threads(),
                "open_files": self._process.num_fds(),
            },
            "application": {
                "total_requests": accounting.total,
                "total_errors": accounting.errors,
                "error_rate_percent": round(100 * accounting.errors / accounting.total, 3)
                if accounting.total
                else 0.0,
                "avg_response_time_ms": round(accounting.average_ms(), 3),
                "p50_response_time_ms": round(accounting.percentile_ms(0.5), 3),
                "p99_response_time_ms": round(accounting.percentile_ms(0.99), 3),
                "requests_per_minute": accounting.per_minute(),
                "in_flight": accounting.in_flight,
            },
            "dependencies": full["checks"],
            **extra,
            "time": instant(self._clock.now_us()),
        }
