"""Who listens to the updates of orders, and the faults that are played on the way to them."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from paiid.core.clock import Clock
from paiid.sim.engine.faults import Fault, FaultBook

__all__ = ["Audience", "Message", "Subscription"]

_QUEUE = 10_000
"""Messages that wait for one listener; beyond that he is cut off."""
_log = structlog.get_logger("paiid.sim")


@dataclass(slots=True, eq=False)
class Message:
    """One update on its way. `data` is the object on the wire, `told` what the ledger says of it where a fault is
    played, `spoil` words it as no client expects it. `at_us`, `cursor` and `index` are its place among all updates,
    for streams that begin anywhere."""

    account: str
    symbol: str | None
    event: str
    data: dict[str, Any]
    told: Mapping[str, Any]
    spoil: Callable[[Fault, dict[str, Any]], dict[str, Any]]
    at_us: int = 0
    cursor: int = 0
    index: int = 0
    sent: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, eq=False)
class Subscription:
    """One listener of one account. `cut` ends his connection, `deafen` lets it stay and do nothing. None in the queue
    is the end: he is cut off once all before it has been sent."""

    account: str
    cut: Callable[[], None]
    deafen: Callable[[], None]
    queue: "asyncio.Queue[Message | None]" = field(default_factory=lambda: asyncio.Queue(_QUEUE))
    is_silent: bool = False


class Audience:
    """All listeners of all accounts. A fault is drawn once for an update, and meets all who listen to its account."""

    def __init__(self, clock: Clock, faults: FaultBook) -> None:
        self._clock = clock
        self._faults = faults
        self._listeners: list[Subscription] = []
        self._late = 0
        self._held_back: dict[str, list[Message]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def held_up(self) -> int:
        """Updates that a fault holds up."""
        return self._late + sum(map(len, self._held_back.values()))

    @property
    def counts(self) -> dict[str, int]:
        """How many listen to each account."""
        counts: dict[str, int] = {}
        for one in self._listeners:
            counts[one.account] = counts.get(one.account, 0) + 1
        return counts

    def join(self, subscription: Subscription) -> None:
        """Deliver to this listener from now on."""
        self._listeners.append(subscription)

    def leave(self, subscription: Subscription) -> None:
        """He is gone."""
        if subscription in self._listeners:
            self._listeners.remove(subscription)

    def disconnect(self, account: str | None = None) -> int:
        """Cut the listeners of one account, or all, off; how many that were."""
        cut = [one for one in self._listeners if account in (None, one.account)]
        for one in cut:
            self.leave(one)
            try:
                one.queue.put_nowait(None)
            except asyncio.QueueFull:
                one.cut()
        return len(cut)

    def close(self) -> None:
        """Cut everybody off at once."""
        for task in list(self._tasks):
            task.cancel()
        for one in list(self._listeners):
            one.cut()

    def tell(self, message: Message) -> list[Message]:
        """Deliver the update, or do to it what a fault wants; what has been put on its way at once."""
        account = message.account
        if not any(one.account == account for one in self._listeners):
            return []
        fault = self._faults.draw("stream", account, symbol=message.symbol, event=message.event)
        if fault is None:
            made = self._deliver(message)
        else:
            self._faults.tell(fault, account=account, event=message.event, **message.told)
            if fault.kind.name == "update_reordered":
                self._hold_back(message, fault)
                return []
            made = self._spoil(message, fault)
        for held in self._held_back.pop(account, []):
            made += self._deliver(held)
        return made

    def _spoil(self, message: Message, fault: Fault) -> list[Message]:
        account, name = message.account, fault.kind.name
        if name == "update_duplicated":
            return [one for _ in range(fault.params["times"]) for one in self._deliver(replace(message))]
        if name == "update_late":
            self._late += 1
            self._run_later(self._deliver_late(message, fault.params["delay_ms"] / 1000))
        elif name == "disconnect":
            self.disconnect(account)
        elif name == "silent":
            for one in self._listeners:
                if one.account == account:
                    one.is_silent = True
                    if fault.params["deaf"]:
                        one.deafen()
        elif name in ("unknown_status", "missing_fields"):
            return self._deliver(replace(message, data=message.spoil(fault, message.data)))
        return []

    def _deliver(self, message: Message) -> list[Message]:
        made = []
        for one in list(self._listeners):
            if one.account != message.account or one.is_silent:
                continue
            mine = replace(message, sent=asyncio.Event())
            try:
                one.queue.put_nowait(mine)
            except asyncio.QueueFull:
                _log.warning("sim_listener_too_slow", account=one.account)
                self.leave(one)
                one.cut()
                continue
            made.append(mine)
        return made

    async def _deliver_late(self, message: Message, delay_s: float) -> None:
        try:
            await self._clock.sleep(delay_s)
            self._deliver(message)
        finally:
            self._late -= 1

    def _hold_back(self, message: Message, fault: Fault) -> None:
        self._held_back.setdefault(message.account, []).append(message)
        self._run_later(self._let_go(message, fault.params["wait_ms"] / 1000))

    async def _let_go(self, message: Message, delay_s: float) -> None:
        """Deliver an update that no other one has come to overtake."""
        await self._clock.sleep(delay_s)
        held = self._held_back.get(message.account, [])
        if message in held:
            held.remove(message)
            self._deliver(message)

    def _run_later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="paiid-sim-update")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
