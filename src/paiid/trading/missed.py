"""What may have been missed of an account, fetched again as updates to merge (contract E18).

A broker counts our requests (Alpaca: 200 a minute), so one list tells all open orders, prints tell what they have
filled, and only an order that neither accounts for is looked up by itself.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from paiid.brokers import (
    Broker,
    BrokerActivity,
    BrokerError,
    BrokerExecution,
    BrokerOrderView,
    BrokerUpdate,
    NotSent,
)
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.money import qty_to_int
from paiid.domain.orders import Submission
from paiid.trading import store
from paiid.trading.activity_store import find_booked_activities
from paiid.trading.forgotten import is_forgotten, views_of_forgotten
from paiid.trading.opening import ACTIVITY_OVERLAP_US, counts_from
from paiid.trading.rebuilt_views import view_of_filled, view_of_prints, view_of_row
from paiid.trading.reconcile_store import last_told_activity_at
from paiid.trading.records import AccountRow, OrderRow

_OVERLAP_US = 60_000_000
_CLOCKS_US = 600_000_000
"""More than the database's clock and the broker's may differ by."""
_KEPT_FREE = 40
"""Requests of a minute that are left to orders, cancels and halts."""
_PAUSE_S = 1.0
_PAUSES = 75
_STRANGERS = 100
"""Orders of others that came and went, of which one catch-up asks the broker for more than their prints."""
_UNANSWERED_IN_A_ROW = 3
"""Look-ups without an answer after which one catch-up makes no more of them."""

Views = dict[str, BrokerOrderView]


class Incomplete(BrokerError):
    """Some orders could not be looked up; `updates` stand for all the rest."""

    def __init__(self, problem: BrokerError, updates: list[BrokerUpdate]) -> None:
        super().__init__(str(problem))
        self.updates = updates


class _Unanswered(Exception):
    """A look-up came to nothing: of this order nothing is known now."""


class OrderLookups:
    """Looks single orders up, never so fast that nothing is left of the broker's budget for what is urgent."""

    def __init__(self, clock: Clock, broker: Broker, timeout_s: float) -> None:
        self._clock = clock
        self._broker = broker
        self._timeout_s = timeout_s

    async def find(self, account: AccountRow, row: OrderRow) -> BrokerOrderView | None:
        """An order of the ledger; None: the broker has none. By its own id where we know it, for exits and legs have
        client ids that are ours alone. Raises BrokerError."""
        if row.broker_order_id is not None:
            return await self.by_id(account, row.broker_order_id)
        await self._pace()
        return await self._broker.fetch_order(account.number, row.client_order_id, self._timeout_s)

    async def by_id(self, account: AccountRow, broker_order_id: str) -> BrokerOrderView | None:
        """An order by the broker's id. Raises BrokerError."""
        await self._pace()
        return await self._broker.fetch_order_by_id(account.number, broker_order_id, self._timeout_s)

    async def _pace(self) -> None:
        for _ in range(_PAUSES):
            left = self._broker.budget_left
            if left is None or left > _KEPT_FREE:
                return
            await self._clock.sleep(_PAUSE_S)
        raise NotSent("the broker's budget of requests is used up; nothing more is looked up now")


class _Asking:
    """The look-ups of one catch-up. One without an answer costs no more than its own order."""

    def __init__(self, lookups: OrderLookups, account: AccountRow) -> None:
        self._lookups = lookups
        self._account = account
        self._in_a_row = 0
        self._answered = 0
        self.problem: BrokerError | None = None

    async def find(self, row: OrderRow) -> BrokerOrderView | None:
        """An order of the ledger. Raises _Unanswered, NotSent."""
        return await self._ask(lambda: self._lookups.find(self._account, row))

    async def by_id(self, broker_order_id: str) -> BrokerOrderView | None:
        """An order by the broker's id. Raises _Unanswered, NotSent."""
        return await self._ask(lambda: self._lookups.by_id(self._account, broker_order_id))

    async def _ask(self, lookup: Callable[[], Awaitable[BrokerOrderView | None]]) -> BrokerOrderView | None:
        if self._in_a_row >= _UNANSWERED_IN_A_ROW:
            # The broker is away, or nearly: it is left alone.
            raise _Unanswered
        try:
            found = await lookup()
        except NotSent as problem:
            # It cannot be reached, or must not be asked for now: the next one would come no further.
            if not self._answered:
                raise
            # What was answered before is kept: where a minute has places for a part of the orders, none would ever end.
            self.problem = problem
            self._in_a_row = _UNANSWERED_IN_A_ROW
            raise _Unanswered from None
        except BrokerError as problem:
            self.problem = problem
            self._in_a_row += 1
            raise _Unanswered from None
        self._in_a_row = 0
        self._answered += 1
        return found


