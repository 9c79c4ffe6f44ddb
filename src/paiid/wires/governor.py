"""The budget governor: who may make one of the few requests that a broker takes from a credential in a minute.

A broker counts the requests of a credential, whoever makes them: this process, another replica, another program. So a
governor counts its own, believes the broker's headers, and hears what other replicas have spent (`shared_budget`); whichever leaves less
counts (`window`). When little is left the urgent go first: a cancel before an exit before an entry before a read.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import ceil
from typing import TYPE_CHECKING, Protocol

from paiid.core.clock import Clock
from paiid.core.tracing import NO_TRACES, Tracer
from paiid.wires.deadline import Deadline
from paiid.wires.exchanges import Exchanges
from paiid.wires.window import Window

if TYPE_CHECKING:
    from paiid.wires.outbound import Reply

__all__ = [
    "MARKET_SHARES",
    "MOST_WAITING",
    "ORDER_SHARES",
    "Counts",
    "Governor",
    "Governors",
    "Priority",
    "Shares",
    "Sharing",
    "Spent",
]

MOST_WAITING = 1_000
"""Waiters of one budget; beyond it the least urgent is refused at once."""
_LEAST_PAUSE_S = 0.001
_SOONEST_RETRY_S = 1.0


class Priority(IntEnum):
    """The smaller goes first."""

    CANCEL = 0
    EXIT = 1
    ENTRY = 2
    READ = 3
    """What an order path waits for: the look-up of one in doubt."""
    BACKGROUND = 4
    """Polls and comparisons, which can come later."""


Shares = Mapping[Priority, float]
ORDER_SHARES: Shares = {
    Priority.CANCEL: 0.0,
    Priority.EXIT: 0.10,
    Priority.ENTRY: 0.20,
    Priority.READ: 0.20,
    Priority.BACKGROUND: 0.40,
}
"""The share of the limit that each leaves to those before it. None may leave less than one that is more urgent."""
MARKET_SHARES: Shares = {**dict.fromkeys(Priority, 0.0), Priority.BACKGROUND: 0.20}
"""Of a bucket from which no order is ever paid: what comes later leaves something to quotes, and they use all of it."""


class Spent(Exception):
    """No request of this priority may be made before the time is up. The text is safe to show."""

    def __init__(self, words: str, retry_after_s: float) -> None:
        super().__init__(words)
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class Counts:
    """What became of the requests of one priority since the start."""

    admitted: int = 0
    refused: int = 0
    waited_s: float = 0.0
    """By those that were admitted, together."""


@dataclass(slots=True, eq=False)
class _Waiter:
    priority: Priority
    gives_up_s: float
    turn: "asyncio.Future[float | None]"
    """The instant of the place that it got; None: it got none."""


class Governor:
    """One budget: `limit` requests of one credential in a minute. `name` is safe to show and never has the credential."""

    def __init__(
        self,
        clock: Clock,
        name: str,
        limit: int,
        shares: Shares = ORDER_SHARES,
        exchanges: Exchanges | None = None,
    ) -> None:
        self.name = name
        self.window = Window(clock, limit)
        self.counts = {priority: Counts() for priority in Priority}
        self._exchanges = exchanges or Exchanges(clock)
        self.changed: Callable[[], None] = _nobody
        """Called when a request was admitted, and when the broker takes nothing for a while."""
        self._clock = clock
        self._shares = shares
        self._waiting: dict[Priority, deque[_Waiter]] = {priority: deque() for priority in Priority}
        self._timer: asyncio.Task[None] | None = None
        self._wakes_s = 0.0

    async def measured(self, exchange: "Awaitable[Reply]") -> "Reply":
        """An exchange that was paid from it, counted. Raises whatever it raises."""
        return await self._exchanges.measured(self.name, exchange)

    @property
    def limit(self) -> int:
        """Requests a minute, as was told last."""
        return self.window.limit

    @property
    def left(self) -> int:
        """Requests that may still be made now by the most urgent, never below 0."""
        return self.window.left

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return sum(map(len, self._waiting.values()))

    def left_for(self, priority: Priority) -> int:
        """Requests of this priority that may be made now."""
        return max(0, self.left - self._kept(priority))

    def _kept(self, priority: Priority) -> int:
        """Rounded up, so that a small limit keeps a place too; but never all of it, for each must have its turn some time."""
        return max(0, min(self.limit - 1, ceil(round(self.limit * self._shares[priority], 6))))

    def retry_after_s(self, priority: Priority) -> float | None:
        """Seconds until a place of this priority can be had, by what is known now; None: one is free."""
        self._serve()
        free_s = self._free_in_s(priority)
        return None if free_s <= 0 else free_s

    def _free_in_s(self, priority: Priority) -> float:
        ahead = sum(len(self._waiting[one]) for one in Priority if one <= priority)
        return self.window.free_in_s(self._kept(priority) + ahead + 1)

    async def admit(self, priority: Priority, deadline: Deadline, *, wait_s: float | None = None) -> None:
        """Take one place, waiting for it behind the more urgent, until the deadline or for `wait_s`. Raises Spent, at once
        where it is known that no place will come in time; a cancel waits in any case, for what is known may change."""
        began_s = self._clock.monotonic_s()
        self._serve()
        free_s = self._free_in_s(priority)
        if free_s > 0:
            patience_s = deadline.left_s if wait_s is None else min(wait_s, deadline.left_s)
            if patience_s <= 0 or (free_s > patience_s and priority is not Priority.CANCEL):
                raise self._refuse(priority)
            if not self._make_room(priority):
                raise self._refuse(priority)
            await self._wait(
                _Waiter(priority, began_s + patience_s, asyncio.get_running_loop().create_future())
            )
        else:
            self.window.spend()
        counts = self.counts[priority]
        counts.admitted += 1
        counts.waited_s += self._clock.monotonic_s() - began_s
        self.changed()

    async def _wait(self, waiter: _Waiter) -> None:
        self._waiting[waiter.priority].append(waiter)
        self._serve()
        try:
            got = await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiting[waiter.priority]:
                self._waiting[waiter.priority].remove(waiter)
            elif (
                waiter.turn.done()
                and not waiter.turn.cancelled()
                and (at_s := waiter.turn.result()) is not None
            ):
                # The place came in the very moment in which nobody wanted it any more.
                self.window.give_back(at_s)
            self._serve()
            raise
        if got is None:
            raise self._refuse(waiter.priority)

    def _make_room(self, priority: Priority) -> bool:
        """Where too many wait, the least urgent that came last goes, if that is not the one that asks."""
        if self.waiting < MOST_WAITING:
            return True
        last = max(one for one in Priority if self._waiting[one])
        if last <= priority:
            return False
        _send_away(self._waiting[last].pop())
        return True

    def _refuse(self, priority: Priority) -> Spent:
        self.counts[priority].refused += 1
        retry_s = max(_SOONEST_RETRY_S, self._free_in_s(priority))
        return Spent(
            f"the budget of {self.limit} requests a minute ({self.name}) is spent; try again in {ceil(retry_s)} s",
            retry_s,
        )

    def _serve(self) -> None:
        """Give free places to those that wait, the most urgent first and within a priority the one that came first."""
        if self._timer is None and not self.waiting:
            return
        now_s = self._clock.monotonic_s()
        for priority, waiters in self._waiting.items():
            for late in [one for one in waiters if one.gives_up_s <= now_s]:
                waiters.remove(late)
                _send_away(late)
            while waiters and (waiters[0].turn.done() or self.left_for(priority) > 0):
                waiter = waiters.popleft()
                if not waiter.turn.done():
                    waiter.turn.set_result(self.window.spend())
        self._rearm()

    def _rearm(self) -> None:
        """Look again when a place gets free or somebody gives up, whichever comes first; while nobody waits, never."""
        if not self.waiting:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        now_s = self._clock.monotonic_s()
        first = next(one for one in Priority if self._waiting[one])
        wakes_s = min(
            now_s + self.window.free_in_s(self._kept(first) + 1),
            *(one.gives_up_s for waiters in self._waiting.values() for one in waiters),
        )
        if self._timer is not None:
            if wakes_s >= self._wakes_s > now_s:
                return
            self._timer.cancel()
        self._wakes_s = max(wakes_s, now_s + _LEAST_PAUSE_S)
        self._timer = asyncio.create_task(self._look_again(self._wakes_s - now_s), name="paiid-budget")

    async def _look_again(self, pause_s: float) -> None:
        await self._clock.sleep(pause_s)
        self._timer = None
        self._serve()

    def learn(
        self,
        *,
        limit: int | None = None,
        left: int | None = None,
        resets_at_us: int | None = None,
        refused: bool = False,
    ) -> None:
        """What the broker's headers say: its limit, what it still takes, and until when that counts (microseconds since the
        epoch); `refused` is a 429, after which it takes nothing until then (a minute, where it does not say)."""
        self.window.learn(limit, left, resets_at_us, refused=refused)
        if refused:
            self.changed()
        self._serve()

    def hear(self, replica: str, spent: list[tuple[float, int]], closed_s: float) -> None:
        """What another replica has sent in this minute (seconds ago, how many), and for how long it was told to send nothing."""
        self.window.hear(replica, spent, closed_s)
        self._serve()


def _send_away(waiter: _Waiter) -> None:
    # Cancelled in this moment, it is gone already.
    if not waiter.turn.done():
        waiter.turn.set_result(None)


def _nobody() -> None:
    """Nobody shares this budget."""


class Sharing(Protocol):
    """Whatever tells the replicas of an installation what each has spent (`shared_budget`)."""

    def join(self, name: str, credential: str, governor: Governor) -> None:
        """From now on this budget is shared."""
        ...

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what."""
        ...

    async def start(self) -> None:
        """Begin."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


class Governors:
    """All of this process: one for each credential and bucket, whoever asks for it. `shared`: what other replicas spend counts too."""

    def __init__(self, clock: Clock, shared: Sharing | None = None, tracer: Tracer = NO_TRACES) -> None:
        self._clock = clock
        self._shared = shared
        self.exchanges = Exchanges(clock, tracer)
        """What became of all requests that were paid from them."""
        self._all: dict[tuple[str, str], Governor] = {}

    def of(self, name: str, credential: str, limit: int, shares: Shares = ORDER_SHARES) -> Governor:
        """The governor of this bucket (`name`, such as "tradier trading") and credential; `limit` and `shares` count at the first
        call. Several credentials have names with numbers: no part of a credential is shown."""
        found = self._all.get((name, credential))
        if found is None:
            others = sum(bucket == name for bucket, _ in self._all)
            called = f"{name} {others + 1}" if others else name
            found = Governor(self._clock, called, limit, shares, self.exchanges)
            self._all[name, credential] = found
            if self._shared is not None:
                self._shared.join(name, credential, found)
        return found

    def all(self) -> list[Governor]:
        """Every one that was asked for, by name."""
        return sorted(self._all.values(), key=lambda one: one.name)

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what: for the health page."""
        return {} if self._shared is None else self._shared.failing

    async def start(self) -> None:
        """Begin to tell other replicas, and to hear them."""
        if self._shared is not None:
            await self._shared.start()

    async def stop(self) -> None:
        """End it."""
        if self._shared is not None:
            await self._shared.stop()
