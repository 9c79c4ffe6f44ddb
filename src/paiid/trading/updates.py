"""Reads a broker's update stream, on one replica at a time, and fetches what it may have kept silent (contract E18)."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from paiid.brokers import Broker, BrokerError, BrokerUpdate
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.failpoints import Probe
from paiid.core.leases import Held, LeaseLost, Leases
from paiid.trading import store
from paiid.trading.book import Book
from paiid.trading.merging import Merger
from paiid.trading.missed import Incomplete
from paiid.trading.reconcile import Reconciler
from paiid.trading.records import AccountRow
from paiid.trading.timings import Timings

__all__ = ["LeaseLost", "UpdateReader"]

_log = structlog.get_logger("paiid.trading.updates")
_LEASE_S = 3.0
_RENEW_S = 1.0
_CHUNK = 128
_LONGEST_RETRY_S = 15.0
_CALM_S = 60.0


class _Silent(BrokerError):
    """The stream keeps silent, which says nothing against the broker: it is asked again at once."""


class UpdateReader:
    """Reads one broker's updates. `published` is told of every committed book."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        broker: Broker,
        leases: Leases,
        reconciler: Reconciler,
        probe: Probe,
        published: Callable[[Book], None],
        timings: Timings,
    ) -> None:
        self._db = db
        self._clock = clock
        self._broker = broker
        self._leases = leases
        self._reconciler = reconciler
        self._timings = timings
        self._name = f"updates:{broker.name}"
        self._merger = Merger(db, clock, broker, self._name, probe, published)
        self.merge = self._merger.merge
        self._again = asyncio.Event()
        self._owed = asyncio.Event()
        """What came before the stream began is still to be fetched; where nothing is replayed."""
        self._untold: dict[str, float] = {}
        """What a poll has found and the stream has not told: the broker's order id, and since when."""
        self.problem: str | None = "not begun"
        """Why nothing is read at present; None while it is, or while another replica does."""

    async def run(self) -> None:
        """Hold the lease and merge, until cancelled. A broker that goes on failing is asked less and less often."""
        first_s = pause_s = self._timings.update_retry_s
        try:
            while True:
                began_s = self._clock.monotonic_s()
                broke = False
                try:
                    held = await self._leases.take(self._name, _LEASE_S)
                    self.problem = None
                    if held is not None:
                        await self._read(held)
                except (DatabaseUnavailable, BrokerError, LeaseLost) as problem:
                    self.problem = str(problem)
                    broke = isinstance(problem, BrokerError) and not isinstance(problem, _Silent)
                    _log.warning("updates_interrupted", broker=self._broker.name, reason=self.problem)
                calm = self._clock.monotonic_s() - began_s > _CALM_S
                pause_s = min(2 * pause_s, _LONGEST_RETRY_S) if broke and not calm else first_s
                await self._clock.sleep(pause_s)
        finally:
            with suppress(DatabaseUnavailable):
                await self._leases.release(self._name)

    async def _read(self, held: Held) -> None:
        async with self._db.read() as tx:
            cursor = await store.load_cursor(tx, self._name)
        queue: asyncio.Queue[BrokerUpdate] = asyncio.Queue(maxsize=4 * _CHUNK)
        self._untold.clear()
        # Listening begins before the catch-up, so that nothing falls between the two.
        tasks = [asyncio.create_task(self._pump(cursor, queue), name="paiid-updates")]
        try:
            # The lease is short, and a broker that is slow to answer must not cost it.
            tasks.append(asyncio.create_task(self._keep(held), name="paiid-updates-lease"))
            if self._broker.replays_updates:
                await self._catch_up(held, cursor)
            else:
                # A broker that answers badly must not keep away what its stream tells meanwhile: in any order it is
                # the same, and what is fetched goes by what the books have agreed on, not by the cursor.
                self._owed.set()
            tasks.append(asyncio.create_task(self._compare(held, cursor), name="paiid-reconcile"))
            if not self._broker.replays_updates:
                tasks.append(asyncio.create_task(self._poll(held, cursor), name="paiid-updates-poll"))
            while True:
                await self._take_in(held, await self._gather(queue, tasks))
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError, BrokerError, DatabaseUnavailable, LeaseLost):
                    await task

    async def _keep(self, held: Held) -> None:
        """Renew the lease until it is lost."""
        while True:
            await self._clock.sleep(_RENEW_S)
            again = await self._leases.take(self._name, _LEASE_S)
            if again is None or again.token != held.token:
                raise LeaseLost("the lease went to another replica")

    async def _take_in(self, held: Held, chunk: Sequence[BrokerUpdate]) -> None:
        """Merge; where the stream says that it has only just begun, have fetched what came before it."""
        if any(update.resync is not None for update in chunk):
            self._owed.set()
        await self._merge_told(held, [update for update in chunk if update.resync is None])
        late_s = self._clock.monotonic_s() - self._timings.stream_late_s
        silent = [broker_order_id for broker_order_id, since_s in self._untold.items() if since_s < late_s]
        if silent:
            raise _Silent(f"the stream has not told of {len(silent)} orders that changed")

    async def _merge_told(self, held: Held, chunk: Sequence[BrokerUpdate]) -> None:
        if chunk:
            await self._merger.merge(held, chunk)
            for update in chunk:
                if update.order is not None:
                    self._untold.pop(update.order.broker_order_id, None)

    async def _catch_up(self, held: Held, cursor: int) -> frozenset[str]:
        """By REST what the stream may have lost while nobody read it: the orders that it changed."""
        changed: set[str] = set()
        for account in await self._reconciler.accounts():
            changed |= await self._fetch_missed(held, account, cursor)
        return frozenset(changed)

    async def _fetch_missed(self, held: Held, account: AccountRow, cursor: int) -> frozenset[str]:
        """What was missed of an account, merged. Raises BrokerError, also where only some of it could be fetched."""
        problem: Incomplete | None = None
        try:
            missed: Sequence[BrokerUpdate] = await self._reconciler.missed(account, cursor)
        except Incomplete as partly:
            missed, problem = partly.updates, partly
        changed: set[str] = set()
        for start in range(0, len(missed), _CHUNK):
            changed |= await self._merger.merge(held, missed[start : start + _CHUNK])
        if problem is not None:
            raise problem
        return frozenset(changed)

    async def _poll(self, held: Held, cursor: int) -> None:
        """Fetch what came before the stream began, until that has come. Then look now and then what it should have told:
        without replay, it may fall silent with its socket open."""
        first_s = retry_s = min(self._timings.update_retry_s, self._timings.poll_s)
        while True:
            await self._until_due()
            owed = self._owed.is_set()
            self._owed.clear()
            try:
                changed = await self._catch_up(held, cursor)
            except BrokerError as problem:
                _log.warning("poll_failed", broker=self._broker.name, reason=str(problem))
                await self._clock.sleep(retry_s)
                retry_s = min(2 * retry_s, _LONGEST_RETRY_S, self._timings.poll_s)
                if owed:
                    self._owed.set()
                continue
            retry_s = first_s
            now_s = self._clock.monotonic_s()
            for broker_order_id in () if owed else changed:
                self._untold.setdefault(broker_order_id, now_s)

    async def _until_due(self) -> None:
        """Until it is time for a poll, or something is owed."""
        waits = (
            asyncio.ensure_future(self._owed.wait()),
            asyncio.ensure_future(self._clock.sleep(self._timings.poll_s)),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    async def _compare(self, held: Held, cursor: int) -> None:
        """Every minute the ledger against the broker's books, and one that differs from them more often."""

        async def heal(account: AccountRow) -> None:
            await self._fetch_missed(held, account, cursor)

        due_s = 0.0
        while True:
            all_due = self._clock.monotonic_s() >= due_s
            for account in await self._reconciler.accounts():
                if all_due or account.reconcile_problem is not None or account.reconciled_at is None:
                    try:
                        await self._reconciler.compare(account, heal)
                    except BrokerError as problem:
                        _log.warning("reconcile_failed", broker=self._broker.name, reason=str(problem))
            if all_due:
                due_s = self._clock.monotonic_s() + self._timings.compare_s
            self._again.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timings.recompare_s):
                    await self._again.wait()

    def compare_soon(self) -> None:
        """An account has just been opened: its books are wanted."""
        self._again.set()

    async def _pump(self, cursor: int, queue: "asyncio.Queue[BrokerUpdate]") -> None:
        async for update in self._broker.updates(cursor):
            await queue.put(update)
        raise BrokerError("the update stream ended")

    async def _gather(
        self, queue: "asyncio.Queue[BrokerUpdate]", tasks: "Sequence[asyncio.Task[None]]"
    ) -> list[BrokerUpdate]:
        """What has come, or nothing after a while. Raises what one of the tasks has ended with."""
        getter = asyncio.ensure_future(queue.get())
        try:
            await asyncio.wait({getter, *tasks}, timeout=_RENEW_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not getter.done():
                getter.cancel()
        for task in tasks:
            if task.done():
                task.result()
        if not getter.done() or getter.cancelled():
            return []
        chunk = [getter.result()]
        while len(chunk) < _CHUNK and not queue.empty():
            chunk.append(queue.get_nowait())
        return chunk
