"""Alpaca's lists, every page of them: open orders, prints, activities, positions; never a part passed off as the whole."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from paiid.brokers import (
    BrokerActivity,
    BrokerExecution,
    BrokerOrderView,
    BrokerPosition,
    BrokerRejected,
    OutcomeUnknown,
)
from paiid.brokers.alpaca.activities import read_activity
from paiid.brokers.alpaca.holdings import execution_id_of, read_execution, read_position
from paiid.brokers.alpaca.orders import PAGE, OrderDesk
from paiid.brokers.alpaca.readers import has_children, is_whole, read_order
from paiid.brokers.alpaca.sessions import Session
from paiid.brokers.alpaca.wire import LIST_CAP
from paiid.core.instants import instant
from paiid.domain.money import ZERO
from paiid.domain.orders import TERMINAL_STATUSES
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority
from paiid.wires.values import fields_of, text_of

ACTIVITY_PAGE = 100
_MAX_PAGES = 500
_log = structlog.get_logger("paiid.alpaca")

Begin = Callable[[], Deadline]
"""A new deadline: in lists each page has its own, for how many there are nobody knows before."""


class Books:
    """Reads lists. What cannot be read in a list in which absence means something raises OutcomeUnknown."""

    def __init__(self, desk: OrderDesk) -> None:
        self._desk = desk

    async def open_orders(self, session: Session, begin: Begin) -> list[BrokerOrderView]:
        """All that still work: parents first, then each of what hangs on them as an order of its own."""
        found: dict[str, BrokerOrderView] = {}
        async for row in self._order_rows(session, begin):
            view = read_order(row, session.number or "")
            if view is None or not is_whole(row, view):
                raise OutcomeUnknown("the broker's list of open orders has one that could not be read")
            self._desk.families.note(view)
            found[view.broker_order_id] = view
        views: dict[str, BrokerOrderView] = {}
        for view in found.values():
            placed = await self._placed(session, view, begin)
            views[placed.broker_order_id] = placed
            views.update(
                (leg.broker_order_id, leg) for leg in placed.legs if leg.broker_order_id not in found
            )
        return [view for view in views.values() if view.status not in TERMINAL_STATUSES]

    async def orders_since(self, session: Session, after_us: int, begin: Begin) -> list[BrokerOrderView]:
        """A page of those submitted since an instant, whatever has become of them, oldest first; exits that are listed alone
        with what they hang on."""
        query = {"status": "all", "nested": "true", "limit": str(PAGE), "direction": "asc"}
        if after_us > 0:
            # `after` is exclusive, and the instant asked about belongs to the answer.
            query["after"] = instant(after_us - 1) or ""
        found: list[BrokerOrderView] = []
        for row in await _list(session, "/v2/orders", query, begin()):
            view = read_order(row, session.number or "")
            if view is None or not is_whole(row, view) or view.submitted_at_us == 0:
                raise OutcomeUnknown("the broker's list of orders has one that could not be read")
            self._desk.families.note(view)
            found.append(await self._placed(session, view, begin))
        return found

    async def _placed(self, session: Session, view: BrokerOrderView, begin: Begin) -> BrokerOrderView:
        """An exit whose entry has filled may be listed alone; told alone it would be taken for somebody's order."""
        families = self._desk.families
        placed = families.place(view)
        if placed is not None or view.group_role == "entry":
            # Legs that were not listed now are memory, and memory does not say what still works.
            return view if placed is None or (placed.legs and not view.legs) else placed
        await self._desk.search_parents(session, view, begin(), priority=Priority.BACKGROUND)
        placed = families.place(view)
        if placed is None:
            _log.error("alpaca_parent_not_found", account=session.number, order=view.broker_order_id)
        return placed or view

    async def _order_rows(self, session: Session, begin: Begin) -> AsyncIterator[Any]:
        """By time of submission, which is exclusive and not unique: each page begins a microsecond early."""
        query = {"status": "open", "nested": "true", "limit": str(PAGE), "direction": "asc"}
        seen: set[str] = set()
        for _ in range(_MAX_PAGES):
            rows = await _list(session, "/v2/orders", query, begin())
            fresh = [row for row in rows if text_of(fields_of(row).get("id")) not in seen]
            for row in fresh:
                seen.add(text_of(fields_of(row).get("id")) or "")
                yield row
            if len(rows) < PAGE:
                return
            view = read_order(rows[-1], session.number or "")
            if not fresh or view is None or view.submitted_at_us == 0:
                break
            query["after"] = instant(view.submitted_at_us - 1) or ""
        raise OutcomeUnknown("the broker's list of open orders could not be read to its end")

    async def executions(
        self, session: Session, after_us: int, begin: Begin, broker_order_id: str | None = None
    ) -> list[BrokerExecution]:
        """Prints since an instant, or all of one order, oldest first. One that cannot be read is logged and left out:
        its order then shows less filled than the broker tells, so that it is missed."""
        query = {"activity_types": "FILL"}
        if broker_order_id is not None:
            query["order_id"] = broker_order_id
        prints: list[BrokerExecution] = []
        at_us = after_us
        async for row in self._activity_rows(session, query, after_us, begin):
            one = read_execution(row, session.number or "", at_us)
            if one is None or (broker_order_id is not None and one.broker_order_id != broker_order_id):
                _log.error(
                    "alpaca_print_unusable",
                    account=session.number,
                    activity=text_of(fields_of(row).get("id")),
                )
                continue
            at_us = one.executed_at_us
            prints.append(one)
        if broker_order_id is not None:
            return number_prints(prints)
        return await self._numbered(session, prints, begin)

    async def _numbered(
        self, session: Session, prints: Sequence[BrokerExecution], begin: Begin
    ) -> list[BrokerExecution]:
        """Should `cum_qty` be missing, all prints of that order add up to it."""
        whole: dict[str, dict[tuple[object, ...], BrokerExecution]] = {}
        for one in prints:
            if not one.execution_id and one.broker_order_id not in whole:
                every = await self.executions(session, 0, begin, one.broker_order_id)
                whole[one.broker_order_id] = {_likeness(again): again for again in every}
        found = (
            one if one.execution_id else whole[one.broker_order_id].get(_likeness(one)) for one in prints
        )
        return [one for one in found if one is not None]

    async def activities(self, session: Session, after_us: int, begin: Begin) -> list[BrokerActivity]:
        """What was no fill, since an instant, oldest first."""
        query = {"category": "non_trade_activity"}
        found: list[BrokerActivity] = []
        async for row in self._activity_rows(session, query, after_us, begin):
            one = read_activity(row, session.number or "", after_us)
            if one is not None:
                found.append(one)
        return found

    async def _activity_rows(
        self, session: Session, query: Mapping[str, str], after_us: int, begin: Begin
    ) -> AsyncIterator[Any]:
        page = {**query, "direction": "asc", "page_size": str(ACTIVITY_PAGE)}
        if after_us > 0:
            # `after` is strict (section 11), and the instant asked about belongs to the answer.
            page["after"] = instant(after_us - 1) or ""
        seen: set[str] = set()
        for _ in range(_MAX_PAGES):
            rows = await _list(session, "/v2/account/activities", page, begin())
            fresh = [row for row in rows if text_of(fields_of(row).get("id")) not in seen]
            for row in fresh:
                seen.add(text_of(fields_of(row).get("id")) or "")
                yield row
            if len(rows) < ACTIVITY_PAGE:
                return
            last = text_of(fields_of(rows[-1]).get("id"))
            if not fresh or last is None:
                break
            page["page_token"] = last
        raise OutcomeUnknown("the broker's list of activities could not be read to its end")

    async def positions(self, session: Session, deadline: Deadline) -> list[BrokerPosition]:
        """All holdings other than zero."""
        found: list[BrokerPosition] = []
        for row in await _list(session, "/v2/positions", {}, deadline):
            position = read_position(row)
            if position is None:
                raise OutcomeUnknown("the broker's list of positions has one that could not be read")
            found.append(position)
        return [one for one in found if one.qty != ZERO]

    async def family(
        self, session: Session, broker_order_id: str, begin: Begin
    ) -> tuple[list[BrokerOrderView], list[BrokerExecution]]:
        """An order as REST tells it now, the order that it hangs on, all that hang on that, and all their prints.

        Raises BrokerRejected (not_found), and OutcomeUnknown where prints of which the orders tell are not there yet.
        """
        view = await self._desk.read_nested(session, broker_order_id, begin(), priority=Priority.BACKGROUND)
        if view is not None and view.parent_broker_order_id is not None:
            parent = await self._desk.read_nested(
                session, view.parent_broker_order_id, begin(), priority=Priority.BACKGROUND
            )
            view = parent or view
        if view is None:
            raise BrokerRejected("not_found", "There is no such order in this account.")
        if has_children(view) and not view.legs and view.group_role != "entry":
            raise OutcomeUnknown("the order that this one hangs on was not found")
        members = [view, *view.legs]
        prints: list[BrokerExecution] = []
        for one in members:
            if one.filled_qty == ZERO or (one.order_class == "mleg" and one.legs):
                continue
            own = await self.executions(session, 0, begin, one.broker_order_id)
            if not _accounts_for(own, one):
                raise OutcomeUnknown("the broker does not list all prints of the order yet")
            prints += own
        return members, prints