def add_with_legs(views: Views, view: BrokerOrderView) -> None:
    """A parent before what hangs on it."""
    views[view.broker_order_id] = view
    for leg in view.legs:
        views[leg.broker_order_id] = leg


class Missed:
    """Fetches from one broker what the ledger may not have."""

    def __init__(self, db: Database, clock: Clock, broker: Broker, timeout_s: float, *, opens: bool) -> None:
        """`opens`: accounts at this broker have a life of their own, which begins here with `open_balances`."""
        self._db = db
        self._clock = clock
        self._broker = broker
        self._timeout_s = timeout_s
        self._opens = opens
        self.lookups = OrderLookups(clock, broker, timeout_s)

    async def fetch(self, account: AccountRow, cursor: int) -> list[BrokerUpdate]:
        """Updates that stand for everything since what was last booked, whoever placed the order: open orders, those
        that were open, prints, activities. Nothing for an account that is still to be opened.

        Raises BrokerError, DatabaseUnavailable; Incomplete where only single orders could not be looked up.
        """
        async with self._db.read() as tx:
            open_orders = await store.load_open_orders(tx, account.id)
            last_us = await store.last_execution_at(tx, account.id)
            last_activity_us = await last_told_activity_at(tx, account.id)
            since = await counts_from(tx, account)
        if self._opens and since.opened_us is None and last_us == 0 and account.reconciled_at is None:
            # Its history would be booked, and then once more as what it has led to.
            return []
        views: Views = {}
        for view in await self._broker.fetch_open_orders(account.number, self._timeout_s):
            add_with_legs(views, view)
        # A later print may have been told while an earlier one was lost: only what the books have agreed on is whole.
        whole_us = (account.reconciled_at or 0) - _CLOCKS_US
        after_us = min(last_us - _OVERLAP_US, whole_us)
        fresh = await self._fresh(account, max(since.prints_us, after_us))
        asking = _Asking(self.lookups, account)
        unknown = await self._add_ended(asking, open_orders, views, fresh)
        try:
            await self._add_forgotten(account, unknown, views)
        except BrokerError as problem:
            asking.problem = problem
        await self._add_behind(asking, account, fresh, views)
        activities = await self._broker.fetch_activities(
            account.number, max(since.activities_us, last_activity_us - ACTIVITY_OVERLAP_US), self._timeout_s
        )
        async with self._db.read() as tx:
            booked = await find_booked_activities(tx, [account.id], [one.activity_id for one in activities])
        told = [
            one
            for one in activities
            if one.at_us >= since.activities_us and (account.id, one.activity_id) not in booked
        ]
        updates = [*_as_updates(views, fresh, cursor), *(_told(cursor, one) for one in told)]
        if asking.problem is not None:
            raise Incomplete(asking.problem, updates)
        return updates

    async def is_to_be_opened(self, account: AccountRow) -> bool:
        """Whether the books of the account have not begun yet. Raises DatabaseUnavailable."""
        async with self._db.read() as tx:
            last_us = await store.last_execution_at(tx, account.id)
            since = await counts_from(tx, account)
        return self._opens and since.opened_us is None and last_us == 0 and account.reconciled_at is None

    async def _fresh(self, account: AccountRow, after_us: int) -> list[BrokerExecution]:
        """Prints from an instant on that are not booked yet, oldest first."""
        prints = await self._broker.fetch_executions(account.number, max(0, after_us), self._timeout_s)
        prints = [one for one in prints if one.executed_at_us >= after_us]
        async with self._db.read() as tx:
            booked = await store.find_booked(tx, [account.id], [one.execution_id for one in prints])
        return [one for one in prints if (account.id, one.execution_id) not in booked]

    async def _add_ended(
        self,
        asking: _Asking,
        open_orders: Sequence[OrderRow],
        views: Views,
        fresh: Sequence[BrokerExecution],
    ) -> list[OrderRow]:
        """Orders that are open here and not in the broker's list; those it knows nothing of are returned. One that its
        prints fill whole needs no look-up; an exit or leg whose id was never told comes with what it hangs on."""
        nameless: dict[str, list[OrderRow]] = {}
        unknown: list[OrderRow] = []
        for row in open_orders:
            # What is not ACCEPTED yet belongs to the resolver.
            if row.state is not Submission.ACCEPTED or row.broker_order_id in views:
                continue
            if row.broker_order_id is None and row.parent_id is not None:
                nameless.setdefault(row.parent_id, []).append(row)
            elif not _filled_whole(row, fresh) and await _is_unknown(asking, row, views):
                unknown.append(row)
        async with self._db.read() as tx:
            parents = await store.load_orders(tx, sorted(nameless))
        missing = {one.id for one in unknown}
        for parent in parents:
            if parent.broker_order_id in views or parent.state is not Submission.ACCEPTED:
                continue
            if parent.id in missing or await _is_unknown(asking, parent, views):
                unknown += nameless[parent.id]
        return unknown

    async def _add_forgotten(self, account: AccountRow, unknown: Sequence[OrderRow], views: Views) -> None:
        now_us = self._clock.now_us()
        forgotten = [one.id for one in unknown if is_forgotten(one, self._broker, now_us)]
        for view in await views_of_forgotten(self._db, self._broker, account, forgotten, self._timeout_s):
            # One whose id at the broker was never told goes by ours.
            views[view.broker_order_id or view.client_order_id or ""] = view

    async def _add_behind(
        self,
        asking: _Asking,
        account: AccountRow,
        fresh: Sequence[BrokerExecution],
        views: Views,
    ) -> None:
        """The orders behind prints, where the order works no more: the ledger's own; one of somebody else that came
        and went unseen; or one of ours in doubt, which its prints alone would have taken for somebody else's."""
        behind: dict[str, list[BrokerExecution]] = {}
        for one in fresh:
            if one.broker_order_id not in views:
                behind.setdefault(one.broker_order_id, []).append(one)
        if not behind:
            return
        async with self._db.read() as tx:
            rows = await store.find_orders_at_broker(tx, [account.id], list(behind), [])
            # As it is now: one that was claimed after the first look may be behind these prints as well.
            open_orders = await store.load_open_orders(tx, account.id)
        known = {row.broker_order_id: row for row in rows}
        in_doubt = any(row.state is not Submission.ACCEPTED for row in open_orders)
        strangers = 0
        for broker_order_id, group in behind.items():
            if broker_order_id in views:
                continue
            row, view = known.get(broker_order_id), None
            strangers += row is None
            with suppress(_Unanswered):
                if row is not None and _filled_whole(row, group):
                    view = view_of_filled(row, account)
                elif row is not None or in_doubt or strangers <= _STRANGERS:
                    view = await asking.by_id(broker_order_id)
                if row is None and view is None and in_doubt:
                    # A look-up may lag behind the prints. Taken in without its name, one of ours would stay in doubt
                    # for ever: the broker's id would be another row's.
                    continue
                rebuilt = view_of_prints(group) if row is None else view_of_row(row, account)
                add_with_legs(views, view or rebuilt)


