"""The ledger against the broker's own books: after every reconnect, and now and then in between (E18, K8)."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import structlog

from paiid.brokers import Broker, BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.core.audit import AuditEntry
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.identity import SYSTEM
from paiid.domain.money import ZERO, money_from_int, qty_from_int
from paiid.domain.orders import OrderStatus, Submission
from paiid.trading import store
from paiid.trading.book import Book
from paiid.trading.records import AccountRow, OrderRow

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
        last one booked, whoever placed the order. Raises BrokerError, DatabaseUnavailable."""
        async with self._db.read() as tx:
            open_orders = await store.load_open_orders(tx, account.id)
            last_us = await store.last_execution_at(tx, account.id)
        live = await self._broker.fetch_open_orders(account.number, self._timeout_s)
        views: dict[str, BrokerOrderView] = {view.broker_order_id: view for view in live}
        for order in open_orders:
            # What is not ACCEPTED yet belongs to the resolver.
            if order.state is Submission.ACCEPTED and order.broker_order_id not in views:
                view = await self._broker.fetch_order(account.number, order.client_order_id, self._timeout_s)
                if view is not None:
                    views[view.broker_order_id] = view
        prints = await self._broker.fetch_executions(
            account.number, max(0, last_us - _OVERLAP_US), self._timeout_s
        )
        views.update(await self._views_behind(account, prints, views))
        return _as_updates(views, prints, cursor)

    async def _views_behind(
        self, account: AccountRow, prints: Sequence[BrokerExecution], views: Mapping[str, BrokerOrderView]
    ) -> dict[str, BrokerOrderView]:
        """The orders behind prints that are not booked yet, where the order works no more: the ledger's own, or one
        of somebody else that came and went unseen and of which the prints are all that can be had."""
        behind: dict[str, list[BrokerExecution]] = {}
        for one in prints:
            if one.broker_order_id not in views:
                behind.setdefault(one.broker_order_id, []).append(one)
        if not behind:
            return {}
        async with self._db.read() as tx:
            booked = await store.find_booked(tx, [account.id], [p.execution_id for p in prints])
            rows = await store.find_orders_at_broker(tx, [account.id], list(behind), [])
        known = {row.broker_order_id: row for row in rows}
        found: dict[str, BrokerOrderView] = {}
        for broker_order_id, group in behind.items():
            if all((account.id, one.execution_id) in booked for one in group):
                continue
            row = known.get(broker_order_id)
            if row is None:
                found[broker_order_id] = view_of_prints(group)
                continue
            view = await self._broker.fetch_order(account.number, row.client_order_id, self._timeout_s)
            found[broker_order_id] = view or view_of_row(row, account)
        return found

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


def view_of_prints(prints: Sequence[BrokerExecution]) -> BrokerOrderView:
    """An order of which only its prints are known. Once the broker tells the order itself, that replaces this."""
    first = prints[0]
    net = sum((p.qty if p.kind == "fill" else ZERO for p in prints), ZERO)
    return BrokerOrderView(
        account_number=first.account_number,
        broker_order_id=first.broker_order_id,
        client_order_id=None,
        symbol=first.symbol,
        side=first.side,
        qty=net or first.qty,
        type="market",
        time_in_force="day",
        limit_price=None,
        stop_price=None,
        status=OrderStatus.FILLED,
        filled_qty=net,
        filled_avg_price=None,
        submitted_at_us=first.executed_at_us,
        updated_at_us=prints[-1].executed_at_us,
    )


def view_of_row(row: OrderRow, account: AccountRow) -> BrokerOrderView:
    """What the ledger knows of an order that the broker no longer shows."""
    return BrokerOrderView(
        account_number=account.number,
        broker_order_id=row.broker_order_id or "",
        client_order_id=None if row.client_order_id.startswith("ext-") else row.client_order_id,
        symbol=row.symbol,
        side=row.side,
        qty=qty_from_int(row.qty),
        type=row.type,
        time_in_force=row.time_in_force,
        limit_price=None if row.limit_price is None else money_from_int(row.limit_price),
        stop_price=None if row.stop_price is None else money_from_int(row.stop_price),
        status=row.broker_status or OrderStatus.NEW,
        filled_qty=qty_from_int(row.broker_filled_qty),
        filled_avg_price=None,
        submitted_at_us=row.submitted_at or row.created_at,
        updated_at_us=row.updated_at,
    )
