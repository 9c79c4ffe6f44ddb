"""Orders at Alpaca: place, replace, cancel and look up, each with one deadline over all it has to ask (sections 6, 8)."""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

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
from paiid.brokers.alpaca.families import Families
from paiid.brokers.alpaca.readers import has_children, read_order
from paiid.brokers.alpaca.requests import Body, client_id, order_body, replace_body
from paiid.brokers.alpaca.sessions import Session
from paiid.brokers.alpaca.wire import LIST_CAP
from paiid.brokers.priorities import priority_of
from paiid.core.instants import instant
from paiid.domain.money import ZERO
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority
from paiid.wires.values import fields_of, message_of, rows_of, text_of

PAGE = 500
_SEARCH_PAGES = 4
_ORDERS = "/v2/orders"
_log = structlog.get_logger("paiid.alpaca")


class OrderDesk:
    """Everything about single orders. `families` learns from every nested view that passes."""

    def __init__(self, families: Families) -> None:
        self.families = families

    async def submit(self, session: Session, order: BrokerOrder, deadline: Deadline) -> BrokerOrderView:
        """`POST /v2/orders`: a 2xx with an order id, under our own id, is a definite yes (E11).

        Raises BrokerRejected, NotSent, OutcomeUnknown.
        """
        body, priority = order_body(order), priority_of(order)
        reply = await session.wire.send(
            "POST", _ORDERS, deadline, priority=priority, body=body, wait_s=ORDER_WAIT_S
        )
        view = self._accepted(session, reply.data, body)
        if not has_children(view) or view.legs:
            return view
        # Accepted, but without what hangs on it: what is told must be the whole order, so it is read once more.
        return await self._whole(session, view, deadline, priority)

    def _accepted(self, session: Session, data: object, body: Body) -> BrokerOrderView:
        """The answer as a view. What it leaves out is as we sent it: leaving a field out contradicts nothing."""
        told = fields_of(data)
        echo = {
            name: value for name, value in body.items() if name not in ("legs", "take_profit", "stop_loss")
        }
        view = read_order({**echo, **told}, session.number or "")
        if view is None or text_of(told.get("id")) is None:
            raise OutcomeUnknown("the broker said yes, but to what could not be read")
        if view.client_order_id != body["client_order_id"]:
            _log.error("alpaca_answer_for_another_order", order=view.broker_order_id)
            raise OutcomeUnknown("the broker answered for another order")
        return self.families.place(view) or view

    async def _whole(
        self, session: Session, view: BrokerOrderView, deadline: Deadline, priority: Priority
    ) -> BrokerOrderView:
        try:
            found = await self.read_nested(session, view.broker_order_id, deadline, priority=priority)
        except BrokerError as problem:
            raise OutcomeUnknown(f"accepted, but what hangs on it could not be read ({problem})") from None
        if found is None:
            raise OutcomeUnknown("accepted, but it cannot be seen yet")
        return found

    async def replace(
        self, session: Session, broker_order_id: str, change: BrokerReplace, deadline: Deadline
    ) -> BrokerOrderView:
        """`PATCH /v2/orders/{id}`. A new quantity is refused once the order has filled in part: whether Alpaca's `qty`
        counts what has filled is not confirmed (section 8), and one of the two readings buys too much.

        Raises BrokerRejected, NotSent, OutcomeUnknown.
        """
        body = replace_body(change)
        if change.qty is not None:
            await self._refuse_partly_filled(session, broker_order_id, deadline)
        reply = await session.wire.send(
            "PATCH",
            _path(broker_order_id),
            deadline,
            # Whether it changes an exit or an entry it does not say; the claim has let it pass as the former.
            priority=Priority.EXIT,
            body=body,
            wait_s=ORDER_WAIT_S,
        )
        told = fields_of(reply.data)
        view = read_order({"client_order_id": body["client_order_id"], **told}, session.number or "")
        if view is None or view.broker_order_id == broker_order_id:
            raise OutcomeUnknown("the broker took the change, but the new order could not be read")
        if view.client_order_id != body["client_order_id"]:
            _log.error("alpaca_replacement_lost_our_id", order=view.broker_order_id)
            raise OutcomeUnknown("the broker answered for another order")
        if view.replaces is None:
            view = replace(view, replaces=broker_order_id)
        placed = self.families.place(view)
        if placed is None:
            placed = await self._whole(session, view, deadline, Priority.ENTRY)
        return placed

    async def _refuse_partly_filled(self, session: Session, broker_order_id: str, deadline: Deadline) -> None:
        try:
            now = await self._read(
                session, broker_order_id, deadline, priority=Priority.ENTRY, wait_s=ORDER_WAIT_S
            )
        except (NotSent, OutcomeUnknown) as problem:
            raise NotSent(
                f"the order could not be read before its change ({problem}); nothing was sent"
            ) from None
        if now is None:
            raise BrokerRejected("not_found", "There is no such order in this account.")
        if now.filled_qty > ZERO:
            raise BrokerRejected(
                "not_replaceable",
                "The order has filled in part; its quantity is changed by cancelling the rest.",
            )

    async def cancel(self, session: Session, broker_order_id: str, deadline: Deadline) -> None:
        """`DELETE /v2/orders/{id}`: 204 says that it was asked for, not that it is done. Raises BrokerError."""
        try:
            await session.wire.send("DELETE", _path(broker_order_id), deadline, priority=Priority.CANCEL)
        except BrokerRejected as refused:
            if refused.code != "rate_limited":
                raise
            # No word about the order: the wish stands, and is asked again.
            raise NotSent(f"nothing was cancelled: {refused.message}") from None

    async def cancel_all(self, session: Session, deadline: Deadline) -> Mapping[str, str | None]:
        """`DELETE /v2/orders`: 207 with a row for each order that was open. Raises BrokerError."""
        reply = await session.wire.send("DELETE", _ORDERS, deadline, priority=Priority.CANCEL, cap=LIST_CAP)
        if reply.data is not None and not isinstance(reply.data, list):
            raise OutcomeUnknown("the broker's answer to cancel all is no list")
        outcomes: dict[str, str | None] = {}
        for row in rows_of(reply.data):
            told = fields_of(row)
            order_id, status = text_of(told.get("id")), text_of(told.get("status")) or ""
            if order_id is None:
                _log.error("alpaca_cancel_row_unusable")
                continue
            done = len(status) == 3 and status.startswith("2")
            words = message_of(fields_of(told.get("body")).get("message"))
            outcomes[order_id] = None if done else words or f"the broker answered {status or 'nothing'}"
        return outcomes

    async def find(
        self, session: Session, client_order_id: str, deadline: Deadline
    ) -> BrokerOrderView | None:
        """By our id, with what hangs on it. None is the broker's own 404. Raises BrokerError."""
        query = {"client_order_id": client_id(client_order_id)}
        view = await self._get(session, f"{_ORDERS}:by_client_order_id", query, deadline)
        if view is None:
            return None
        if view.client_order_id != client_order_id:
            raise OutcomeUnknown("the broker answered for another order")
        if not has_children(view) or view.legs:
            return self.families.place(view)
        return await self.read_nested(session, view.broker_order_id, deadline)

    async def read_nested(
        self,
        session: Session,
        broker_order_id: str,
        deadline: Deadline,
        *,
        priority: Priority = Priority.READ,
    ) -> BrokerOrderView | None:
        """By the broker's id, with its place: its legs, or what it hangs on. None: there is none. Raises BrokerError."""
        view = await self._read(session, broker_order_id, deadline, priority=priority)
        if view is None:
            return None
        placed = self.families.place(view)
        if placed is not None:
            return placed
        if view.group_role == "entry":
            return view
        await self.search_parents(session, view, deadline, priority=priority)
        placed = self.families.place(view)
        if placed is None:
            _log.error("alpaca_parent_not_found", account=session.number, order=broker_order_id)
        return placed or view

    async def search_parents(
        self,
        session: Session,
        child: BrokerOrderView,
        deadline: Deadline,
        *,
        priority: Priority = Priority.READ,
    ) -> None:
        """Look through the orders of the symbol, newest first, until the one that this one hangs on was seen. Alpaca's
        orders do not name their parent: only the parent, told nested, names them (section 14). Raises BrokerError."""
        query = {"status": "all", "nested": "true", "limit": str(PAGE), "direction": "desc"}
        if child.order_class != "mleg":
            # A spread has no symbol by which it could be found.
            query["symbols"] = child.symbol
        for _ in range(_SEARCH_PAGES):
            reply = await session.wire.send(
                "GET", _ORDERS, deadline, query=query, cap=LIST_CAP, priority=priority
            )
            rows = rows_of(reply.data)
            views = [view for row in rows if (view := read_order(row, session.number or "")) is not None]
            for view in views:
                self.families.note(view)
            if len(rows) < PAGE or self.families.root_of(child.broker_order_id) is not None:
                return
            # Exclusive, and others may have been submitted in that microsecond, too.
            until = instant(views[-1].submitted_at_us + 1) if views else None
            if until is None or query.get("until") == until:
                return
            query["until"] = until

    async def _read(
        self,
        session: Session,
        broker_order_id: str,
        deadline: Deadline,
        *,
        priority: Priority,
        wait_s: float | None = None,
    ) -> BrokerOrderView | None:
        if _is_no_id(broker_order_id):
            return None
        return await self._get(
            session,
            _path(broker_order_id),
            {"nested": "true"},
            deadline,
            priority=priority,
            wait_s=wait_s,
        )

    async def _get(
        self,
        session: Session,
        path: str,
        query: Mapping[str, str],
        deadline: Deadline,
        *,
        priority: Priority = Priority.READ,
        wait_s: float | None = None,
    ) -> BrokerOrderView | None:
        try:
            reply = await session.wire.send(
                "GET", path, deadline, priority=priority, query=query, wait_s=wait_s
            )
        except BrokerRejected as refused:
            # An id that is no uuid is refused (422): there is no such order either.
            if refused.code == "not_found" or "order_id is missing" in refused.message:
                return None
            raise
        view = read_order(reply.data, session.number or "")
        if view is None:
            raise OutcomeUnknown("the broker's answer has no order that can be read")
        return view


def _path(broker_order_id: str) -> str:
    """An id comes from outside: it must not become another path. Raises BrokerRejected."""
    if _is_no_id(broker_order_id):
        raise BrokerRejected("not_found", "There is no such order in this account.")
    return f"{_ORDERS}/{quote(broker_order_id, safe='')}"


def _is_no_id(broker_order_id: str) -> bool:
    return broker_order_id in ("", ".", "..")
