"""Group commit: calls that wait at the same time share one transaction and one commit."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from paiid.core.db.api import (
    GATHER_S,
    MAX_GROUP,
    OPERATION_BUDGET_S,
    TURN_S,
    BatchFn,
    CommitUnknown,
    DatabaseUnavailable,
    I,
    R,
    Tx,
)
from paiid.core.figures import Histogram

_LEAST_S = 0.05


class Begin(Protocol):
    """`Database.begin`, as much as is needed of it here."""

    def __call__(self, *, within_s: float) -> AbstractAsyncContextManager[Tx]: ...


class _Entry:
    __slots__ = ("asked_s", "expiry", "future", "item", "started")

    def __init__(self, item: Any, future: "asyncio.Future[Any]", asked_s: float) -> None:
        self.item = item
        self.asked_s = asked_s
        self.future = future
        self.started = False
        self.expiry: asyncio.TimerHandle | None = None

    def expire(self) -> None:
        """Give up waiting for a turn; an entry whose transaction has begun is left to its end."""
        if not self.started and not self.future.done():
            self.future.set_exception(DatabaseUnavailable("the database did not come free in time"))

    def settle(self, result: Any) -> None:
        if self.expiry is not None:
            self.expiry.cancel()
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class _Lane:
    __slots__ = ("_enough", "_gather_s", "entries", "expected", "fn", "task")

    def __init__(self, fn: BatchFn[Any, Any], gather_s: float) -> None:
        self.fn = fn
        self._gather_s = gather_s
        self.entries: deque[_Entry] = deque()
        self.task: asyncio.Task[None] | None = None
        self.expected = 1
        """How many the last group had: so many callers are about."""
        self._enough: asyncio.Future[None] | None = None

    def add(self, entry: _Entry) -> None:
        self.entries.append(entry)
        if self._enough is not None and len(self.entries) >= self.expected:
            self._go_on()

    async def gather(self) -> None:
        """Those who are answered together come back together, one after the other. A transaction for the first of
        them alone would make the others wait for it, so he waits a moment for them; a lone caller never waits."""
        if len(self.entries) >= self.expected:
            return
        loop = asyncio.get_running_loop()
        self._enough = loop.create_future()
        timer = loop.call_later(self._gather_s, self._go_on)
        await self._enough
        timer.cancel()

    def _go_on(self) -> None:
        if self._enough is not None and not self._enough.done():
            self._enough.set_result(None)
        self._enough = None


class Writer:
    """One lane for each batch function; a lane runs one group at a time and sleeps when it is empty."""

    def __init__(
        self,
        begin: Begin,
        gather_s: float = GATHER_S,
        groups: Histogram | None = None,
    ) -> None:
        self._begin = begin
        self._gather_s = gather_s
        self._groups = groups
        self._lanes: dict[BatchFn[Any, Any], _Lane] = {}
        self._closed = False

    async def commit_with(self, fn: BatchFn[I, R], item: I) -> R:
        """See `Database.commit_with`."""
        if self._closed:
            raise DatabaseUnavailable("the database is closed")
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(fn)
        if lane is None:
            lane = self._lanes[fn] = _Lane(fn, self._gather_s)
        entry = _Entry(item, loop.create_future(), loop.time())
        entry.expiry = loop.call_later(TURN_S, entry.expire)
        lane.add(entry)
        if lane.task is None:
            lane.task = loop.create_task(self._run(lane), name="paiid-writer")
        # A caller that is cancelled must not leave its entry half done: the group runs to its end regardless.
        result: R = await asyncio.shield(entry.future)
        return result

    @property
    def queued(self) -> int:
        """Calls that wait for their group."""
        return sum(len(lane.entries) for lane in self._lanes.values())

    async def stop(self) -> None:
        """Run what is queued, then refuse more."""
        self._closed = True
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=OPERATION_BUDGET_S)

    async def _run(self, lane: _Lane) -> None:
        # Callers that became runnable in this turn of the loop still join the first group.
        await asyncio.sleep(0)
        while lane.entries:
            await lane.gather()
            group: list[_Entry] = []
            while lane.entries and len(group) < MAX_GROUP:
                entry = lane.entries.popleft()
                if not entry.future.done():
                    group.append(entry)
            lane.expected = max(1, len(group))
            if group:
                await self._commit(lane.fn, group)
        lane.task = None

    async def _commit(self, fn: BatchFn[Any, Any], group: Sequence[_Entry]) -> None:
        waiting: list[_Entry] = list(group)
        # The time that the one who has waited longest still has: a group behind one that hung must not hang as long again.
        left_s = group[0].asked_s + OPERATION_BUDGET_S - asyncio.get_running_loop().time()
        try:
            async with self._begin(within_s=max(left_s, _LEAST_S)) as tx:
                # While the turn was awaited some may have given up: they must not be written behind their back.
                waiting = [entry for entry in group if not entry.future.done()]
                for entry in waiting:
                    entry.started = True
                results = await fn(tx, [entry.item for entry in waiting]) if waiting else []
        except (CommitUnknown, DatabaseUnavailable) as problem:
            for entry in waiting:
                entry.settle(problem)
        except Exception as problem:  # noqa: BLE001 - a bad item must not take its group along
            if len(waiting) == 1:
                waiting[0].settle(problem)
                return
            for entry in waiting:
                await self._commit(fn, [entry])
        else:
            if self._groups is not None:
                self._groups.observe(len(waiting))
            for entry, result in zip(waiting, results, strict=True):
                entry.settle(result)
