"""Orders at Tradier: place, preview, change, cancel and look up, each with one deadline over all it has to ask (section 6)."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import structlog

from paiid.brokers import (
    ORDER_WAIT_S,
    BrokerError,
    BrokerOrder,
    BrokerOrderView,
    BrokerRejected,
    BrokerReplace,
    NotSent,
    OutcomeUnknown,
)
from paiid.brokers.priorities import priority_of
from paiid.brokers.tradier.accepted import accepted_view, shows_all, shows_change
from paiid.brokers.tradier.day_view import first_of
from paiid.brokers.tradier.refusals import (
    judge_canceled,
    judge_changed,
    judge_placed,
    judge_preview,
)
from paiid.brokers.tradier.requests import Form, change_form, order_form
from paiid.brokers.tradier.session import Session
from paiid.core.clock import Clock
from paiid.domain.calendar import ExchangeHours, MarketHours
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority
from paiid.wires.tradier.wire import Answer
from paiid.wires.values import decimal_of, text_of

__all__ = ["DayLister", "DayOrders", "Desk", "Preview"]

_READ_BACK_S = 1.0
_READ_BACK_PAUSE_S = 0.2
_ID = re.compile(r"[1-9][0-9]{0,18}\Z", re.ASCII)
_log = structlog.get_logger("paiid.tradier")


class DayOrders(Protocol):
    """Today's orders as they were at one moment."""

    def by_tag(self, tag: str) -> Sequence[BrokerOrderView]:
        """Those with this tag, of which there should be one at most. Raises BrokerError where absence is no proof."""
        ...

    def by_id(self, broker_order_id: str) -> BrokerOrderView | None:
        """The one with this id. Raises BrokerError where absence is no proof."""
        ...


class DayLister(Protocol):
    """Whoever lists today's orders."""

    async def fetch(self, deadline: Deadline, *, priority: Priority) -> DayOrders:
        """A listing that began after this call. Raises BrokerError."""
        ...

    async def fetch_by_id(
        self, broker_order_id: str, deadline: Deadline, *, priority: Priority
    ) -> BrokerOrderView | None:
        """One order by a request of its own, of whatever day; None: the account has none with this id. Raises BrokerError."""
        ...


@dataclass(frozen=True, slots=True)
class Preview:
    """What Tradier says that an order would cost, in dollars (section 6.4); None where it does not say it."""

    cost: Decimal | None
    order_cost: Decimal | None
    commission: Decimal | None
    fees: Decimal | None
    margin_change: Decimal | None


