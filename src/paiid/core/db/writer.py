"""Group commit: calls that wait at the same time share one transaction and one commit."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from paiid.core.db.api import (
    MAX_GROUP,
    OPERATION_BUDGET_S,
    BatchFn,
    CommitUnknown,
    DatabaseUnavailable,
    I,
    R,
    Tx,
)


class _Entry:
    __slots__ = ("expiry", "future", "item", "started")

    def __init__(self, item: Any, future: "asyncio.Future[Any]") -> None:
        self.item = item
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
    __slots__ = ("entries", "fn", "task")

    def __init__(self, fn: BatchFn[Any, Any]) -> None:
        self.fn = fn
        self.entries: deque[_Entry] = deque()
        self.task: asyncio.Task[None] | None = None


class Writer:
    """One lane for each batch function; a lane runs one group at a time and sleeps when it is empty."""

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[Tx]]) -> None:
        self._begin = begin
        self._lanes: dict[BatchFn[Any, Any], _Lane] = {}
        self._closed = False

    async def commit_with(self, fn: BatchFn[I, R], item: I) -> R:
        """See `Database.commit_with`."""
        if self._closed:
            raise DatabaseUnavailable("the database is closed")
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(fn)
        if lane is None:
            lane = self._lanes[fn] = _Lane(fn)
        entry = _Entry(item, loop.create_future())
        entry.expiry = loop.call_later(OPERATION_BUDGET_S, entry.expire)
        lane.entries.append(entry)
        if lane.task is None:
            lane.task = loop.create_task(self._run(lane), name="paiid-writer")
        # A caller that is cancelled must not leave its entry half done: the group runs to its end regardless.
        result: R = await asyncio.shield(entry.future)
        return result

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
            group: list[_Entry] = []
            while lane.entries and len(group) < MAX_GROUP:
                entry = lane.entries.popleft()
                if not entry.future.done():
                    group.append(entry)
            if group:
                await self._commit(lane.fn, group)
        lane.task = None

    async def _commit(self, fn: BatchFn[Any, Any], group: Sequence[_Entry]) -> None:
        waiting: list[_Entry] = list(group)
        try:
            async with self._begin() as tx:
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
            for entry, result in zip(waiting, results, strict=True):
                entry.settle(result)
