"""Starting a paper account afresh: a new number at the venue, empty books from now on, and the history stays.

The venue opens the new number first, the orders of the old one are cancelled there next, and one transaction of the
ledger moves the account over. Whatever breaks in between leaves the account as it was, at worst without its open
orders and with an unused number at the venue; doing it again does the rest. What the old number still tells
afterwards changes nothing, for no account of the ledger bears it any more.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Protocol, TypeGuard

from paiid.accounts.service import AccountService
from paiid.brokers import Broker, BrokerError, BrokerRejected
from paiid.core.audit import AuditEntry
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.core.instants import instant
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import Principal
from paiid.domain.money import money_from_int, money_to_int, plain
from paiid.domain.orders import CancelState, OrderStatus, Reason, ReplaceState, Submission
from paiid.domain.terms import AccountTerms
from paiid.stream.journal import Told, nobody
from paiid.trading import store
from paiid.trading.answers import money, reason_text
from paiid.trading.book import Book
from paiid.trading.records import AccountRow, OrderRow
from paiid.trading.reset_store import stop_watching

_AT_ONCE = 16
_TRIES = 25
_NUMBERS = 50
_BATCH = 500
"""Orders that one transaction ends, so that the account's lock is held for a moment only."""
_WHY = Reason("account_reset", "The account was reset.")
_ON_THE_WIRE = frozenset({Submission.QUEUED, Submission.DISPATCHING, Submission.UNKNOWN})


class Reopens(Broker, Protocol):
    """A broker at which accounts can be opened at will: the built-in venue."""

    async def open_account(self, account_number: str, terms: AccountTerms, timeout_s: float) -> bool:
        """False: the number is in use. Raises BrokerError."""
        ...

    async def fetch_terms(self, account_number: str, timeout_s: float) -> AccountTerms:
        """Raises BrokerError."""
        ...


@dataclass(frozen=True, slots=True)
class ResetWish:
    """What the account is to be afterwards; None stays as it is. `cash` in dollars."""

    cash: Decimal | None = None
    margin: bool | None = None
    options_level: int | None = None
    fees: bool | None = None
    impact: bool | None = None
    price_improvement_pct: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """What has become of it. `canceled` counts the orders that ended with it."""

    account: AccountRow
    terms: AccountTerms
    canceled: int


