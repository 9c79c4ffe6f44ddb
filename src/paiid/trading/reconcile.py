"""The ledger against the broker's own books: after every reconnect, and now and then in between (E18, K8)."""

from collections.abc import Awaitable, Callable
from decimal import Decimal

import structlog

from paiid.accounts.store import BUILT_IN
from paiid.brokers import Broker, BrokerAccount, BrokerOrderView, BrokerUpdate
from paiid.core.audit import AuditEntry
from paiid.core.clock import Clock
from paiid.core.db import Database, Tx
from paiid.domain.identity import SYSTEM
from paiid.domain.money import ZERO, money_from_int, plain, qty_from_int
from paiid.domain.orders import Submission
from paiid.stream.journal import Told, nobody
from paiid.trading import store
from paiid.trading.activities import adjustment, book_activities
from paiid.trading.book import Book
from paiid.trading.differences import (
    BrokersBooks,
    Difference,
    Ledger,
    Look,
    is_alarm,
    problem_text,
    seen_twice,
)
from paiid.trading.executions import Prints
from paiid.trading.in_place import has_passed_on
from paiid.trading.in_place_store import load_predecessors
from paiid.trading.missed import Missed, Views, add_with_legs
from paiid.trading.reconcile_store import (
    count_prints_since,
    load_told_qty,
    load_traded_since,
    save_status,
)
from paiid.trading.records import AccountRow, OrderRow
from paiid.trading.untold_fees import FEES_WORDS, most_fees

_log = structlog.get_logger("paiid.trading.reconcile")
_SETTLE_S = 1.0
_LOOKS = 3
_LOOKUPS = 20
"""Orders that one comparison looks up by themselves; with more of them missing, these say enough."""
ROUNDING_WORDS = "rounding to the broker's cents"

Heal = Callable[[AccountRow], Awaitable[object]]
"""Fetches what was missed of an account and merges it."""


def is_built_in(broker: Broker) -> bool:
    """Whether it is our own venue: its cash is exact, and an account's terms there are those the ledger gave it."""
    return broker.simulated and broker.name == BUILT_IN