async def _is_unknown(asking: _Asking, row: OrderRow, views: Views) -> bool:
    """Whether the broker answers that it has no such order; one that it has is added."""
    with suppress(_Unanswered):
        found = await asking.find(row)
        if found is None:
            return True
        add_with_legs(views, found)
    return False


def _printed(prints: Iterable[BrokerExecution], broker_order_id: str | None) -> int:
    """Scaled quantity that these prints fill of an order."""
    return sum(
        qty_to_int(one.qty) for one in prints if one.broker_order_id == broker_order_id and one.kind == "fill"
    )


def _filled_whole(row: OrderRow, fresh: Sequence[BrokerExecution]) -> bool:
    """Whether what is booked and these prints fill an order that stands alone and has a size."""
    alone = row.order_class == "simple" and row.notional is None
    plain_fills = all(one.kind == "fill" for one in fresh if one.broker_order_id == row.broker_order_id)
    return alone and plain_fills and row.filled_qty + _printed(fresh, row.broker_order_id) >= row.qty


def _told(cursor: int, activity: BrokerActivity) -> BrokerUpdate:
    return BrokerUpdate(cursor, None, None, activity)


def _as_updates(
    views: Mapping[str, BrokerOrderView], prints: Sequence[BrokerExecution], cursor: int
) -> list[BrokerUpdate]:
    """Each print with its order, then the orders that have none."""
    known = [p for p in prints if p.broker_order_id in views]
    told = {p.broker_order_id for p in known}
    alone = [BrokerUpdate(cursor, view) for key, view in views.items() if key not in told]
    return [*(BrokerUpdate(cursor, views[p.broker_order_id], p) for p in known), *alone]
