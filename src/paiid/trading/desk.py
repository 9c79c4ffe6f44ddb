"""The order desk: the parts of the order path wired together, and their background work."""

import hmac
from collections.abc import Awaitable, Callable, Mapping

import structlog

from paiid.accounts.service import AccountService
from paiid.brokers import Broker, BrokerError
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable, UniqueViolation
from paiid.core.failpoints import Probe
from paiid.core.leases import Leases
from paiid.core.tasks import Background
from paiid.market.service import MarketService
from paiid.stream.journal import Told, nobody
from paiid.trading import restored_store, store
from paiid.trading.book import Book
from paiid.trading.cancel import Cancels
from paiid.trading.claim import Claims
from paiid.trading.halt_channel import nothing
from paiid.trading.latch import Latch
from paiid.trading.reconcile import Reconciler
from paiid.trading.record import Recorder
from paiid.trading.resolve import Resolver
from paiid.trading.restored import RestoredAccounts
from paiid.trading.send import Sender
from paiid.trading.service import OrdersOfTemplate, TradingService
from paiid.trading.stages import Stages
from paiid.trading.timings import Timings
from paiid.trading.updates import UpdateReader
from paiid.trading.waiters import Waiters

_log = structlog.get_logger("paiid.trading.desk")
_SECRET = "client-order-id"  # noqa: S105 - the name of the row, not the secret
_HOUSEKEEPING_S = 300.0
_EVENT_WINDOW_US = 24 * 3600 * 1_000_000


class Desk:
    """Everything trading needs to run. Attributes: `service`, `cancels`, `resolver`. `told` hears of every commit that wrote events,
    `halts_changed` of a halt that came with the loud correction."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        brokers: Mapping[str, Broker],
        market: MarketService,
        accounts: AccountService,
        latch: Latch,
        leases: Leases,
        secret: bytes,
        ttl_s: int,
        timings: Timings,
        probe: Probe,
        templates: OrdersOfTemplate | None = None,
        *,
        told: Told = nobody,
        halts_changed: Callable[[], None] = nothing,
        stages: Stages | None = None,
    ) -> None:
        self.stages = stages or Stages(clock)
        for broker in brokers.values():
            timings.check(broker.lookup_lag_s)
        self._db = db
        self._clock = clock
        self._leases = leases
        self._ttl_s = ttl_s
        self._told = told
        self._halts_changed = halts_changed
        waiters = Waiters()
        self.cancels = Cancels(db, clock, timings, brokers, probe, self._published, self.stages)
        self.resolver = Resolver(
            db, clock, timings, brokers, market.hours, probe, self._published, self.stages
        )
        self.service = TradingService(
            db,
            clock,
            brokers,
            market,
            accounts,
            Claims(clock, latch, timings, secret, probe),
            Recorder(clock, latch, timings, probe),
            Sender(clock, latch, timings, probe, self.stages),
            timings,
            ttl_s,
            waiters,
            self.resolver.wake,
            probe,
            templates,
            told,
            self.stages,
        )
        self.readers = {
            name: UpdateReader(
                db,
                clock,
                broker,
                leases,
                Reconciler(db, clock, broker, timings.broker_deadline_s, told),
                probe,
                self._published,
                timings,
            )
            for name, broker in brokers.items()
        }
        self.restored = RestoredAccounts(
            db, clock, brokers, leases, probe, self._published, timings, self.compare_soon
        )
        self._background = Background(clock)

    def _published(self, book: Book) -> None:
        self.service.published(book)
        self._told(book.told_accounts)
        if book.alarms:
            self._halts_changed()
        for account_id, order_id, what in book.alarms:
            self.stages.alarms.add(what)
            _log.error("alarm", account=account_id, order=order_id, what=what)

    def start(self) -> None:
        """Begin the sweeps and the update streams."""
        self._background.begin("resolver", self.resolver.run)
        self._background.begin("cancels", lambda: self._repeat("cancels", self._sweep_cancels, 1.0))
        self._background.begin(
            "housekeeping", lambda: self._repeat("housekeeping", self._tidy, _HOUSEKEEPING_S)
        )
        self._background.begin("restored", self.restored.run)
        for name, reader in self.readers.items():
            self._background.begin(f"updates-{name}", reader.run)

    async def stop(self) -> None:
        """Drain sends in flight, then end the background work."""
        await self.service.stop()
        await self.resolver.stop()
        await self._background.stop()

    def compare_soon(self, broker: str) -> None:
        """Compare what differs at this broker at once, and not only when it is its turn."""
        self.readers[broker].compare_soon()

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what: for the health page."""
        return self._background.failing

    def not_ready(self) -> str | None:
        """Why orders cannot be taken yet or any more, or None (contract E13)."""
        if self.service.draining:
            return "the process is ending"
        if not self.resolver.first_pass_done:
            return "orders left open by an earlier run are being looked at"
        if "resolver" in self._background.failing:
            return "orders in doubt cannot be looked at"
        return None

    async def _sweep_cancels(self) -> None:
        await self.cancels.sweep()

    async def _tidy(self) -> None:
        async with self._db.begin() as tx:
            now_us = await tx.now_us()
            await store.prune_events(tx, now_us - _EVENT_WINDOW_US)
            await store.drop_expired_bodies(tx, now_us - self._ttl_s * 1_000_000)

    async def _repeat(self, name: str, work: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            try:
                await work()
            except (DatabaseUnavailable, BrokerError) as problem:
                _log.warning("background_failed", name=name, reason=str(problem))
            await self._clock.sleep(every_s)


async def load_secret(db: Database, clock: Clock) -> bytes:
    """The install's own secret behind every client order id, made once (contract E8).

    Raises DatabaseUnavailable.
    """
    for _ in range(3):
        async with db.read() as tx:
            found = await store.find_secret(tx, _SECRET)
        if found is not None:
            return bytes.fromhex(found)
        try:
            async with db.begin() as tx:
                await store.insert_secret(tx, _SECRET, clock.random_bytes(32).hex(), await tx.now_us())
        except UniqueViolation:
            continue
    raise DatabaseUnavailable("the install secret could not be made")


async def load_shared_secret(db: Database, secret: bytes) -> bytes:
    """What the replicas find each other by in Redis: the install's own secret, but of a database that was restored another one, for
    that of which the backup was taken may run on. Raises DatabaseUnavailable."""
    async with db.read() as tx:
        restore_id = await restored_store.find_restore(tx)
    return secret if restore_id is None else hmac.digest(secret, restore_id.encode(), "sha256")