class Reconciler:
    """Fetches what one broker holds, and compares the ledger with it."""

    def __init__(
        self, db: Database, clock: Clock, broker: Broker, timeout_s: float, told: Told = nobody
    ) -> None:
        """`told` hears of every commit that wrote events."""
        self._told = told
        self._db = db
        self._clock = clock
        self._broker = broker
        self._timeout_s = timeout_s
        self._missed = Missed(db, clock, broker, timeout_s, opens=not is_built_in(broker))

    @property
    def broker(self) -> Broker:
        """The broker that it asks."""
        return self._broker

    async def accounts(self) -> list[AccountRow]:
        """The accounts kept at this broker. Raises DatabaseUnavailable."""
        async with self._db.read() as tx:
            return [a for a in await store.load_all_accounts(tx) if a.broker == self._broker.name]

    async def missed(self, account: AccountRow, cursor: int) -> list[BrokerUpdate]:
        """Updates that stand for everything that may have been missed: open orders, and prints and activities that
        are not booked, whoever placed the order. Raises BrokerError, DatabaseUnavailable."""
        return await self._missed.fetch(account, cursor)

    async def compare(self, account: AccountRow, heal: Heal | None = None) -> tuple[Difference, ...]:
        """Positions, cash, orders and fills of the ledger against the broker's: what two looks a second apart both
        show, kept in the account's row for people and, where it changes, with all evidence in the audit.

        `heal` is called between the looks: fees and dividends are told by no stream. A problem that an alarm has left
        is not cleared by equal books: a person looks first. Raises BrokerError, DatabaseUnavailable.
        """
        if await self._missed.is_to_be_opened(account):
            # That its books have not begun yet stands in its row: there is nothing to compare.
            return ()
        before = await self.look(account)
        if not before.differences() and not before.cash_gap:
            return await self._keep(account, before, ()) or ()
        if heal is not None:
            await heal(account)
        for _ in range(_LOOKS):
            # A print may be on its way between the two books: only what stays different is a problem.
            await self._clock.sleep(_SETTLE_S)
            look = await self.look(account)
            lasting = seen_twice(before.differences(), look.differences())
            rounding = look.rounding if heal is not None or look.rounding == before.rounding else Decimal(0)
            kept = await self._keep(account, look, lasting, rounding)
            if kept is not None:
                return kept
            before = look
        return ()

    # -- looking ------------------------------------------------------------------------------------

    async def look(self, account: AccountRow, lookups: int = _LOOKUPS) -> Look:
        """Both sides at about this moment; at most so many orders are looked up by themselves.

        Raises BrokerError, DatabaseUnavailable.
        """
        async with self._db.read() as tx:
            working = await store.load_open_orders(tx, account.id)
        theirs = await self._fetch(account, working, lookups)
        async with self._db.read() as tx:
            ours = await self._load(tx, account, theirs)
        return Look(ours, theirs.as_booked(ours.orders, self._broker.capabilities), is_built_in(self._broker))

    async def _fetch(self, account: AccountRow, working: list[OrderRow], lookups: int) -> BrokersBooks:
        views: Views = {}
        for view in await self._broker.fetch_open_orders(account.number, self._timeout_s):
            add_with_legs(views, view)
        looked_up: dict[str, BrokerOrderView | None] = {}
        for order in working:
            named = order.broker_order_id is not None or order.parent_id is None
            there = order.broker_order_id in views or order.state is not Submission.ACCEPTED
            if there or not named or len(looked_up) >= lookups:
                continue
            found = await self._missed.lookups.find(account, order)
            looked_up[order.id] = found
            for leg in () if found is None else found.legs:
                views.setdefault(leg.broker_order_id, leg)
        held = await self._broker.fetch_positions(account.number, self._timeout_s)
        told = await self._broker.fetch_account(account.number, self._timeout_s)
        return BrokersBooks(told, {one.symbol: one for one in held}, views, looked_up)

    async def _load(self, tx: Tx, account: AccountRow, theirs: BrokersBooks) -> Ledger:
        row = (await store.load_accounts(tx, [account.id]))[account.id]
        named = [view.client_order_id for view in theirs.views.values() if view.client_order_id is not None]
        parents = [one.parent_broker_order_id for one in theirs.views.values()]
        broker_ids = [*theirs.views, *(one for one in parents if one is not None)]
        orders = {one.id: one for one in await store.load_open_orders(tx, row.id)}
        for one in await store.find_orders_at_broker(tx, [row.id], broker_ids, named):
            orders.setdefault(one.id, one)
        replaced = [one.replaces for one in orders.values() if one.replaces is not None]
        for one in await store.load_orders(tx, [i for i in replaced if i not in orders]):
            orders.setdefault(one.id, one)
        passed_on = [one.id for one in orders.values() if has_passed_on(one)]
        for one in await load_predecessors(tx, passed_on) if passed_on else ():
            orders.setdefault(one.id, one)
        short = [one.id for one in orders.values() if one.broker_filled_qty > one.filled_qty]
        return Ledger(
            account=row,
            positions={
                p.symbol: qty_from_int(p.qty) for p in await store.load_positions(tx, [row.id]) if p.qty != 0
            },
            orders=tuple(orders.values()),
            booked={key: qty_from_int(qty) for key, qty in (await load_told_qty(tx, short)).items()},
            prints_since=await self._prints_since(tx, row, theirs),
            now_us=await tx.now_us(),
            untold_fees=await self._untold_fees(tx, row, theirs),
        )

    async def _prints_since(self, tx: Tx, row: AccountRow, theirs: BrokersBooks) -> int:
        """Counted only where there is a gap for them to explain: an account may have had many."""
        if is_built_in(self._broker) or theirs.account.cash == money_from_int(row.cash):
            return 0
        return await count_prints_since(tx, row.id, row.reconciled_at or 0)

    async def _untold_fees(self, tx: Tx, row: AccountRow, theirs: BrokersBooks) -> Decimal:
        if self._broker.capabilities.tells_fees or theirs.account.cash >= money_from_int(row.cash):
            return ZERO
        return most_fees(await load_traded_since(tx, row.id, row.reconciled_at or 0))

    # -- keeping ------------------------------------------------------------------------------------

    async def _keep(
        self,
        account: AccountRow,
        look: Look,
        lasting: tuple[Difference, ...],
        rounding: Decimal = Decimal(0),
    ) -> tuple[Difference, ...] | None:
        """What lasts, written down; None where the ledger has moved since the look, as by an opening balance or an
        accept, so that what it has shown may be true no more."""
        found = look.differences()
        async with self._db.begin() as tx:
            now_us = await tx.now_us()
            book = Book(tx, self._clock, now_us)
            await book.open([account.id])
            row = book.accounts[account.id]
            if row.number != account.number or look.ours.account.number != account.number:
                # Reset meanwhile: what was compared were the books of the number it no longer has.
                return ()
            if lasting and row.event_seq != look.ours.seq:
                return None
            await refresh_account(book, row, look.theirs.account, terms=not look.exact)
            exact = not look.cash_gap
            if not exact and rounding == look.cash_gap and row.event_seq == look.ours.seq:
                await _book_rounding(book, row, rounding, fees=look.is_fee)
                exact = True
            if exact and not found:
                # Of what stays unbooked the next comparison must still know how many prints explain it.
                row.reconciled_at = now_us
            if lasting or not found:
                _note(book, row, lasting)
            book.touch_account(row)
            await book.flush()
        self._told(book.told_accounts)
        return lasting