class Desk:
    """Everything about single orders of one account."""

    def __init__(
        self,
        clock: Clock,
        session: Session,
        today: DayLister,
        hours: MarketHours | None = None,
    ) -> None:
        self._clock = clock
        self._session = session
        self._today = today
        self._hours = hours or ExchangeHours()

    # -- place ----------------------------------------------------------------------------------------

    async def submit(
        self, order: BrokerOrder, deadline: Deadline, patience: Deadline | None = None
    ) -> BrokerOrderView:
        """`POST /accounts/{id}/orders`, once: a 200 without errors and with an id is a definite yes (E11). The order is then
        read once, for a rejection often comes a moment later: the view may say REJECTED or FILLED. `patience`: until when it
        may wait for its place in the budget (E10).

        Raises BrokerRejected, NotSent, OutcomeUnknown; the last too where what hangs on an accepted order could not be read.
        """
        form = order_form(order, self._clock.now_us(), self._hours)
        order_id = judge_placed(await self._post(form, deadline, priority_of(order), patience))
        if order.order_class != "simple":
            return await self._whole(order, order_id, deadline)
        # Whatever the reading gives, the order was taken; so it may cost little time, and no budget that is not there.
        brief = Deadline(self._clock, min(_READ_BACK_S, deadline.left_s))
        found = None
        if self._session.wire.governor("standard").left_for(Priority.READ) > 0:
            found = await self._look(order_id, brief)
        if found is None:
            return accepted_view(order, order_id, self._clock.now_us())
        self._check_tag(found, order)
        return found

    async def _whole(self, order: BrokerOrder, order_id: str, deadline: Deadline) -> BrokerOrderView:
        """An order with what hangs on it: a view without its legs would say that they are not there."""
        found = await self._look_until(order_id, deadline, lambda view: shows_all(view, order))
        if found is None:
            raise OutcomeUnknown("accepted, but what hangs on it could not be read yet")
        self._check_tag(found, order)
        return found

    def _check_tag(self, view: BrokerOrderView, order: BrokerOrder) -> None:
        if view.client_order_id not in (None, order.client_order_id):
            _log.error("tradier_answer_for_another_order", order=view.broker_order_id)
            raise OutcomeUnknown("the broker answered for another order")

    async def preview(self, order: BrokerOrder, deadline: Deadline) -> Preview:
        """What the order would cost, without placing it (section 6.4). Raises BrokerRejected with the reason for which it
        would be refused, NotSent, OutcomeUnknown."""
        # With the tag: should anybody overlook the wish for a preview, the order can be found by it.
        form = order_form(order, self._clock.now_us(), self._hours) | {"preview": "true"}
        told = judge_preview(await self._post(form, deadline, Priority.READ))
        if _ID.match(text_of(told.get("id")) or ""):
            _log.error("tradier_preview_placed_an_order", order=text_of(told.get("id")))
            raise OutcomeUnknown("the broker answered a preview with the id of an order")
        return Preview(
            *(
                decimal_of(told.get(name))
                for name in ("cost", "order_cost", "commission", "fees", "margin_change")
            )
        )

    async def _post(
        self, form: Form, deadline: Deadline, priority: Priority, patience: Deadline | None = None
    ) -> Answer:
        path = self._session.path("orders")
        return await self._session.send(
            "POST", path, deadline, priority=priority, form=form, wait_s=_wait_s(patience)
        )

    # -- change and cancel ----------------------------------------------------------------------------

    async def replace(
        self,
        broker_order_id: str,
        change: BrokerReplace,
        deadline: Deadline,
        patience: Deadline | None = None,
    ) -> BrokerOrderView:
        """`PUT /accounts/{id}/orders/{order_id}`, once: the order, under the id and the tag that it had, with the new terms.

        Raises BrokerRejected (it goes on as it was), NotSent, OutcomeUnknown; the last too where the broker has taken the
        change and does not show it, for then it may have ended before.
        """
        path, form = self._order_path(broker_order_id), change_form(change)
        # What is changed may be a stop that protects, and a change takes no more from the budget than that.
        answer = await self._session.send(
            "PUT", path, deadline, priority=Priority.EXIT, form=form, wait_s=_wait_s(patience)
        )
        judge_changed(answer, broker_order_id)
        found = await self._look_until(broker_order_id, deadline, lambda view: shows_change(view, change))
        if found is None:
            raise OutcomeUnknown("the broker took the change, but does not show it yet")
        return found

    async def cancel(self, broker_order_id: str, deadline: Deadline) -> None:
        """`DELETE /accounts/{id}/orders/{order_id}`: a 200 says that it was asked for, not that it is done.

        Raises BrokerRejected (`not_found`, `not_cancelable`), NotSent, OutcomeUnknown.
        """
        path = self._order_path(broker_order_id)
        answer = await self._session.send("DELETE", path, deadline, priority=Priority.CANCEL)
        try:
            judge_canceled(answer, broker_order_id)
        except BrokerRejected as refused:
            if refused.code != "rate_limited":
                raise
            # No word about the order: the wish stands, and is asked again.
            raise NotSent(f"nothing was cancelled: {refused.message}") from None

    def _order_path(self, broker_order_id: str) -> str:
        """An id comes from outside. Raises BrokerRejected for one that Tradier cannot have given."""
        if not _ID.match(broker_order_id):
            raise _no_such_order()
        return self._session.path("orders", broker_order_id)

    # -- look up --------------------------------------------------------------------------------------

    async def find(self, client_order_id: str, deadline: Deadline) -> BrokerOrderView | None:
        """By our id, among the orders of today: None proves nothing about those of other days (section 6.6).

        Raises BrokerError.
        """
        today = await self._today.fetch(deadline, priority=Priority.READ)
        found = today.by_tag(client_order_id)
        if len(found) > 1:
            ids = sorted(view.broker_order_id for view in found)
            _log.error("tradier_tag_twice", account=self._session.number, tag=client_order_id, orders=ids)
        return first_of(found)

    async def find_by_id(self, broker_order_id: str, deadline: Deadline) -> BrokerOrderView | None:
        """By Tradier's id: among today's orders, then singly, for one of another day is not among them. Raises BrokerError."""
        if not _ID.match(broker_order_id):
            return None
        unread: BrokerError | None = None
        try:
            today = await self._today.fetch(deadline, priority=Priority.READ)
            if (found := today.by_id(broker_order_id)) is not None:
                return found
        except BrokerError as problem:
            unread = problem
        found = await self._today.fetch_by_id(broker_order_id, deadline, priority=Priority.READ)
        if found is None and unread is not None:
            # A token that has lost the account is told of no order as of one that is not there (section 6.7).
            raise unread
        return found

    async def _look(self, broker_order_id: str, deadline: Deadline) -> BrokerOrderView | None:
        """One look at today's orders; None too where they could not be read in time."""
        try:
            async with asyncio.timeout(max(0.0, deadline.left_s)):
                today = await self._today.fetch(deadline, priority=Priority.READ)
            return today.by_id(broker_order_id)
        except (BrokerError, TimeoutError) as problem:
            _log.info("tradier_not_read_back", order=broker_order_id, reason=str(problem))
            return None

    async def _look_until(
        self, broker_order_id: str, deadline: Deadline, shown: Callable[[BrokerOrderView], bool]
    ) -> BrokerOrderView | None:
        """Look until it is shown so, or the time is up."""
        while deadline.left_s > 0:
            found = await self._look(broker_order_id, deadline)
            if found is not None and shown(found):
                return found
            await self._clock.sleep(_READ_BACK_PAUSE_S)
        return None


def _wait_s(patience: Deadline | None) -> float:
    return ORDER_WAIT_S if patience is None else max(0.0, patience.left_s)


def _no_such_order() -> BrokerRejected:
    return BrokerRejected("not_found", "There is no such order in this account.")
