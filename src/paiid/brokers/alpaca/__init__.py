"""Alpaca as a broker: REST and the trade-update stream, one `Broker` for all pairs of keys, and nothing believed that
was not read (docs of the wire: Trading API 2.0)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date

import httpx2
import structlog

from paiid.brokers import (
    BrokerAccount,
    BrokerActivity,
    BrokerError,
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
from paiid.brokers.alpaca import catalog
from paiid.brokers.alpaca.books import Books
from paiid.brokers.alpaca.capabilities import CAPABILITIES
from paiid.brokers.alpaca.catalog import Asset, ListedContract, MarketClock, TradingDay
from paiid.brokers.alpaca.families import Families
from paiid.brokers.alpaca.keys import AlpacaKeys
from paiid.brokers.alpaca.orders import OrderDesk
from paiid.brokers.alpaca.sessions import Session, Sessions
from paiid.brokers.alpaca.stream import StreamState, StreamTimings, UpdateStream
from paiid.brokers.priorities import priority_of
from paiid.core.clock import Clock
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governors, Priority
from paiid.wires.values import fields_of, flag_of

__all__ = [
    "AlpacaBroker",
    "AlpacaKeys",
    "Asset",
    "ListedContract",
    "MarketClock",
    "StreamState",
    "StreamTimings",
    "TradingDay",
]

_CONFIGURATIONS = "/v2/account/configurations"
_CONFIRM_PAUSE_S = 0.1
_DEFAULT_TIMINGS = StreamTimings()
_STOP_S = 0.9
_log = structlog.get_logger("paiid.alpaca")


class AlpacaBroker:
    """A `Broker` over Alpaca. Every call goes to the account it names, with the keys of that account.

    In lists that come in pages, `timeout_s` bounds each page. Nothing is asked before the first call.
    """

    name = "alpaca"
    capabilities = CAPABILITIES
    replays_updates = False

    def __init__(
        self,
        clock: Clock,
        keys: Sequence[AlpacaKeys],
        *,
        lookup_lag_s: float = 2.0,
        refusal_lookup_delay_s: float = 1.0,
        transport: httpx2.AsyncBaseTransport | None = None,
        timings: StreamTimings = _DEFAULT_TIMINGS,
        governors: Governors | None = None,
    ) -> None:
        """`governors` are those of the process, so that a budget is counted once, whoever spends it."""
        self.lookup_lag_s = lookup_lag_s
        self.refusal_lookup_delay_s = refusal_lookup_delay_s
        self.simulated = bool(keys) and all(one.on_loopback for one in keys)
        self._clock = clock
        self._sessions = Sessions(clock, keys, governors or Governors(clock), transport)
        families = Families()
        self._desk = OrderDesk(families)
        self._books = Books(self._desk)
        self._stream = UpdateStream(clock, self._sessions, self._books, families, timings)

    @property
    def budget_left(self) -> int | None:
        """The least that any of the accounts has left of its requests a minute."""
        return self._sessions.budget_left

    def order_free_in_s(self, account_number: str, *, closes: bool = False) -> float | None:
        """By the budget of the account's keys; of an account that is not known yet nothing is known."""
        return self._sessions.order_free_in_s(account_number, closes=closes)

    @property
    def stream_state(self) -> tuple[StreamState, ...]:
        """How the update stream of each account is, in the order of the keys."""
        return self._stream.states

    async def start(self) -> None:
        """Nothing runs until somebody reads `updates`."""

    async def stop(self) -> None:
        """Close every connection; within a second."""
        try:
            async with asyncio.timeout(_STOP_S):
                await self._stream.stop()
                await self._sessions.close()
        except TimeoutError:
            _log.warning("alpaca_connections_left_open")

    # -- orders -------------------------------------------------------------------------------------

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        """Place it. Raises BrokerRejected, NotSent, OutcomeUnknown; NotSent too where the account is not ours."""
        deadline = Deadline(self._clock, timeout_s)
        session = await self._session_or_not_sent(order.account_number, deadline, priority_of(order))
        return await self._desk.submit(session, order, deadline)

    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        """Put another order in its place. Raises BrokerRejected, NotSent, OutcomeUnknown."""
        deadline = Deadline(self._clock, timeout_s)
        session = await self._session_or_not_sent(account_number, deadline, Priority.ENTRY)
        return await self._desk.replace(session, broker_order_id, change, deadline)

    async def cancel(self, account_number: str, broker_order_id: str, timeout_s: float) -> None:
        """Ask for cancellation; what becomes of it the stream tells. Raises BrokerError."""
        deadline = Deadline(self._clock, timeout_s)
        session = await self._sessions.of(account_number, deadline, Priority.CANCEL)
        await self._desk.cancel(session, broker_order_id, deadline)

    async def cancel_all(self, account_number: str, timeout_s: float) -> Mapping[str, str | None]:
        """Ask for the cancellation of everything open. Raises BrokerError."""
        deadline = Deadline(self._clock, timeout_s)
        session = await self._sessions.of(account_number, deadline, Priority.CANCEL)
        return await self._desk.cancel_all(session, deadline)

    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        """By our id. Raises BrokerError."""
        deadline = Deadline(self._clock, timeout_s)
        session = await self._sessions.of(account_number, deadline)
        return await self._desk.find(session, client_order_id, deadline)

    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        """By Alpaca's id. Raises BrokerError."""
        deadline = Deadline(self._clock, timeout_s)
        session = await self._sessions.of(account_number, deadline)
        return await self._desk.read_nested(session, broker_order_id, deadline)

    # -- books --------------------------------------------------------------------------------------

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        """All that still work. Raises BrokerError, also where one of them cannot be read."""
        session = await self._sessions.of(account_number, self._deadline(timeout_s))
        return await self._books.open_orders(session, lambda: self._deadline(timeout_s))

    async def fetch_orders_since(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerOrderView]:
        """A page of orders, whatever has become of them, oldest first. Raises BrokerError, also where one of them cannot be
        read."""
        session = await self._sessions.of(account_number, self._deadline(timeout_s))
        return await self._books.orders_since(session, after_us, lambda: self._deadline(timeout_s))

    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        """Prints since an instant, oldest first. Raises BrokerError."""
        session = await self._sessions.of(account_number, self._deadline(timeout_s))
        return await self._books.executions(session, after_us, lambda: self._deadline(timeout_s))

    async def fetch_activities(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerActivity]:
        """What was no fill, since an instant, oldest first. Raises BrokerError."""
        session = await self._sessions.of(account_number, self._deadline(timeout_s))
        return await self._books.activities(session, after_us, lambda: self._deadline(timeout_s))

    async def fetch_positions(self, account_number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        """All holdings. Raises BrokerError, also where one of them cannot be read."""
        deadline = self._deadline(timeout_s)
        return await self._books.positions(await self._sessions.of(account_number, deadline), deadline)

    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        """Cash and status. Raises BrokerError."""
        deadline = self._deadline(timeout_s)
        session = await self._sessions.of(account_number, deadline)
        account = await session.fetch_account(deadline)
        if account.number != account_number:
            raise OutcomeUnknown("the keys belong to another account now")
        return account

    async def fetch_accounts(self, timeout_s: float) -> Sequence[BrokerAccount]:
        """The accounts of our keys; a pair that does not answer is left out and logged. Raises BrokerError where none
        answers."""
        return await self._sessions.fetch_accounts(self._deadline(timeout_s))

    async def set_own_stop(self, account_number: str, stopped: bool, timeout_s: float) -> bool:
        """Set or lift `suspend_trade`, and wait until Alpaca shows it so (section 5): whether it was set before.

        Raises BrokerError; OutcomeUnknown where it was asked for and not seen in time, whatever came of the looks: a look that is
        refused, or that finds no place in the budget, says nothing of what was asked for before it.
        """
        deadline = self._deadline(timeout_s)
        session = await self._sessions.of(account_number, deadline, Priority.CANCEL)
        before = await self._suspended(session, deadline)
        if before == stopped:
            return before
        body = {"suspend_trade": stopped}
        await session.wire.send("PATCH", _CONFIGURATIONS, deadline, priority=Priority.CANCEL, body=body)
        problem: BrokerError | None = None
        while deadline.left_s > 0:
            try:
                if await self._suspended(session, deadline) == stopped:
                    return before
            except BrokerError as found:
                problem = found
            await self._clock.sleep(_CONFIRM_PAUSE_S)
        raise OutcomeUnknown("the broker does not show its own stop as it was asked to") from problem

    async def _suspended(self, session: Session, deadline: Deadline) -> bool:
        reply = await session.wire.send("GET", _CONFIGURATIONS, deadline, priority=Priority.CANCEL)
        told = flag_of(fields_of(reply.data).get("suspend_trade"))
        if told is None:
            raise OutcomeUnknown("the broker does not tell whether its own stop is set")
        return told

    def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        """The trade updates of all accounts; each connection begins with a `resync` of its account."""
        return self._stream.updates(after)

    # -- the market ---------------------------------------------------------------------------------

    async def fetch_asset(self, symbol: str, timeout_s: float) -> Asset | None:
        """What may be done with a symbol; None: there is none. Raises BrokerError."""
        return await catalog.fetch_asset(self._any(), symbol, self._deadline(timeout_s))

    async def fetch_option_contracts(
        self, underlying: str, first: date, last: date, timeout_s: float
    ) -> Sequence[ListedContract]:
        """Active contracts on a ticker that expire in these days. Raises BrokerError."""
        return await catalog.fetch_option_contracts(
            self._any(), underlying, first, last, self._deadline(timeout_s)
        )

    async def fetch_clock(self, timeout_s: float) -> MarketClock:
        """Alpaca's time, and whether the session is open. Raises BrokerError."""
        return await catalog.fetch_clock(self._any(), self._deadline(timeout_s))

    async def fetch_calendar(self, first: date, last: date, timeout_s: float) -> Sequence[TradingDay]:
        """The trading days among these. Raises BrokerError."""
        return await catalog.fetch_calendar(self._any(), first, last, self._deadline(timeout_s))

    def _any(self) -> Session:
        if not self._sessions.all:
            raise BrokerError("there are no keys to ask with")
        return self._sessions.all[0]

    def _deadline(self, timeout_s: float) -> Deadline:
        return Deadline(self._clock, timeout_s)

    async def _session_or_not_sent(
        self, account_number: str, deadline: Deadline, priority: Priority
    ) -> Session:
        try:
            return await self._sessions.of(account_number, deadline, priority)
        except BrokerError as problem:
            if isinstance(problem, BrokerRejected) and problem.code == "invalid_credentials":
                raise NotSent("the broker does not take the keys: check them in the environment") from None
            raise NotSent(f"the account could not be found ({problem})") from None
