"""The ledger against the broker's own books: after every reconnect, and now and then in between (E18, K8)."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import structlog

from paiid.brokers import Broker, BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.core.audit import AuditEntry
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.identity import SYSTEM
from paiid.domain.money import ZERO, qty_from_int
from paiid.trading import store
from paiid.trading.book import Book
from paiid.trading.records import AccountRow

_log = structlog.get_logger("paiid.trading.reconcile")
_OVERLAP_US = 60_000_000
_SETTLE_S = 1.0
_ALARMS = ("order.", "execution.")


class Reconciler:
    """Fetches what one broker holds and brings the ledger in step with it."""

    def __init__(self, db: Database, clock: Clock, broker: Broker, timeout_s: float) -> None:
        self._db = db
        self._clock = clock
        self._broker = broker
        self._timeout_s = timeout_s

    async def accounts(self) -> list[AccountRow]:
        """The accounts kept at this broker. Raises DatabaseUnavailable."""
        async with self._db.read() as tx:
            return [a for a in await store.load_all_accounts(tx) if a.broker == self._broker.name]

    async def missed(self, account: AccountRow, cursor: int) -> list[BrokerUpdate]:
        """Updates that stand for everything that may have been missed: open orders, and prints since the
        last one booked. Raises BrokerError, DatabaseUnavailable."""
        async with self._db.read() as tx:
            open_orders = await store.load_open_orders(tx, account.id)
            last_us = await store.last_execution_at(tx, account.id)
        live = await self._broker.fetch_open_orders(account.number, self._timeout_s)
        views: dict[str, BrokerOrderView] = {view.broker_order_id: view for view in live}
        for order in open_orders:
            if order.broker_order_id is not None and order.broker_order_id not in views:
                view = await self._broker.fetch_order(account.number, order.client_order_id, self._timeout_s)
                if view is not None:
                    views[view.broker_order_id] = view
        prints = await self._broker.fetch_executions(
            account.number, max(0, last_us - _OVERLAP_US), self._timeout_s
        )
        return _as_updates(views, prints, cursor)

    async def compare(self, account: AccountRow) -> str | None:
        """Positions of the ledger against the broker's; the first difference, kept in the account's row.

        A problem that an alarm has left there is not cleared by equal positions: a person looks first.
        Raises BrokerError, DatabaseUnavailable.
        """
        problem = await self._difference(account)
        if problem is not None:
            # A print may be on its way between the two books: only what stays different is a problem.
            await self._clock.sleep(_SETTLE_S)
            again = await self._difference(account)
            problem = again if again == problem else account.reconcile_problem
        async with self._db.begin() as tx:
            now_us = await tx.now_us()
            book = Book(tx, self._clock, now_us)
            await book.open([account.id])
            row = book.accounts[account.id]
            if row.reconcile_problem is not None and row.reconcile_problem.startswith(_ALARMS):
                return row.reconcile_problem
            if row.reconcile_problem != problem:
                book.audit(AuditEntry(SYSTEM, "account.reconcile", row.id, {"problem": problem}))
                if problem is not None:
                    _log.error("reconcile_difference", account=row.id, problem=problem)
            row.reconcile_problem = problem
            row.reconciled_at = now_us
            book.touch_account(row)
            await book.flush()
        return problem

    async def _difference(self, account: AccountRow) -> str | None:
        held = await self._broker.fetch_positions(account.number, self._timeout_s)
        theirs: Mapping[str, Decimal] = {position.symbol: position.qty for position in held}
        ours = await self._positions(account)
        for symbol in sorted(ours.keys() | theirs.keys()):
            if ours.get(symbol, ZERO) != theirs.get(symbol, ZERO):
                return f"position {symbol}: ours {ours.get(symbol, ZERO)}, broker {theirs.get(symbol, ZERO)}"
        return None

    async def _positions(self, account: AccountRow) -> dict[str, Decimal]:
        async with self._db.read() as tx:
            rows = await store.load_positions(tx, [account.id])
        return {row.symbol: qty_from_int(row.qty) for row in rows if row.qty != 0}


def _as_updates(
    views: dict[str, BrokerOrderView], prints: Sequence[BrokerExecution], cursor: int
) -> list[BrokerUpdate]:
    known = [p for p in prints if p.broker_order_id in views]
    told = {p.broker_order_id for p in known}
    alone = [BrokerUpdate(cursor, view) for key, view in views.items() if key not in told]
    return [*(BrokerUpdate(cursor, views[p.broker_order_id], p) for p in known), *alone]
