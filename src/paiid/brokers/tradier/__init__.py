"""Tradier as a broker: one account of one token, over REST alone where need be; the account stream only says when to look
(docs of the wire: Tradier Brokerage API v1)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import date

import httpx2
import structlog

from paiid.brokers import (
    ORDER_WAIT_S,
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
    Capabilities,
    NotSent,
)
from paiid.brokers.tradier.books import Books, open_orders
from paiid.brokers.tradier.capabilities import CAPABILITIES
from paiid.brokers.tradier.connection import TradierTimings
from paiid.brokers.tradier.day_view import Ours, looks_ours
from paiid.brokers.tradier.desk import Desk, Preview
from paiid.brokers.tradier.gain_loss import ClosedPosition, fetch_gain_loss
from paiid.brokers.tradier.history import History
from paiid.brokers.tradier.listing import DayList
from paiid.brokers.tradier.past_orders import PastOrders
from paiid.brokers.tradier.session import Session
from paiid.brokers.tradier.updates import StreamState, UpdateStream
from paiid.core.clock import Clock
from paiid.domain.calendar import MarketHours
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governors, Priority
from paiid.wires.tradier.keys import TradierKeys
from paiid.wires.tradier.wire import TradierWire

__all__ = ["ClosedPosition", "Preview", "StreamState", "TradierBroker", "TradierKeys", "TradierTimings"]

_DEFAULT_TIMINGS = TradierTimings()
_STOP_S = 0.9
_log = structlog.get_logger("paiid.tradier")


class TradierBroker:
    """A `Broker` over Tradier. In lists that come in pages, `timeout_s` bounds the whole. Nothing is asked before the first
    call."""

    name = "tradier"
    capabilities: Capabilities
    replays_updates = False

    def __init__(
        self,
        clock: Clock,
        keys: TradierKeys,
        governors: Governors | None = None,
        *,
        lookup_lag_s: float = 2.0,
        refusal_lookup_delay_s: float = 1.0,
        transport: httpx2.AsyncBaseTransport | None = None,
        timings: TradierTimings = _DEFAULT_TIMINGS,
        hours: MarketHours | None = None,
        ours: Ours = looks_ours,
    ) -> None:
        """`hours` tell which session is on, the exchange's where nothing is said. `ours` says of a tag whether this service
        made it: the tags of others are not unique and name nothing."""
        self.lookup_lag_s = lookup_lag_s
        self.refusal_lookup_delay_s = refusal_lookup_delay_s
        self.simulated = keys.environment == "simulated"
        self._clock = clock
        # What an order costs stands in no answer; a simulator charges nothing, and hides no mistake of ours behind it.
        self.capabilities = replace(CAPABILITIES, tells_fees=keys.environment == "simulated")
        self._wire = TradierWire(clock, keys, governors or Governors(clock), transport)
        self._session = Session(clock, self._wire)
        self._day_list = DayList(clock, self._session, ours)
        self._desk = Desk(clock, self._session, self._day_list, hours)
        self._past = PastOrders(clock, self._session, self._day_list, ours)
        self._books = Books(clock, self._session)
        self._history = History(clock, self._session)
        self._stream = UpdateStream(clock, self._session, self._day_list, timings)

    @property
    def budget_left(self) -> int | None:
        """Reads that may still be made in this minute; orders have a budget of their own (`order_free_in_s`)."""
        return self._wire.governor("standard").left

    def order_free_in_s(self, account_number: str, *, closes: bool = False) -> float | None:
        """By the budget of orders, changes and cancels, which all accounts of the token share."""
        return self._wire.governor("trading").retry_after_s(Priority.EXIT if closes else Priority.ENTRY)

    @property
    def stream_state(self) -> tuple[StreamState, ...]:
        """How the account stream is; without one, orders are told by looking at the list."""
        return self._stream.states

    async def start(self) -> None:
        """Nothing runs until somebody reads `updates`."""

    async def stop(self) -> None:
        """Close every connection; within a second."""
        try:
            async with asyncio.timeout(_STOP_S):
                await self._stream.stop()
                await self._day_list.stop()
                await self._wire.close()
        except TimeoutError:
            _log.warning("tradier_connections_left_open")

    def nudge(self) -> None:
        """Something was just asked of an order: look at the list soon."""
        self._stream.nudge()

    # -- orders -------------------------------------------------------------------------------------

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        """Place it. Raises BrokerRejected, NotSent, OutcomeUnknown; NotSent too where the account is not ours."""
        deadline, patience = await self._deadlines_or_not_sent(order.account_number, timeout_s)
        self._day_list.sent.add(order)
        try:
            view = await self._desk.submit(order, deadline, patience)
        except (BrokerRejected, NotSent):
            self._day_list.sent.drop(order.client_order_id)
            raise
        finally:
            self.nudge()
        return replace(view, client_order_id=order.client_order_id)

    async def preview(self, order: BrokerOrder, timeout_s: float) -> Preview:
        """What it would cost, without placing it. Raises BrokerRejected, NotSent, OutcomeUnknown."""
        deadline, _ = await self._deadlines_or_not_sent(order.account_number, timeout_s)
        return await self._desk.preview(order, deadline)

    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        """Change an order where it stands: id and tag stay (ADR 0024). Raises BrokerRejected, NotSent, OutcomeUnknown."""
        deadline, patience = await self._deadlines_or_not_sent(account_number, timeout_s)
        try:
            return await self._desk.replace(broker_order_id, change, deadline, patience)
        finally:
            self.nudge()

    async def cancel(self, account_number: str, broker_order_id: str, timeout_s: float) -> None:
        """Ask for cancellation; what becomes of it the updates tell. Raises BrokerRejected where the order is refused to go,
        NotSent where nothing was said of it, other BrokerErrors."""
        deadline = Deadline(self._clock, timeout_s)
        try:
            await self._session.learn_number(deadline, priority=Priority.CANCEL)
        except BrokerError as problem:
            # Nothing was said of the order: the wish stands.
            raise NotSent(f"the account could not be found ({problem})") from None
        await self._deadline_for(account_number, timeout_s)
        try:
            await self._desk.cancel(broker_order_id, deadline)
        except BrokerRejected as refused:
            if refused.code != "invalid_credentials":
                raise
            # Our token was refused, and nothing said of the order: as above.
            raise NotSent(f"nothing was cancelled: {refused.message}") from None
        finally:
            self.nudge()

    async def cancel_all(self, account_number: str, timeout_s: float) -> Mapping[str, str | None]:
        """Raises BrokerRejected: Tradier has no such request."""
        raise BrokerRejected("not_supported", "Tradier cannot cancel everything in one request.")

    async def set_own_stop(self, account_number: str, stopped: bool, timeout_s: float) -> bool:
        """Raises BrokerRejected: Tradier has no such setting."""
        raise BrokerRejected("not_supported", "Tradier has no setting of its own that stops trading.")

    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        """By our id, among the orders of today in New York. Raises BrokerError."""
        deadline = await self._deadline_for(account_number, timeout_s, Priority.READ)
        return await self._desk.find(client_order_id, deadline)

    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        """By Tradier's id: among today's orders, by itself, and among those of days that are over. Raises BrokerError."""
        deadline = await self._deadline_for(account_number, timeout_s, Priority.READ)
        found = await self._desk.find_by_id(broker_order_id, deadline)
        if found is None and broker_order_id.isdigit():
            found = await self._past.find(broker_order_id, deadline)
        if found is not None:
            self._stream.offer(found)
        return found

    # -- books --------------------------------------------------------------------------------------

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        """All that still work, as of after this call: a halt counts on it (K6). Raises BrokerError, also where one of them
        cannot be read."""
        deadline = await self._deadline_for(account_number, timeout_s, Priority.READ)
        return open_orders(await self._day_list.fetch(deadline, priority=Priority.READ))

    async def fetch_orders_since(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerOrderView]:
        """Those of today in New York at most: of earlier days nothing is told. Raises BrokerError, also where one of them
        cannot be read."""
        deadline = await self._deadline_for(account_number, timeout_s)
        look = await self._day_list.fetch(deadline, priority=Priority.BACKGROUND)
        look.require_whole()
        found = [one for one in look.views if one.submitted_at_us >= after_us]
        return sorted(found, key=lambda one: one.submitted_at_us)

    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        """None: Tradier tells no prints (ADR 0023)."""
        return ()

    async def fetch_activities(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerActivity]:
        """What was no trade, since an instant, oldest first, as of last night. Raises BrokerError."""
        deadline = await self._deadline_for(account_number, timeout_s)
        return await self._history.fetch(after_us, deadline)

    async def fetch_gain_loss(
        self, account_number: str, first: date, last: date, timeout_s: float
    ) -> Sequence[ClosedPosition]:
        """Positions closed in these days, as of last night. Raises BrokerError."""
        deadline = await self._deadline_for(account_number, timeout_s)
        return await fetch_gain_loss(self._session, first, last, deadline)

    async def fetch_positions(self, account_number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        """All holdings. Raises BrokerError, also where one of them cannot be read."""
        return await self._books.positions(await self._deadline_for(account_number, timeout_s))

    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        """Cash and status. Raises BrokerError."""
        return await self._books.account(await self._deadline_for(account_number, timeout_s))

    async def fetch_accounts(self, timeout_s: float) -> Sequence[BrokerAccount]:
        """The account that is meant. Raises BrokerError, also where the token has several and none is named."""
        return [await self._books.account(Deadline(self._clock, timeout_s))]

    def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        """What changes; each beginning is a `resync` of the account."""
        return self._stream.updates(after)

    # -- the account --------------------------------------------------------------------------------

    async def _deadline_for(
        self, account_number: str, timeout_s: float, priority: Priority = Priority.BACKGROUND
    ) -> Deadline:
        """A deadline for a call about our account. Raises BrokerRejected (unknown_account) for any other."""
        deadline = Deadline(self._clock, timeout_s)
        if await self._session.learn_number(deadline, priority=priority) != account_number:
            raise BrokerRejected("unknown_account", "This is not the account of our token at Tradier.")
        return deadline

    async def _deadlines_or_not_sent(
        self, account_number: str, timeout_s: float
    ) -> tuple[Deadline, Deadline]:
        """Until when an order has to be answered, and until when it may wait before it goes out: what it takes to learn the
        account is part of that, for the send window is no longer (E10). Raises NotSent."""
        deadline, patience = Deadline(self._clock, timeout_s), Deadline(self._clock, ORDER_WAIT_S)
        try:
            await self._deadline_for(account_number, min(timeout_s, ORDER_WAIT_S), Priority.ENTRY)
        except BrokerError as problem:
            raise NotSent(f"the account could not be found ({problem})") from None
        return deadline, patience
