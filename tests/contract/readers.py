"""Reads a broker's updates for the contract suite, whether its stream has a replay or only begins."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress

from paiid.brokers import Broker, BrokerUpdate
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus
from tests.contract.stages import Stage
from tests.paper_live import PATIENCE_S, until


class Reader:
    """Reads a broker's updates: `told` is what happened, `marks` are the accounts whose stream has said that it only
    begins."""

    def __init__(self, broker: Broker, after: int) -> None:
        self.told: list[BrokerUpdate] = []
        self.marks: list[str] = []
        self._task = asyncio.create_task(self._read(broker, after))

    async def _read(self, broker: Broker, after: int) -> None:
        async with aclosing(broker.updates(after)) as stream:
            async for update in stream:
                if update.resync is None:
                    self.told.append(update)
                else:
                    assert (update.order, update.execution, update.activity) == (None, None, None)
                    self.marks.append(update.resync)

    async def until(self, enough: Callable[[list[BrokerUpdate]], bool]) -> list[BrokerUpdate]:
        """What was told, once it is enough. A marker may interrupt it at any time, and then something may be missing:
        none may come while the connection holds."""
        marks = len(self.marks)
        await self._wait(lambda: enough(self.told))
        assert len(self.marks) == marks, "the stream began again in the middle"
        return list(self.told)

    async def begun(self, accounts: frozenset[str], times: int) -> None:
        """Until the stream of each of these accounts has begun so many times."""
        await self._wait(lambda: all(self.marks.count(account) >= times for account in accounts))

    async def _wait(self, is_there: Callable[[], bool]) -> None:
        async def look() -> bool:
            if self._task.done():
                self._task.result()
                raise AssertionError("the stream ended by itself")
            return is_there()

        await until(look)

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


@asynccontextmanager
async def reading(stage: Stage, after: int = 0) -> AsyncIterator[Reader]:
    """A reader of everything that happens from here on, and of what happened behind the cursor where the broker keeps
    that."""
    times = stage.beginnings()
    reader = Reader(stage.broker, after)
    try:
        await reader.begun(frozenset() if stage.broker.replays_updates else stage.own_accounts, times)
        yield reader
    finally:
        await reader.close()


def ends(told: list[BrokerUpdate]) -> set[tuple[str, OrderStatus]]:
    """The broker's id and status of everything that has ended. What was read before may be told after it."""
    orders = [update.order for update in told if update.order is not None]
    return {(one.broker_order_id, one.status) for one in orders if one.status in TERMINAL_STATUSES}


def prints(told: list[BrokerUpdate]) -> set[str]:
    """The ids of all executions."""
    return {update.execution.execution_id for update in told if update.execution is not None}


async def take(broker: Broker, after: int, count: int) -> list[BrokerUpdate]:
    """The next updates behind a cursor, of a broker that replays them."""
    async with asyncio.timeout(PATIENCE_S), aclosing(broker.updates(after)) as stream:
        return [await anext(stream) for _ in range(count)]


def ended(name: str) -> Callable[[list[BrokerUpdate]], bool]:
    """Whether the last thing told is the cancel of this order."""

    def is_it(told: list[BrokerUpdate]) -> bool:
        last = told[-1].order if told else None
        return last is not None and (last.client_order_id, last.status) == (name, OrderStatus.CANCELED)

    return is_it
