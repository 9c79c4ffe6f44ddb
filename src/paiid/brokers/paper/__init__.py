"""The built-in paper venue: honest fills against the market's quotes, in books of its own (docs/paper.md)."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from paiid.brokers import (
    BrokerAccount,
    BrokerExecution,
    BrokerOrder,
    BrokerOrderView,
    BrokerPosition,
    BrokerRejected,
    BrokerUpdate,
    Capabilities,
    NotSent,
    OutcomeUnknown,
)
from paiid.brokers.paper.desk import Desk, QuoteOf
from paiid.brokers.paper.fills import FillEngine
from paiid.brokers.paper.matcher import Matcher
from paiid.brokers.paper.store import (
    LostRace,
    find_order,
    load_account,
    load_executions,
    load_open_orders,
    load_positions,
)
from paiid.brokers.paper.stream import News, read_updates
from paiid.core.clock import Clock
from paiid.core.db import CommitUnknown, Database, DatabaseUnavailable, Tx, UniqueViolation
from paiid.core.leases import Leases
from paiid.core.tasks import Background
from paiid.domain.paper import LATENCY_MS, Hours, PaperRefused, check_order

__all__ = ["PaperBroker"]

_ACCOUNT_NUMBER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)
_MAX_CLIENT_ORDER_ID = 128
_STOP_S = 0.8
_log = structlog.get_logger("paiid.paper")


class PaperBroker:
    """A `Broker` over our own database. Any account number is good; it opens with 100,000 USD at its first order.

    `quote_of` gives the newest quote in memory; `leases` decides which process matches. Nothing runs before
    `start`.
    """

    name = "paper"
    capabilities = Capabilities(
        asset_classes=frozenset({"stock"}),
        order_types=frozenset({"market", "limit", "stop"}),
        times_in_force=frozenset({"day", "gtc", "ioc", "fok"}),
        fractional=False,
        short_selling=True,
        own_stop=False,
        lists_end_with_day=False,
    )
    lookup_lag_s = 0.0
    refusal_lookup_delay_s = 0.0

    def __init__(
        self,
        db: Database,
        clock: Clock,
        quote_of: QuoteOf,
        hours: Hours,
        leases: Leases,
        *,
        latency_ms: int = LATENCY_MS,
    ) -> None:
        self._db = db
        self._clock = clock
        self._news = News()
        self._desk = Desk(clock, quote_of, hours, latency_ms)
        engine = FillEngine(clock, quote_of, hours, self._desk)
        self._matcher = Matcher(db, clock, quote_of, hours, leases, engine, self._news)
        self._background = Background(clock)
        self._running = False

    @property
    def is_matching(self) -> bool:
        """Whether this process is the one that fills orders."""
        return self._matcher.is_matching

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
            check_order(order.symbol, order.type, order.qty, order.limit_price, order.stop_price)
        except PaperRefused as refused:
            raise BrokerRejected(refused.code, refused.message) from refused
        async with _within(timeout_s):
            accepted = await self._db.commit_with(self._desk.place, order)
        self._matcher.offer(accepted)
        self._news.set()
        return accepted.view()

    async def cancel(self, account_number: str, broker_order_id: str, timeout_s: float) -> BrokerOrderView:
        """Cancel at once: the view is the order's last word. Raises BrokerRejected (not_found, not_cancelable),
        NotSent, OutcomeUnknown."""
        async with _within(timeout_s):
            canceled = await self._db.commit_with(self._desk.cancel, (account_number, broker_order_id))
        self._matcher.forget(canceled)
        self._news.set()
        return canceled.view()

    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        """An order by our id; what `submit` accepted is there at once."""
        async with self._reading(timeout_s) as tx:
            found = await find_order(tx, account_number, client_order_id)
        return None if found is None else found.view()

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        """Working orders, oldest first."""
        async with self._reading(timeout_s) as tx:
            return [order.view() for order in await load_open_orders(tx, account_number)]

    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        """Executions from this instant on (it included), oldest first."""
        async with self._reading(timeout_s) as tx:
            return await load_executions(tx, account_number, after_us)

    async def fetch_positions(self, account_number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        """Holdings other than zero."""
        async with self._reading(timeout_s) as tx:
            return await load_positions(tx, account_number)

    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        """Cash and status."""
        async with self._reading(timeout_s) as tx:
            return await load_account(tx, account_number)

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
    if not 1 <= len(order.client_order_id) <= _MAX_CLIENT_ORDER_ID or "\0" in order.client_order_id:
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
