"""The built-in paper venue: honest fills against the market's quotes, in books of its own (docs/paper.md)."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog

from paiid.brokers import (
    BrokerAccount,
    BrokerActivity,
    BrokerExecution,
    BrokerOrder,
    BrokerOrderView,
    BrokerPosition,
    BrokerRejected,
    BrokerReplace,
    BrokerUpdate,
    NotSent,
    OutcomeUnknown,
)
from paiid.brokers.paper.accounts import load_account, load_terms, open_account
from paiid.brokers.paper.desk import Desk, QuoteOf, request_of
from paiid.brokers.paper.fills import FillEngine
from paiid.brokers.paper.group_store import legs_of, load_groups
from paiid.brokers.paper.matcher import Matcher
from paiid.brokers.paper.queries import (
    find_order,
    load_executions,
    load_open_orders,
    load_orders_since,
    load_positions,
)
from paiid.brokers.paper.replace import Replacer, ReplaceRequest
from paiid.brokers.paper.roll import ActionsOf, CloseOf, DayRoll, no_actions, no_close
from paiid.brokers.paper.roll_store import load_activities
from paiid.brokers.paper.store import LostRace, load_orders
from paiid.brokers.paper.stream import News, read_updates
from paiid.core.clock import Clock
from paiid.core.db import CommitUnknown, Database, DatabaseUnavailable, Tx, UniqueViolation
from paiid.core.leases import Leases
from paiid.core.tasks import Background
from paiid.domain.paper import LATENCY_MS, Hours, PaperRefused
from paiid.domain.paper_checks import capabilities_of, check_order
from paiid.domain.terms import DEFAULT_TERMS, AccountTerms

__all__ = ["PaperBroker"]

_ACCOUNT_NUMBER = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z", re.ASCII)
_MAX_CLIENT_ORDER_ID = 128
_STOP_S = 0.8
_log = structlog.get_logger("paiid.paper")


class PaperBroker:
    """A `Broker` over our own database. Any account number is good; it opens on `terms` at its first order.

    `quote_of` gives the newest quote in memory; `leases` decides which process matches. Nothing runs before
    `start`.
    """

    name = "paper"
    lookup_lag_s = 0.0
    refusal_lookup_delay_s = 0.0
    simulated = True
    replays_updates = True
    budget_left = None

    def __init__(
        self,
        db: Database,
        clock: Clock,
        quote_of: QuoteOf,
        hours: Hours,
        leases: Leases,
        *,
        latency_ms: int = LATENCY_MS,
        terms: AccountTerms = DEFAULT_TERMS,
        close_of: CloseOf = no_close,
        actions_of: ActionsOf = no_actions,
    ) -> None:
        self._terms = terms
        self.capabilities = capabilities_of(never_closes=hours.never_closes)
        self._db = db
        self._clock = clock
        self._news = News()
        self._desk = Desk(clock, quote_of, hours, latency_ms, terms)
        engine = FillEngine(clock, quote_of, hours, self._desk)
        self._replacer = Replacer(self._desk)
        roll = DayRoll(db, hours, self._desk, close_of, actions_of)
        self._matcher = Matcher(db, clock, quote_of, hours, leases, engine, self._news, roll)
        self._background = Background(clock)
        self._running = False

    @property
    def is_matching(self) -> bool:
        """Whether this process is the one that fills orders."""
        return self._matcher.is_matching

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what: for the health page."""
        return self._background.failing

    async def start(self) -> None:
        """Begin matching, or waiting for the lease to. A database that is away does not stop it."""
        if not self._running:
            self._running = True
            self._background.begin("paper-matching", self._matcher.run)

    async def stop(self) -> None:
        """Stop matching and give the lease up; one that cannot be given up in time runs out by itself."""
        if not self._running:
            return
        self._running = False
        try:
            async with asyncio.timeout(_STOP_S):
                await self._background.stop()
                await self._matcher.stop()
        except TimeoutError:
            _log.warning("paper_lease_not_released")

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        """Accept the order, in a commit shared with others. It goes live `latency_ms` later.

        Raises BrokerRejected (the codes stand in docs/paper.md), NotSent when the database could not be written,
        OutcomeUnknown for a `client_order_id` used before, a commit in doubt, or the time being up.
        """
        _check_ids(order)
        try:
            check_order(request_of(order), self.capabilities)
        except PaperRefused as refused:
            raise BrokerRejected(refused.code, refused.message) from refused
        async with _within(timeout_s):
            accepted = await self._db.commit_with(self._desk.place, order)
        for one in (accepted.order, *accepted.legs):
            self._matcher.offer(one)
        self._news.set()
        return accepted.view()

    async def cancel(self, account_number: str, broker_order_id: str, timeout_s: float) -> BrokerOrderView:
        """Cancel at once: the view is the order's last word. Raises BrokerRejected (not_found, not_cancelable),
        NotSent, OutcomeUnknown."""
        async with _within(timeout_s):
            canceled = await self._db.commit_with(self._desk.cancel, (account_number, broker_order_id))
        for one in (canceled.order, *canceled.legs):
            self._matcher.forget(one)
        self._news.set()
        return canceled.view()

    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        """Replace at once: the new order stands and the old one is over, or nothing has changed.

        Raises BrokerRejected (not_found, not_replaceable, nothing_to_change, and what a new order is refused for),
        NotSent, OutcomeUnknown for a `client_order_id` used before, a commit in doubt, or the time being up.
        """
        _check_client_order_id(change.client_order_id)
        request = ReplaceRequest(account_number, broker_order_id, change)
        async with _within(timeout_s):
            placed = await self._db.commit_with(self._replacer.replace, request)
        for one in (placed.order, *placed.legs):
            self._matcher.offer(one)
        self._news.set()
        return placed.view()

    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        """An order by our id; what `submit` accepted is there at once."""
        async with self._reading(timeout_s) as tx:
            found = await find_order(tx, account_number, client_order_id)
            if found is None:
                return None
            group = await load_groups(tx, [found]) if found.is_parent else {}
        return found.view(legs_of(found, group.values()))

    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        """An order by our own id, an exit or a leg too."""
        async with self._reading(timeout_s) as tx:
            found = (await load_orders(tx, [broker_order_id])).get(broker_order_id)
            if found is None or found.account_number != account_number:
                return None
            group = await load_groups(tx, [found]) if found.is_parent else {}
        return found.view(legs_of(found, group.values()))

    def order_free_in_s(self, account_number: str, *, closes: bool = False) -> float | None:
        """There is no limit."""
        return None

    async def fetch_accounts(self, timeout_s: float) -> Sequence[BrokerAccount]:
        """None is there by itself."""
        return ()

    async def cancel_all(self, account_number: str, timeout_s: float) -> Mapping[str, str | None]:
        """Not here (`capabilities.cancels_all`): cancelling costs nothing."""
        raise BrokerRejected("not_supported", "The built-in venue cancels order by order.")

    async def set_own_stop(self, account_number: str, stopped: bool, timeout_s: float) -> bool:
        """Not here (`capabilities.own_stop`): our own halt is all the stop there is."""
        raise BrokerRejected("not_supported", "The built-in venue has no stop of its own.")

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        """Working orders, oldest first; those that hang on another one as orders of their own, too."""
        async with self._reading(timeout_s) as tx:
            orders = await load_open_orders(tx, account_number)
            groups = await load_groups(tx, [one for one in orders if one.is_parent])
            return [order.view(legs_of(order, groups.values())) for order in orders]

    async def fetch_orders_since(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerOrderView]:
        """Some of the orders taken from this instant on (it included), oldest first, with what hangs on them."""
        async with self._reading(timeout_s) as tx:
            orders = await load_orders_since(tx, account_number, after_us)
            groups = await load_groups(tx, [one for one in orders if one.is_parent])
            return [order.view(legs_of(order, groups.values())) for order in orders]

    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        """Executions from this instant on (it included), oldest first."""
        async with self._reading(timeout_s) as tx:
            return await load_executions(tx, account_number, after_us)

    async def fetch_activities(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerActivity]:
        """Activities from this instant on (it included), oldest first."""
        async with self._reading(timeout_s) as tx:
            return await load_activities(tx, account_number, after_us)

    async def fetch_positions(self, account_number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        """Holdings other than zero."""
        async with self._reading(timeout_s) as tx:
            return await load_positions(tx, account_number)

    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        """Cash and status."""
        async with self._reading(timeout_s) as tx:
            return await load_account(tx, account_number, self._terms)

    async def open_account(self, account_number: str, terms: AccountTerms, timeout_s: float) -> bool:
        """Open an account on terms of its own; asking twice does no harm. False: the number is in use.

        Raises NotSent, OutcomeUnknown (ask again).
        """
        async with _within(timeout_s), self._db.begin() as tx:
            return await open_account(tx, account_number, terms)

    async def fetch_terms(self, account_number: str, timeout_s: float) -> AccountTerms:
        """On which terms an account trades; `starting_cash` is that of accounts opened by their first order."""
        async with self._reading(timeout_s) as tx:
            return await load_terms(tx, account_number, self._terms)

    def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        """Every event behind this cursor in order, from whatever process, without gaps or duplicates."""
        return read_updates(self._db, self._clock, self._news, after)

    @asynccontextmanager
    async def _reading(self, timeout_s: float) -> AsyncIterator[Tx]:
        async with _within(timeout_s), self._db.read() as tx:
            yield tx


def _check_ids(order: BrokerOrder) -> None:
    if not _ACCOUNT_NUMBER.match(order.account_number):
        raise BrokerRejected("unknown_account", "There is no such account.")
    _check_client_order_id(order.client_order_id)


def _check_client_order_id(client_order_id: str) -> None:
    if not 1 <= len(client_order_id) <= _MAX_CLIENT_ORDER_ID or "\0" in client_order_id:
        raise BrokerRejected("invalid_client_order_id", "A client_order_id has 1 to 128 characters.")


@asynccontextmanager
async def _within(timeout_s: float) -> AsyncIterator[None]:
    """The deadline of a call, and what the database's failures mean to the caller."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except CommitUnknown as error:
        raise OutcomeUnknown("the venue's commit is in doubt") from error
    except DatabaseUnavailable as error:
        raise NotSent("the venue's database cannot be reached") from error
    except (LostRace, UniqueViolation) as error:
        raise OutcomeUnknown("something else changed the same order") from error
    except TimeoutError as error:
        raise OutcomeUnknown("no answer from the venue in time") from error
