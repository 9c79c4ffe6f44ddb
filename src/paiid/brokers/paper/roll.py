"""The day roll of the venue: expirations, exercise and assignment, dividends and splits, each booked once.

It runs in the matching process, fenced by its lease; one transaction an account, and what was booked is known by the
ids of the activities, so that it can be broken off anywhere and taken up again.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from decimal import Decimal
from functools import partial

import structlog

from paiid.brokers import BrokerActivity
from paiid.brokers.paper.desk import Desk
from paiid.brokers.paper.group_store import load_groups
from paiid.brokers.paper.groups import attach_legs, follow
from paiid.brokers.paper.queries import load_open_orders
from paiid.brokers.paper.records import PaperOrder, stepped
from paiid.brokers.paper.roll_store import (
    load_accounts_of,
    load_booked,
    load_held_options,
    load_rolled_at,
    load_symbols,
    load_traded_since,
    mark_rolled,
)
from paiid.brokers.paper.store import Change, LostRace, enter_accounts, save
from paiid.core.db import Database, DatabaseUnavailable, Tx
from paiid.core.leases import Held, LeaseLost, still_held
from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import is_option, underlying_of
from paiid.domain.money import ZERO
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.orders import OrderStatus
from paiid.domain.paper import Hours, Step
from paiid.domain.paper_account import PaperAccount
from paiid.domain.paper_checks import last_trade_us
from paiid.domain.paper_roll import Booking, dividend, enter, expire, split

CloseOf = Callable[[str, int], Awaitable[Decimal | None]]
"""The close of a stock at a roll; None where nobody knows it."""
ActionsOf = Callable[[Sequence[str], date], Awaitable[Sequence[CorporateAction]]]
"""The corporate actions of these stocks whose ex-date this is."""
RETRY_US = 30_000_000
CORPORATE_ACTION = "corporate_action"

log = structlog.get_logger("paiid.paper")


async def no_close(symbol: str, roll_us: int) -> Decimal | None:
    """No market to ask: nothing expires."""
    return None


async def no_actions(symbols: Sequence[str], ex_date: date) -> Sequence[CorporateAction]:
    """No market to ask: nothing is paid or split."""
    return ()


class DayRoll:
    """Books what each end of a trading day brings."""

    def __init__(
        self, db: Database, hours: Hours, desk: Desk, close_of: CloseOf, actions_of: ActionsOf
    ) -> None:
        self._db = db
        self._hours = hours
        self._desk = desk
        self._close_of = close_of
        self._actions_of = actions_of
        self._done_us = -1
        """The last roll of which everything is booked."""
        self._retry_us = 0

    def is_due(self, now_us: int) -> bool:
        """Whether there may be something to book: a day has ended, or a price was missing and it is time to ask again."""
        return now_us >= self._retry_us and self._hours.previous_roll_us(now_us) != self._done_us

    def begin_again(self) -> None:
        """Another process may have worked meanwhile: what is due is looked up afresh."""
        self._done_us, self._retry_us = -1, 0

    async def run(self, held: Held, now_us: int) -> bool:
        """Book what is due; whether anything has changed. What lacks a price is tried again.

        Raises LeaseLost, DatabaseUnavailable.
        """
        last_us = self._hours.previous_roll_us(now_us)
        changed, missing_us = await self._expirations(held, last_us)
        async with self._db.read() as tx:
            rolled_us = await load_rolled_at(tx)
        if rolled_us == 0:
            # Nothing is known of the days before the first.
            await self._mark(held, last_us)
            rolled_us = last_us
        # Shares that an exercise at the last roll brings have their dividend, too: wait for them. What an older roll
        # lacks holds nothing up.
        acts = last_us not in missing_us
        while acts and rolled_us < (roll_us := self._hours.next_roll_us(rolled_us)) <= last_us:
            acted, acts = await self._actions(held, roll_us)
            changed = changed or acted
            if acts:
                await self._mark(held, roll_us)
                rolled_us = roll_us
        complete = acts and not missing_us
        self._done_us = last_us if complete else -1
        self._retry_us = 0 if complete else now_us + RETRY_US
        return changed

    async def _mark(self, held: Held, roll_us: int) -> None:
        async with self._db.begin() as tx:
            await _fence(tx, held)
            await mark_rolled(tx, roll_us)

    async def _expirations(self, held: Held, last_us: int) -> tuple[bool, set[int]]:
        """Whether anything was booked, and the rolls at which something expired that could not be."""
        async with self._db.read() as tx:
            positions = await load_held_options(tx)
        due: dict[str, list[tuple[OptionContract, Decimal]]] = {}
        missing_us: set[int] = set()
        closes: dict[tuple[str, int], Decimal | None] = {}
        for account, symbol in positions:
            contract = find_contract(symbol)
            if contract is None or (ended_us := last_trade_us(contract, self._hours)) > last_us:
                continue
            if contract.adjusted:
                log.error("paper_adjusted_contract_left", account=account, symbol=symbol)
                continue
            about = (contract.underlying, ended_us)
            if about not in closes:
                closes[about] = await self._close(*about)
            close = closes[about]
            if close is None:
                log.warning("paper_expiration_without_close", symbol=symbol)
                missing_us.add(ended_us)
                continue
            due.setdefault(account, []).append((contract, close))
        changed = False
        for account, contracts in due.items():
            done = await self._booked(account, partial(self._expire, held, account, contracts))
            changed = changed or done
            if not done:
                missing_us.add(last_us)
        return changed, missing_us

    async def _close(self, symbol: str, roll_us: int) -> Decimal | None:
        try:
            return await self._close_of(symbol, roll_us)
        except DatabaseUnavailable:
            raise
        except Exception as problem:  # noqa: BLE001 - whatever the market says, the roll is tried again
            log.warning("paper_close_unknown", symbol=symbol, problem=repr(problem))
            return None

    @staticmethod
    async def _booked(account: str, book: Callable[[], Awaitable[None]]) -> bool:
        """Whether one account's transaction was committed; one that cannot be booked must not stop the others."""
        try:
            await book()
        except (DatabaseUnavailable, LeaseLost):
            raise
        except LostRace:
            return False
        except Exception as problem:  # noqa: BLE001 - see above
            log.error("paper_account_not_rolled", account=account, problem=repr(problem))
            return False
        return True

    async def _expire(self, held: Held, account: str, due: Sequence[tuple[OptionContract, Decimal]]) -> None:
        async with self._db.begin() as tx:
            await _fence(tx, held)
            now, accounts, _ = await enter_accounts(tx, [account], self._desk.mark_of, terms=self._desk.terms)
            bookings = expire(accounts.books[account], due)
            made: list[BrokerActivity] = []
            for at, booking in enumerate(bookings):
                contract = booking.symbol
                shares = "" if is_option(contract) else "-shares"
                if shares:
                    # The shares of the contract that was booked just before.
                    contract = bookings[at - 1].symbol
                made.append(_activity(account, f"exp-{account}-{contract}{shares}", booking, now))
            if made:
                await save(tx, accounts, [], made)

    async def _actions(self, held: Held, roll_us: int) -> tuple[bool, bool]:
        """Dividends and splits of whoever held the stock at this roll, the last before the ex-date."""
        async with self._db.read() as tx:
            symbols = await load_symbols(tx)
        ex_date = self._hours.trading_day(roll_us)
        stocks = [one for one in symbols if not is_option(one)]
        try:
            actions = await self._actions_of(stocks, ex_date) if stocks else ()
        except DatabaseUnavailable:
            raise
        except Exception as problem:  # noqa: BLE001 - whatever the market says, the roll is tried again
            log.warning("paper_actions_unknown", ex_date=str(ex_date), problem=repr(problem))
            return False, False
        if not actions:
            return False, True
        split_symbols = {one.symbol for one in actions if one.kind == "split"}
        for symbol in symbols:
            if is_option(symbol) and underlying_of(symbol) in split_symbols:
                log.error("paper_options_of_split_left", symbol=symbol, ex_date=str(ex_date))
        async with self._db.read() as tx:
            concerned = await load_accounts_of(tx, sorted({one.symbol for one in actions}))
        complete = True
        for account in concerned:
            done = await self._booked(account, partial(self._act, held, account, actions, roll_us, ex_date))
            complete = complete and done
        return True, complete

    async def _act(
        self, held: Held, account: str, actions: Sequence[CorporateAction], roll_us: int, ex_date: date
    ) -> None:
        async with self._db.begin() as tx:
            await _fence(tx, held)
            now, accounts, _ = await enter_accounts(tx, [account], self._desk.mark_of, terms=self._desk.terms)
            book = accounts.books[account]
            ids = [f"{one.kind[:3]}-{account}-{one.symbol}-{ex_date}" for one in actions]
            known = await load_booked(tx, ids)
            traded = await load_traded_since(tx, account, roll_us)
            changes: list[Change] = []
            made: list[BrokerActivity] = []
            for activity_id, action in zip(ids, actions, strict=True):
                if activity_id in known:
                    continue
                then = book.holding(action.symbol).qty - traded.get(action.symbol, ZERO)
                if action.kind == "split":
                    changes.extend(await self._cancel_orders(tx, account, action.symbol, book, roll_us, now))
                if then == 0:
                    continue
                words = action.description or f"{action.kind} of {action.symbol}"
                booking = (
                    dividend(action.symbol, then, action.amount, words)
                    if action.kind == "dividend"
                    else split(action.symbol, then, action.ratio, words)
                )
                enter(book, booking)
                made.append(_activity(account, activity_id, booking, now))
            if changes or made:
                await save(tx, accounts, changes, made)

    async def _cancel_orders(
        self, tx: Tx, account: str, symbol: str, book: PaperAccount, roll_us: int, now_us: int
    ) -> list[Change]:
        """Orders from before a split name prices and quantities of shares that are no more."""
        orders = {
            one.id: one
            for one in await load_open_orders(tx, account)
            if one.working.symbol == symbol and one.submitted_at_us < roll_us
        }
        asked: list[PaperOrder] = list(orders.values())
        orders.update(await load_groups(tx, asked))
        changes: list[Change] = []
        for order in (orders[one.id] for one in asked):
            if order.is_over:
                continue
            step = Step(ends=OrderStatus.CANCELED, reason=CORPORATE_ACTION)
            book.settle(order.working, step, order.reserve_price, counts=order.counts)
            change = Change(order, stepped(order, step, now_us))
            orders[order.id] = change.after
            changes.append(change)
            for other in follow(change, orders, book, self._hours, now_us):
                orders[other.after.id] = other.after
                changes.append(other)
        attach_legs(changes, orders)
        return changes


async def _fence(tx: Tx, held: Held) -> None:
    if not await still_held(tx, held):
        raise LeaseLost(held.name)


def _activity(account: str, activity_id: str, booking: Booking, at_us: int) -> BrokerActivity:
    return BrokerActivity(
        account_number=account,
        activity_id=activity_id,
        kind=booking.kind,
        symbol=booking.symbol,
        qty=booking.qty,
        price=booking.price,
        cash=booking.cash,
        at_us=at_us,
        description=booking.description,
    )
