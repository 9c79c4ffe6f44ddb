"""Runs the health checks in the background, so that asking how things are costs nothing and waits for nothing.

Each check runs by itself: one that hangs is given up after its deadline, is not asked again before it has ended, and delays
no other. What could not be asked anew, because the database it is kept in is away, stays as it was last known.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from paiid.core.clock import Clock
from paiid.core.db import DatabaseUnavailable

__all__ = ["Check", "Checks", "Down", "Probe", "Status", "Told", "Watch"]

Status = Literal["up", "degraded", "down", "unconfigured"]
_EVERY_S = 1.0
_DEADLINE_S = 2.0
_SLOW_S = 1.0
"""A failure that took longer may be one slow answer: it makes nobody unready before the next has failed too."""
_OLD_S = 10.0
_ENDING_S = 1.0
_NOT_KNOWN = "not known: the database cannot be reached"


@dataclass(frozen=True, slots=True)
class Told:
    """What a check has found. `detail` may be shown to anybody: no host, user, secret or path. `unready` says, in such
    words too, why requests should go elsewhere. `figures` are for metrics, by name."""

    detail: str
    status: Status = "up"
    unready: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


class Down(Exception):
    """A dependency is down, in words that may be shown to anybody."""


Probe = Callable[[], Awaitable[Told | str]]
"""Asks a dependency; a text alone is one that is up. Raises Down, DatabaseUnavailable where it cannot be known now, and
anything else where the dependency does not answer as it should."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A check: how to ask, how often while it is not down, and why requests should go elsewhere where it fails."""

    probe: Probe
    every_s: float = _EVERY_S
    unready: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """What is known of one dependency; `at_s` is when it was asked, in monotonic time."""

    status: Status
    latency_ms: float | None
    detail: str
    at_s: float = 0.0
    unready: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


class Checks:
    """The checks by name. `reason` is why requests should go elsewhere, as far as checks know."""

    def __init__(self, clock: Clock, *, deadline_s: float = _DEADLINE_S) -> None:
        self._clock = clock
        self._deadline_s = deadline_s
        self._watches: dict[str, Watch] = {}
        self._known: dict[str, Check] = {}
        self._flights: dict[str, asyncio.Task[None]] = {}
        self._hanging: dict[str, asyncio.Task[Told | str]] = {}
        self.reason: str | None = "the first checks are still running"

    def register(self, name: str, watch: Watch) -> None:
        """One more; the first registered is the first whose reason is told."""
        self._watches[name] = watch

    def known(self) -> Iterator[tuple[str, Check]]:
        """All that have been asked, in the order in which they were registered; an old one says how old it is."""
        now_s = self._clock.monotonic_s()
        for name in self._watches:
            check = self._known.get(name)
            if check is None:
                continue
            age_s = now_s - check.at_s
            if age_s > _OLD_S and check.status != "unconfigured":
                detail = f"{check.detail} (last known, {age_s:.0f} s ago)"
                check = Check(check.status, check.latency_ms, detail, check.at_s)
            yield name, check

    def figures(self) -> dict[str, float]:
        """The numbers of all checks, as they were last known."""
        return {name: value for check in self._known.values() for name, value in check.figures.items()}

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self._begin()
            await self._clock.sleep(_EVERY_S)

    async def ask(self) -> None:
        """One round, to its end: all that are due are asked from now on."""
        await self._landed()
        self._begin()
        await self._landed()

    async def _landed(self) -> None:
        if self._flights:
            await asyncio.wait(list(self._flights.values()))

    async def stop(self) -> None:
        """Give up what is being asked."""
        tasks = [*self._flights.values(), *self._hanging.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_ENDING_S)

    def _begin(self) -> None:
        for name, watch in list(self._watches.items()):
            if name not in self._flights and self._is_due(name, watch):
                flight = asyncio.create_task(self._ask(name, watch), name=f"paiid-check-{name}")
                self._flights[name] = flight
                flight.add_done_callback(lambda _, name=name: self._flights.pop(name, None))  # type: ignore[misc]

    def _is_due(self, name: str, watch: Watch) -> bool:
        last = self._known.get(name)
        if last is None or last.status == "down" or watch.every_s <= _EVERY_S:
            return True
        return self._clock.monotonic_s() - last.at_s >= watch.every_s - _EVERY_S / 2

    async def _ask(self, name: str, watch: Watch) -> None:
        began_s = self._clock.monotonic_s()
        if name in self._hanging:
            self._keep(name, Check("down", None, "no answer in time", began_s, watch.unready), slow=True)
            return
        task = asyncio.ensure_future(watch.probe())
        try:
            await asyncio.wait({task}, timeout=self._deadline_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            self._let_hang(name, task)
            self._keep(name, Check("down", None, "no answer in time", began_s, watch.unready), slow=True)
            return
        took_s = self._clock.monotonic_s() - began_s
        try:
            told = task.result()
        except Down as why:
            found = Check("down", None, str(why), began_s, watch.unready)
        except DatabaseUnavailable:
            if name not in self._known or self._known[name].detail == _NOT_KNOWN:
                self._keep(name, Check("down", None, _NOT_KNOWN, began_s))
            return
        except Exception as error:  # noqa: BLE001 - a probe that fails in any way is a dependency that is down
            found = Check("down", None, type(error).__name__, began_s, watch.unready)
        else:
            told = Told(told) if isinstance(told, str) else told
            latency_ms = None if told.status in ("down", "unconfigured") else round(took_s * 1000, 2)
            found = Check(told.status, latency_ms, told.detail, began_s, told.unready, told.figures)
        self._keep(name, found, slow=took_s > _SLOW_S)

    def _let_hang(self, name: str, task: "asyncio.Task[Told | str]") -> None:
        """It is asked no more before it has ended, whatever it takes that for."""
        task.cancel()
        self._hanging[name] = task

        def ended(done: "asyncio.Task[Told | str]") -> None:
            self._hanging.pop(name, None)
            if not done.cancelled():
                done.exception()

        task.add_done_callback(ended)

    def _keep(self, name: str, check: Check, *, slow: bool = False) -> None:
        before = self._known.get(name)
        if slow and check.status == "down" and before is not None and before.status != "down":
            check = Check(check.status, check.latency_ms, check.detail, check.at_s)
        self._known[name] = check
        if any(watch.unready is not None and one not in self._known for one, watch in self._watches.items()):
            return
        reasons = (self._known[one].unready for one in self._watches if one in self._known)
        self.reason = next((one for one in reasons if one is not None), None)
