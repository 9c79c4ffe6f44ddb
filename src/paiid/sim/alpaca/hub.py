"""Follows what happens at the venue and words it for everybody who listens; and words the past again for a replay."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from paiid.brokers import BrokerUpdate
from paiid.brokers.paper.queries import load_events, load_open_book, load_positions
from paiid.brokers.paper.records import PaperOrder
from paiid.brokers.paper.store import load_orders
from paiid.core.db import Tx
from paiid.core.tasks import Background
from paiid.domain.money import ZERO
from paiid.domain.orders import TERMINAL_STATUSES
from paiid.sim.alpaca.events import Facts, OrderEvent, Translator, changes_of
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.ids import named, wire_id
from paiid.sim.alpaca.render import live_at_us, order_json, waiting_status
from paiid.sim.alpaca.values import stamp, text_of
from paiid.sim.engine.audience import Audience, Message
from paiid.sim.engine.fault_body import spoiled
from paiid.sim.engine.faults import Fault, FaultBook
from paiid.sim.engine.market import SimMarket

__all__ = ["Hub", "Mark"]

_PAGE = 500
_REMEMBERED = 2_000
"""Orders whose fill was told of late, for answers that wait until then."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything up to this event has been told but that the orders of `waiting` are new; positions by (account,
    symbol) stand so."""

    cursor: int
    positions: dict[tuple[str, str], Decimal]
    waiting: frozenset[str]


class Hub:
    """Reads the venue's events from the newest on and delivers them; there is no replay but `replay`, for SSE."""

    def __init__(
        self, exchange: Exchange, market: SimMarket, faults: FaultBook, *, legs: bool = True
    ) -> None:
        self._exchange = exchange
        self._market = market
        self._legs = legs
        self._translator = Translator({})
        self.audience = Audience(exchange.clock, faults)
        self._background = Background(exchange.clock)
        self._filled: OrderedDict[str, list[Message]] = OrderedDict()
        self._news = asyncio.Condition()
        self._new_due = asyncio.Event()

    @property
    def cursor(self) -> int:
        """The number of the newest event that has been told."""
        return self._translator.cursor

    @property
    def busy(self) -> dict[str, int]:
        """What is still to be told by itself: updates that a fault holds up, orders that are about to be new."""
        soon = self._translator.next_new_us
        waits = soon is not None and soon <= self._exchange.clock.now_us() + 1_000_000
        return {"late_updates": self.audience.held_up, "orders_about_to_be_new": int(waits)}

    async def start(self) -> None:
        """Begin at the newest event. The venue's database must be open. Raises DatabaseUnavailable."""
        exchange = self._exchange
        async with exchange.db.read() as tx:
            orders, _, cursor = await load_open_book(tx, 0)
            positions: dict[tuple[str, str], Decimal] = {}
            for account in exchange.accounts.all():
                for one in await load_positions(tx, account.number):
                    positions[account.number, one.symbol] = one.qty
        working = [(one.view(), self._facts(one)) for one in orders]
        self._translator = Translator(positions, working, cursor=cursor, now_us=exchange.clock.now_us())
        self._background.begin("sim-stream", self._follow)
        self._background.begin("sim-stream-new", self._say_new)

    async def stop(self) -> None:
        """End, and cut everybody off; updates that a fault holds up are never told."""
        await self._background.stop()
        self.audience.close()

    # -- listeners ----------------------------------------------------------------------------------

    async def told_fill(self, order_id: str, timeout_s: float) -> bool:
        """Wait until the fill of this order (the venue's id) has been sent to all who listened; False: not in time."""
        try:
            async with asyncio.timeout(timeout_s):
                async with self._news:
                    await self._news.wait_for(lambda: order_id in self._filled)
                for message in self._filled[order_id]:
                    await message.sent.wait()
        except TimeoutError:
            return False
        return True

    async def caught_up(self) -> bool:
        """Whether everything the venue has booked has been told."""
        async with self._exchange.db.read() as tx:
            return not await load_events(tx, self.cursor, 1)

    # -- from the venue -----------------------------------------------------------------------------

    async def _follow(self) -> None:
        async for update in self._exchange.venue.updates(self.cursor):
            facts = None
            if update.order is not None and self._translator.wants_facts(update):
                async with self._exchange.db.read() as tx:
                    facts = (await self._facts_of(tx, [update])).get(update.order.broker_order_id)
            events = self._translator.take(update, facts)
            self._thicken(update)
            self._new_due.set()
            await self._publish(events)

    async def _say_new(self) -> None:
        clock = self._exchange.clock
        while True:
            self._new_due.clear()
            soon = self._translator.next_new_us
            pause = 1.0 if soon is None else min(1.0, max(0.0, (soon - clock.now_us()) / 1_000_000))
            if pause > 0:
                await _first(clock.sleep(pause), self._new_due.wait())
            await self._publish(self._translator.due(clock.now_us()))

    def _thicken(self, update: BrokerUpdate) -> None:
        """Let the market know that an order, whose prints it keeps small, has traded or ended."""
        if update.order is None:
            return
        if update.execution is not None:
            self._market.printed(update.order.broker_order_id)
        if update.order.status in TERMINAL_STATUSES:
            self._market.over(update.order.broker_order_id)

    async def _facts_of(self, tx: Tx, updates: list[BrokerUpdate]) -> dict[str, Facts]:
        ids = {one.order.broker_order_id for one in updates if one.order is not None}
        return {name: self._facts(order) for name, order in (await load_orders(tx, sorted(ids))).items()}

    def _facts(self, order: PaperOrder) -> Facts:
        return Facts(order.accepted_seq, self._new_at_us(order))

    def _new_at_us(self, order: PaperOrder) -> int:
        """When the order is `new` on the wire: live, and its market open."""
        hours, view = self._exchange.hours, order.view()
        at_us = max(order.working.live_at_us, live_at_us(self._exchange, view))
        if waiting_status(self._exchange, view, at_us) == "accepted":
            return hours.next_extended_us(at_us) if view.extended_hours else hours.next_open_us(at_us)
        return at_us

    # -- to the listeners ---------------------------------------------------------------------------

    def message(self, event: OrderEvent) -> Message:
        """The update on the wire."""
        execution = event.execution_id
        data: dict[str, Any] = {
            "event": event.name,
            "execution_id": (
                named("event", f"{event.cursor}.{event.index}") if execution is None else wire_id(execution)
            ),
            "timestamp": stamp(event.at_us),
            "order": order_json(self._exchange, event.order, at_us=event.at_us, legs=False),
        }
        if event.qty is not None:
            data["price"], data["qty"] = text_of(event.price), text_of(event.qty)
            if event.position_qty is not None:
                data["position_qty"] = text_of(event.position_qty)
        told = {"order_id": data["order"]["id"], "client_order_id": data["order"]["client_order_id"]}
        return Message(
            event.account, event.order.symbol, event.name, data, told, _spoiled,
            at_us=event.at_us, cursor=event.cursor, index=event.index,
        )  # fmt: skip

    async def _publish(self, events: list[OrderEvent]) -> None:
        for event in events:
            if event.order.group_role == "leg" and not self._legs:
                continue
            message = self.message(event)
            told = self.audience.tell(message)
            if event.name == "fill":
                async with self._news:
                    self._filled[event.order.broker_order_id] = told
                    while len(self._filled) > _REMEMBERED:
                        self._filled.popitem(last=False)
                    self._news.notify_all()

    # -- replay -------------------------------------------------------------------------------------

    def mark(self) -> Mark:
        """How far everything has been told, for `replay` to go up to."""
        return Mark(self.cursor, dict(self._translator.positions), self._translator.waiting)

    async def replay(self, account: str, mark: Mark) -> list[Message]:
        """All updates of an account up to the mark that the venue's event table still knows (a day's at least)."""
        updates: list[BrokerUpdate] = []
        facts: dict[str, Facts] = {}
        async with self._exchange.db.read() as tx:
            after = 0
            while page := [one for one in await load_events(tx, after, _PAGE) if one.cursor <= mark.cursor]:
                updates += page
                facts.update(await self._facts_of(tx, page))
                after = page[-1].cursor
        # Where positions stood before the first of them: as they stand at the mark, less what these events changed.
        positions = dict(mark.positions)
        for update in updates:
            for number, symbol, qty in changes_of(update):
                positions[number, symbol] = positions.get((number, symbol), ZERO) - qty
        past = Translator(positions)
        events: list[OrderEvent] = []
        for update in updates:
            order = update.order
            events += past.take(update, None if order is None else facts.get(order.broker_order_id))
        events += past.due(self._exchange.clock.now_us())
        return [
            self.message(one)
            for one in events
            if one.account == account
            and (self._legs or one.order.group_role != "leg")
            and not (one.name == "new" and one.order.broker_order_id in mark.waiting)
        ]


def _spoiled(fault: Fault, data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "order": spoiled(fault, data["order"])}


async def _first(*works: Awaitable[Any]) -> None:
    """Until one of these is done; the others are ended."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