class ResetService:
    """Resets accounts at the built-in venue, one call at a time each."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        accounts: AccountService,
        brokers: Mapping[str, Broker],
        timeout_s: float,
        told: Told = nobody,
    ) -> None:
        """`told` hears of every commit that wrote events."""
        self._told = told
        self._db = db
        self._clock = clock
        self._accounts = accounts
        self._brokers = brokers
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def reset(
        self, user: Principal, account_id: str, wish: ResetWish, request_id: str | None = None
    ) -> Reset:
        """Do it. Raises Problem: 404, 403, 409 for an account elsewhere, while an order is on the wire or in doubt, or
        where another reset came first; 503 where the venue does not answer. DatabaseUnavailable.
        """
        granted = await self._accounts.resolve(user, account_id, "trade")
        broker = self._brokers.get(granted.broker)
        if granted.mode != "paper" or broker is None or not _reopens(broker):
            raise Problem(Code.CONFLICT, "Only a paper account at the built-in venue can be reset.")
        async with self._db.read() as tx:
            account = (await store.load_accounts(tx, [account_id]))[account_id]
            _refuse_on_the_wire(await store.load_open_orders(tx, account_id))
        try:
            terms = _terms(account, await broker.fetch_terms(account.number, self._timeout_s), wish)
            number = await self._open(broker, account, terms)
            ever: set[str] = set()
            for _ in range(_TRIES):
                async with self._db.read() as tx:
                    # What is on its way may come to the venue after the cancelling, and is of the next round.
                    working = [
                        one
                        for one in await store.load_open_orders(tx, account_id)
                        if one.state not in _ON_THE_WIRE
                    ]
                seen = {order.id for order in working}
                ever |= seen
                await self._cancel_all(broker, account.number)
                moved = await self._move(user, account, number, terms, seen, request_id)
                if moved.number == number:
                    return Reset(moved, terms, await self._count_canceled(ever))
        except BrokerError as problem:
            raise Problem(
                Code.DATABASE_UNAVAILABLE,
                f"The venue did not confirm ({problem}); the account is not reset yet. Send it again in a moment.",
            ) from problem
        raise Problem(
            Code.CONFLICT,
            "New orders came in again and again; stop what places them, then reset the account.",
        )

    async def _open(self, venue: Reopens, account: AccountRow, terms: AccountTerms) -> str:
        """A number of its own for each start; one that a call that broke off has opened on other terms is passed by."""
        base, used = account.id, 1
        if account.number.startswith(f"{base}."):
            used = int(account.number.removeprefix(f"{base}."))
        for count in range(used + 1, used + 1 + _NUMBERS):
            number = f"{base}.{count}"
            if await venue.open_account(number, terms, self._timeout_s):
                return number
        raise Problem(Code.CONFLICT, "No free number was found for the account; try it again.")

    async def _cancel_all(self, broker: Broker, number: str) -> None:
        """Afterwards nothing that was there at the beginning works at the venue."""

        async def cancel(broker_order_id: str) -> None:
            async with self._slots:
                try:
                    await broker.cancel(number, broker_order_id, self._timeout_s)
                except BrokerRejected:
                    # It is over already: filled, or gone with the order it belongs to.
                    return

        listed = await broker.fetch_open_orders(number, self._timeout_s)
        await asyncio.gather(*(cancel(view.broker_order_id) for view in listed))

    async def _move(
        self,
        user: Principal,
        before: AccountRow,
        number: str,
        terms: AccountTerms,
        seen: set[str],
        request_id: str | None,
    ) -> AccountRow:
        """End what was cancelled and move the account to its new number, or only some of the first: then the account
        still bears the old one. `seen` are the open orders from before the cancelling."""
        async with self._db.begin() as tx:
            if (await store.lock_grants(tx, [user.user_id])).get((user.user_id, before.id)) != "trade":
                raise Problem(
                    Code.FORBIDDEN, "You may look at this account but not trade in it; ask the owner."
                )
            book = Book(tx, self._clock, 0)
            await book.open([before.id])
            # After the lock: everything booked so far is earlier than the reset.
            book.now_us = await tx.now_us()
            account = book.accounts[before.id]
            if account.number != before.number:
                raise Problem(Code.CONFLICT, "The account was reset by another call meanwhile.")
            open_orders = await store.load_open_orders(tx, before.id)
            _refuse_on_the_wire(open_orders)
            ending = [order for order in open_orders if order.id in seen][:_BATCH]
            for order in ending:
                _end(book, book.register(order))
            if len(ending) == len(open_orders):
                await self._start_afresh(book, account, number, terms)
                detail = {
                    "from": before.number,
                    "to": number,
                    "cash": str(plain(terms.starting_cash)),
                    "cash_before": str(plain(money_from_int(before.cash))),
                    "margin": terms.margin,
                    "options_level": terms.options_level,
                }
                book.audit(AuditEntry(user.actor, "account.reset", account.id, detail, request_id))
            await book.flush()
        self._told(book.told_accounts)
        return account

    async def _count_canceled(self, ids: set[str]) -> int:
        """Whoever was first to book that they ended: the venue's stream, or we."""
        ordered, count = sorted(ids), 0
        for start in range(0, len(ordered), _BATCH):
            async with self._db.read() as tx:
                rows = await store.load_orders(tx, ordered[start : start + _BATCH])
            count += sum(row.status is OrderStatus.CANCELED for row in rows)
        return count

    @staticmethod
    async def _start_afresh(book: Book, account: AccountRow, number: str, terms: AccountTerms) -> None:
        for row in await store.load_positions(book.tx, [account.id]):
            position = book.position(account.id, row.symbol)
            position.qty = position.cost_basis = position.realized_pl = 0
            position.open_buy_qty = position.open_buy_value = 0
            position.open_sell_qty = position.open_sell_value = 0
            position.version += 1
            book.touch_position(position)
        await stop_watching(book.tx, account.id)
        account.number = number
        account.cash = account.starting_cash = money_to_int(terms.starting_cash)
        account.margin, account.options_level = int(terms.margin), terms.options_level
        account.open_orders = account.open_combos = 0
        account.reconcile_problem = account.reconciled_at = None
        account.reset_at = book.now_us
        # A reader of the channel cannot go on from before this: he starts from a snapshot (contract S2).
        account.event_epoch += 1
        book.tell(
            account.id,
            "reset",
            "ledger",
            {"account": account.id, "cash": money(account.cash), "reset_at": instant(account.reset_at)},
        )


def _reopens(broker: Broker) -> TypeGuard[Reopens]:
    return hasattr(broker, "open_account")


def _terms(account: AccountRow, at_venue: AccountTerms, wish: ResetWish) -> AccountTerms:
    named = {name: value for name, value in asdict(wish).items() if value is not None}
    cash = named.pop("cash", money_from_int(account.starting_cash))
    return replace(at_venue, starting_cash=cash, **named)


def _refuse_on_the_wire(open_orders: list[OrderRow]) -> None:
    for order in open_orders:
        if order.state in _ON_THE_WIRE:
            raise Problem(
                Code.CONFLICT,
                f"The order {order.id} is {order.state.value}: wait until it is known what has become of it.",
                headers={"Retry-After": "1"},
                extra={"order_id": order.id},
            )


def _end(book: Book, order: OrderRow) -> None:
    order.status = order.broker_status = OrderStatus.CANCELED
    order.reason = reason_text(_WHY)
    if order.cancel_state is not None:
        order.cancel_state = CancelState.ACCEPTED.value
    if order.replace_state in (ReplaceState.REQUESTED.value, ReplaceState.UNKNOWN.value):
        order.replace_state = ReplaceState.REFUSED.value
    book.change(order, "ledger")