def _note(book: Book, row: AccountRow, lasting: tuple[Difference, ...]) -> None:
    """What the comparison has found, in the account's row; an alarm that stands there stays."""
    problem = problem_text(lasting)
    if row.reconcile_problem == problem or is_alarm(row.reconcile_problem):
        return
    evidence = {"problem": problem, "differences": [one.evidence() for one in lasting]}
    book.audit(AuditEntry(SYSTEM, "account.reconcile", row.id, evidence))
    if problem is not None:
        _log.error("reconcile_difference", account=row.id, problem=problem, differences=len(lasting))
    row.reconcile_problem = problem


async def refresh_account(book: Book, row: AccountRow, told: BrokerAccount, *, terms: bool) -> None:
    """Status, and where the broker decides them the terms, of a locked account as the broker tells them."""
    before = (row.status, row.margin, row.options_level)
    row.status = told.status
    if terms:
        row.margin, row.options_level = int(told.margin), told.options_level
    after = (row.status, row.margin, row.options_level)
    if before == after:
        return
    if told.status != before[0]:
        await save_status(book.tx, row.id, told.status)
    names = ("status", "margin", "options_level")
    changed = {
        name: {"from": old, "to": new}
        for name, old, new in zip(names, before, after, strict=True)
        if old != new
    }
    book.audit(AuditEntry(SYSTEM, "account.refresh", row.id, changed))
    book.touch_account(row)


async def _book_rounding(book: Book, row: AccountRow, gap: Decimal, *, fees: bool) -> None:
    """So that cents, and fees that nobody tells, cannot pile up to something that looks like a loss."""
    words = FEES_WORDS if fees else ROUNDING_WORDS
    one = adjustment(row, book.new_id("fees" if fees else "rounding"), words, book.now_us, cash=gap)
    prints = Prints(book)
    await book_activities(book, prints, row, [one])
    await prints.settle()
    action = "account.fees" if fees else "account.rounding"
    book.audit(AuditEntry(SYSTEM, action, row.id, {"cash": str(plain(gap))}))
