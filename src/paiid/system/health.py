"""How this process is, from memory: checks in the background and gates that say why it is not ready (docs/adr/0029)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from paiid.core.accounting import Accounting
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.instants import instant
from paiid.core.json import encode
from paiid.system.checks import Check, Checks, Down, Watch
from paiid.system.load import Load

_DEPENDENCIES = ("database", "redis", "streaming", "broker", "ai")
"""Always told, so that a page can rely on them; one without a check is unconfigured, which is not down."""
_UNCONFIGURED = Check("unconfigured", None, "not configured")
_READY = b'{"ready":true}'
_AGAIN_S = 0.3
"""A question to the database that fails sooner is put once more: it met a connection that was broken while it lay idle."""


class Health:
    """Asks each dependency every few seconds. `gates` say why the service is not ready yet, or None; `details` are
    sections of `/detailed`, each of which may raise DatabaseUnavailable."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        accounting: Accounting,
        probes: Mapping[str, Watch],
        gates: Mapping[str, Callable[[], str | None]],
        details: Mapping[str, Callable[[], Awaitable[Any]]],
    ) -> None:
        self._db = db
        self._clock = clock
        self._gates = gates
        self._details = details
        self._load = Load(clock, accounting)
        self._checks = Checks(clock)
        self.register("database", Watch(self._ask_database, unready="the database cannot be reached"))
        for name, watch in probes.items():
            self.register(name, watch)
        self._not_ready: tuple[str, bytes] = ("", b"")

    def register(self, name: str, watch: Watch) -> None:
        """One more check."""
        self._checks.register(name, watch)

    # -- readiness ------------------------------------------------------------------------------------

    @property
    def reason(self) -> str | None:
        """Why requests should go elsewhere, or None: from the last checks, and the gates as they are now."""
        if self._checks.reason is not None:
            return self._checks.reason
        for gate in self._gates.values():
            reason = gate()
            if reason is not None:
                return reason
        return None

    def ready(self) -> tuple[int, bytes]:
        """The answer of `/ready`: status and body, encoded once for each reason."""
        reason = self.reason
        if reason is None:
            return 200, _READY
        if self._not_ready[0] != reason:
            self._not_ready = (reason, encode({"ready": False, "reason": reason}))
        return 503, self._not_ready[1]

    # -- the checks -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask until cancelled."""
        await self._checks.run()

    async def probe(self) -> None:
        """One round of all that is due, to its end."""
        await self._checks.ask()

    async def stop(self) -> None:
        """Give up what is being asked."""
        await self._checks.stop()

    def figures(self) -> dict[str, float]:
        """The numbers behind the checks, for metrics: no question to anybody."""
        return self._checks.figures()

    async def _ask_database(self) -> str:
        began_s = self._clock.monotonic_s()
        try:
            await self._db.ping()
        except DatabaseUnavailable as first:
            if self._clock.monotonic_s() - began_s > _AGAIN_S:
                raise Down("it does not answer") from first
            try:
                await self._db.ping()
            except DatabaseUnavailable as second:
                raise Down("it cannot be reached") from second
        return self._db.dialect

    # -- what is told ---------------------------------------------------------------------------------

    def full(self) -> dict[str, Any]:
        """The answer of `/ready/full`: down where a check sends requests elsewhere, degraded where anything is not as it
        should be."""
        known = dict(self._checks.known())
        if self._checks.reason is not None:
            status = "down"
        elif self.reason is not None or any(one.status in ("degraded", "down") for one in known.values()):
            status = "degraded"
        else:
            status = "up"
        return {
            "status": status,
            "checks": {
                name: {"status": check.status, "latency_ms": check.latency_ms, "detail": check.detail}
                for name, check in {**dict.fromkeys(_DEPENDENCIES, _UNCONFIGURED), **known}.items()
            },
            "time": instant(self._clock.now_us()),
        }

    async def detailed(self) -> dict[str, Any]:
        """The answer of `/detailed`."""
        full = self.full()
        extra: dict[str, Any] = {}
        for name, load in self._details.items():
            try:
                extra[name] = await load()
            except DatabaseUnavailable:
                extra[name] = None
        return {
            "status": full["status"],
            "ready": self.reason is None,
            "reason": self.reason,
            **self._load.view(),
            "dependencies": full["checks"],
            **extra,
            "time": full["time"],
        }
