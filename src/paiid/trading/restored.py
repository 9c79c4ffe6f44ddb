"""After a restore: the orders that the brokers have taken since the backup, brought into the ledger under their own ids.

A ledger that went back in time has forgotten the keys that were used since. Their orders' ids at the broker are made of
them (contract E8), so once those orders are here a claim under such a key meets its own id and adopts it. Until then no
order of the account is claimed, and no halt of it is resumed (ADR 0032).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from paiid.accounts.store import RESTORED_WAITING
from paiid.brokers import Broker, BrokerError, BrokerOrderView, BrokerUpdate
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable, UniqueViolation
from paiid.core.failpoints import Probe
from paiid.core.instants import instant
from paiid.core.leases import Leases
from paiid.domain.calendar import eastern_date
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import SYSTEM, Actor
from paiid.trading import restored_store, store
from paiid.trading.book import Book
from paiid.trading.merging import Merger
from paiid.trading.missed import Views, add_with_legs
from paiid.trading.opening import counts_from, is_before
from paiid.trading.records import AccountRow
from paiid.trading.restored_store import RestoredAccount
from paiid.trading.timings import Timings

_log = structlog.get_logger("paiid.trading.restored")
_OUR_ID = re.compile(r"pd-[0-9a-f]{32}\Z", re.ASCII)
MARGIN_US = 900_000_000
"""So long before the backup the orders are asked for where the broker's lists end with the day: more than the clocks and an
order on its way may make."""
WIDE_MARGIN_US = 86_400_000_000
"""The same where they do not: more than a clock set wrong by hand, or by a zone of time, may make."""
RETRY_AFTER_S = 5
_LEASE = "restored"
_LEASE_S = 5.0
"""Renewed with each page. Should two replicas import at a time after all, what both of them book stands once."""
_EVERY_S = 1.0
_CHUNK = 100
_ONE_INSTANT = 100
"""As many orders of one instant at the end of a list may be a page behind which others of that instant are hidden."""
_DAY_OVER = (
    "{broker} lists the orders of today alone, and the backup is of {at}: what was ordered on the days in between is not "
    "told any more. Compare with its own pages, then say so: paiid restore-accept {account}"
)
_NOT_IN_BACKUP = (
    "the account was not in the backup, and its broker has orders of this service from before it was opened here: the keys "
    "that they were made with are not known. See that nobody repeats them, then say so: paiid restore-accept {account}"
)
_BOOKS_BEGAN_LATER = (
    "the books of the account began after the backup, and its broker has orders of this service that had ended before: the "
    "keys that they were made with are not known. See that nobody repeats them, then say so: paiid restore-accept {account}"
)
_NOT_CONFIGURED = (
    "{broker} is not configured here: set its keys and restart, or use paiid restore-accept {account}"
)


class _NotTold(Exception):
    """The broker does not tell all that is needed; the text says why, and what to do."""


@dataclass(slots=True)
class _Progress:
    """How far the import of an account has come in this process."""

    after_us: int
    seen: set[str] = field(default_factory=set)

    def fresh(self, page: Sequence[BrokerOrderView]) -> list[BrokerOrderView]:
        """What the page has that was not seen; nothing: it was the last. Raises BrokerError where that is not certain."""
        found = [view for view in page if view.broker_order_id not in self.seen]
        if not found and len(page) >= _ONE_INSTANT:
            raise BrokerError("the broker has more orders of one instant than one page of its list may hold")
        return found

    def note(self, fresh: Sequence[BrokerOrderView]) -> None:
        """These are done."""
        self.seen.update(view.broker_order_id for view in fresh)
        self.after_us = max(view.submitted_at_us for view in fresh)


def refuse_pending(account: AccountRow, pending: Mapping[str, RestoredAccount]) -> None:
    """Raises Problem (503, nothing is decided and the key may try again) for an account whose orders are not imported."""
    if account.reconcile_problem != RESTORED_WAITING and account.id not in pending:
        return
    one = pending.get(account.id)
    raise Problem(
        Code.NOT_READY,
        "The account came back from a backup, and the orders that its broker has taken since are being brought in, so that "
        "a key that was used since then is known. Nothing was decided; try again.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
        extra={"account": account.id, "problem": None if one is None else one.problem},
    )


def is_ours(view: BrokerOrderView) -> bool:
    """Whether the order bears an id that this service makes (contract E8)."""
    return view.client_order_id is not None and _OUR_ID.match(view.client_order_id) is not None


class RestoredAccounts:
    """Imports the orders of pending accounts, on one replica at a time; without any it only looks."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        brokers: Mapping[str, Broker],
        leases: Leases,
        probe: Probe,
        published: Callable[[Book], None],
        timings: Timings,
        imported: Callable[[str], None],
    ) -> None:
        """`published` is told of every committed book, `imported` hears the broker of an account that is to be compared."""
        self._db = db
        self._clock = clock
        self._brokers = brokers
        self._leases = leases
        self._timeout_s = timings.broker_deadline_s
        self._retry_s = timings.import_retry_s
        self._imported = imported
        self._mergers = {
            name: Merger(db, clock, one, f"updates:{name}", probe, published) for name, one in brokers.items()
        }
        self._progress: dict[str, _Progress] = {}
        self._not_before: dict[str, float] = {}
        self._leading = False

    async def run(self) -> None:
        """Until no account waits: a restore is never made beside a running server."""
        try:
            while await self._look_on():
                await self._clock.sleep(min(_EVERY_S, self._retry_s))
        finally:
            if self._leading:
                with suppress(DatabaseUnavailable):
                    await self._leases.release(_LEASE)

    async def _look_on(self) -> bool:
        try:
            return await self.look() > 0
        except DatabaseUnavailable as problem:
            _log.warning("restored_waits", reason=str(problem))
            return True

    async def look(self) -> int:
        """Try each account that waits, if no other replica does; how many still wait. Raises DatabaseUnavailable."""
        async with self._db.read() as tx:
            pending = await restored_store.load_pending(tx)
        if not pending:
            return 0
        self._leading = await self._leases.take(_LEASE, _LEASE_S) is not None
        if not self._leading:
            return len(pending)
        return sum([not await self._try(one) for one in pending.values()])

    async def _try(self, one: RestoredAccount) -> bool:
        """Whether the account waits no more; else why is in its row."""
        if self._clock.monotonic_s() < self._not_before.get(one.account_id, 0.0):
            return False
        try:
            return await self._import(one)
        except (BrokerError, _NotTold) as problem:
            words, pause_s = str(problem), self._retry_s * (6 if isinstance(problem, _NotTold) else 1)
        self._not_before[one.account_id] = self._clock.monotonic_s() + pause_s
        if words != one.problem:
            _log.error("restored_account_waits", account=one.account_id, reason=words)
            async with self._db.begin() as tx:
                await restored_store.save_problem(tx, one.account_id, words)
        return False

    async def _import(self, one: RestoredAccount) -> bool:
        """False where it is too early. Raises BrokerError, _NotTold, DatabaseUnavailable."""
        async with self._db.read() as tx:
            account = (await store.load_accounts(tx, [one.account_id]))[one.account_id]
            now_us = await tx.now_us()
        broker = self._brokers.get(account.broker)
        if broker is None:
            raise _NotTold(_NOT_CONFIGURED.format(broker=account.broker, account=account.id))
        if now_us < one.restored_at_us + int(broker.lookup_lag_s * 1_000_000):
            # What was sent last may not be in the broker's list yet.
            return False
        ends_with_day = broker.capabilities.lists_end_with_day
        since_us = max(0, one.backup_at_us - (MARGIN_US if ends_with_day else WIDE_MARGIN_US))
        # A list of one day is short: all of it, whatever the clocks say.
        progress = self._progress.setdefault(account.id, _Progress(0 if ends_with_day else since_us))
        if account.created_at > one.restored_at_us:
            await self._refuse_used(account, broker, progress.after_us)
        else:
            await self._bring_in(account, broker, progress, one.backup_at_us - MARGIN_US)
        if ends_with_day and eastern_date(since_us) != eastern_date(now_us):
            # What it does tell is here; whether that is all nobody can know.
            del self._progress[account.id]
            at = instant(one.backup_at_us) if one.backup_at_us else "a time that is not known"
            raise _NotTold(_DAY_OVER.format(broker=account.broker, at=at, account=account.id))
        await self._finish(account, len(progress.seen))
        del self._progress[account.id]
        self._imported(account.broker)
        return True

    async def _refuse_used(self, account: AccountRow, broker: Broker, since_us: int) -> None:
        """Of an account that was not in the backup: what was ordered in it before its books began is in their opening
        balance and cannot be booked as orders. Raises BrokerError; _NotTold where there was something of ours."""
        progress = _Progress(since_us)
        while True:
            page = await broker.fetch_orders_since(account.number, progress.after_us, self._timeout_s)
            fresh = progress.fresh(page)
            # Whenever it was, by whichever clock: nothing can have been claimed in an account that waits.
            if any(is_ours(view) for view in fresh):
                raise _NotTold(_NOT_IN_BACKUP.format(account=account.id))
            if not fresh:
                return
            progress.note(fresh)

    async def _bring_in(
        self, account: AccountRow, broker: Broker, progress: _Progress, needed_us: int
    ) -> None:
        """Page after page; one that fails is where the next try goes on."""
        while True:
            page = await broker.fetch_orders_since(account.number, progress.after_us, self._timeout_s)
            fresh = progress.fresh(page)
            if not fresh:
                return
            await self._merge(account, broker, fresh, needed_us)
            progress.note(fresh)
            await self._leases.take(_LEASE, _LEASE_S)

    async def _merge(
        self, account: AccountRow, broker: Broker, fresh: Sequence[BrokerOrderView], needed_us: int
    ) -> None:
        async with self._db.read() as tx:
            cursor = await store.load_cursor(tx, f"updates:{broker.name}")
        views: Views = {}
        for view in fresh:
            add_with_legs(views, view)
        updates = [BrokerUpdate(cursor, view) for view in views.values()]
        for start in range(0, len(updates), _CHUNK):
            # Without the reader's lease: what both of them book stands once, under the account's lock.
            await self._mergers[broker.name].merge(None, updates[start : start + _CHUNK])
        await self._name(account, [view for view in fresh if view.client_order_id is not None], needed_us)

    async def _name(self, account: AccountRow, views: Sequence[BrokerOrderView], needed_us: int) -> None:
        """Each order must be in the ledger under the id that a claim would look for: one that was taken in by its prints
        alone has none. What had ended before the books of the account began is not in them: of ours there is nothing of the
        kind where they began before the backup. Raises BrokerError where one is missing, _NotTold where none can be there."""
        names = [view.client_order_id or "" for view in views]
        async with self._db.begin() as tx:
            await store.lock_accounts(tx, [account.id])
            since = await counts_from(tx, account)
            there = await restored_store.find_names(
                tx, account.id, names, [view.broker_order_id for view in views]
            )
            known = {name for name, _ in there}
            by_broker_id = {broker_id for _, broker_id in there}
            for view in views:
                name = view.client_order_id or ""
                if name in known:
                    continue
                if view.broker_order_id not in by_broker_id and is_before(view, since):
                    if is_ours(view) and view.submitted_at_us >= needed_us:
                        raise _NotTold(_BOOKS_BEGAN_LATER.format(account=account.id))
                    continue
                if view.broker_order_id not in by_broker_id:
                    raise BrokerError(f"the broker's order {name} could not be taken into the ledger")
                try:
                    await restored_store.rename(tx, account.id, view.broker_order_id, name)
                except UniqueViolation:
                    raise BrokerError(f"the broker's order {name} has two places in the ledger") from None

    async def _finish(self, account: AccountRow, count: int) -> None:
        async with self._db.begin() as tx:
            await store.lock_accounts(tx, [account.id])
            now_us = await tx.now_us()
            if not await restored_store.save_imported(tx, account.id, now_us, count):
                return
            # Whatever was compared before was compared without these orders.
            await restored_store.mark_not_compared(tx, account.id)
            entry = AuditEntry(SYSTEM, "account.orders_imported", account.id, {"orders": count})
            await write_audit(tx, self._clock, now_us, [entry])
        _log.info("restored_orders_imported", account=account.id, orders=count)


async def accept_unimported(
    db: Database, clock: Clock, account_id: str, reason: str, actor: Actor
) -> RestoredAccount | None:
    """The owner's word that no order since the backup is missing (`paiid restore-accept`), audited: the account as it was;
    None where it does not wait for anything. Raises Problem where no server has asked its broker yet, DatabaseUnavailable."""
    async with db.begin() as tx:
        one = await restored_store.lock_restored(tx, account_id)
        if one is None or not one.pending:
            return None
        if one.problem is None:
            # What its broker does tell would stay unknown as well.
            raise Problem(
                Code.CONFLICT,
                f"No server has asked the broker of {account_id} for its orders yet. Start one, and see what "
                "`paiid reconcile list` and the log say; there may be nothing to accept.",
            )
        now_us = await tx.now_us()
        await restored_store.save_accepted(tx, account_id, now_us, f"{actor.kind}:{actor.id}")
        await restored_store.mark_not_compared(tx, account_id)
        detail = {"reason": reason, "backup_at": instant(one.backup_at_us), "problem": one.problem}
        await write_audit(
            tx, clock, now_us, [AuditEntry(actor, "account.restore_accept", account_id, detail)]
        )
    return one