async def _list(session: Session, path: str, query: Mapping[str, str], deadline: Deadline) -> list[Any]:
    reply = await session.wire.send(
        "GET", path, deadline, query=query, cap=LIST_CAP, priority=Priority.BACKGROUND
    )
    if not isinstance(reply.data, list):
        raise OutcomeUnknown("the broker answered with no list")
    return reply.data


def number_prints(prints: Sequence[BrokerExecution]) -> list[BrokerExecution]:
    """All prints of one order from its first, oldest first: those without an id get it from the running sum."""
    numbered: list[BrokerExecution] = []
    cumulative = ZERO
    for one in prints:
        cumulative += one.qty
        numbered.append(
            one
            if one.execution_id
            else replace(one, execution_id=execution_id_of(one.broker_order_id, cumulative))
        )
    return numbered


def _accounts_for(prints: Sequence[BrokerExecution], view: BrokerOrderView) -> bool:
    """Whether these prints are all that filled it. An order that took another's place may count what that one had
    filled, too (not confirmed): then the running sum of its last print says that it is the last."""
    if sum((one.qty for one in prints), ZERO) >= view.filled_qty:
        return True
    last = execution_id_of(view.broker_order_id, view.filled_qty)
    return view.replaces is not None and any(one.execution_id == last for one in prints)


def _likeness(one: BrokerExecution) -> tuple[object, ...]:
    return (one.broker_order_id, one.executed_at_us, one.qty, one.price)
