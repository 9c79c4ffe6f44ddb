"""Follows what happens at the venue and words it as the thin events of the account stream (tradier.md, section 9.5)."""

import asyncio
from collections import OrderedDict
from typing import Any

from paiid.brokers import BrokerOrderView, BrokerUpdate
from paiid.brokers.paper.queries import load_events, load_open_book
from paiid.core.tasks import Background
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus
from paiid.sim.engine.audience import Audience, Message
from paiid.sim.engine.fault_body import spoiled
from paiid.sim.engine.faults import FaultBook
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.families import Family, load_families
from paiid.sim.tradier.ids import Placed, parse_name
from paiid.sim.tradier.render import Figures, figures_of, stamp
from paiid.sim.tradier.shapes import number

__all__ = ["Events"]

_REMEMBERED = 2_000
"""Orders whose fill was told of late, for answers that wait until then."""


class Events:
    """Reads the venue's events from the newest on and delivers them; what happened before is told to nobody."""

    def __init__(self, exchange: TradierExchange, faults: FaultBook) -> None:
        self._exchange = exchange
        self.audience = Audience(exchange.clock, faults)
        self._background = Background(exchange.clock)
        self._cursor = 0
        self._filled: OrderedDict[str, list[Message]] = OrderedDict()
        self._news = asyncio.Condition()

    @property
    def busy(self) -> dict[str, int]:
        """What is still to be told by itself: updates that a fault holds up."""
        return {"late_updates": self.audience.held_up}

    async def start(self) -> None:
        """Begin at the newest event. The venue's database must be open. Raises DatabaseUnavailable."""
        async with self._exchange.db.read() as tx:
            _, _, self._cursor = await load_open_book(tx, 0)
        self._background.begin("sim-account-stream", self._follow)
        self._background.begin("sim-account-rejections", self._reject)

    async def stop(self) -> None:
        """End, and cut everybody off; updates that a fault holds up are never told."""
        await self._background.stop()
        self.audience.close()

    async def caught_up(self) -> bool:
        """Whether everything the venue has booked has been told."""
        async with self._exchange.db.read() as tx:
            return not await load_events(tx, self._cursor, 1)

    async def told_fill(self, order_id: str, timeout_s: float) -> bool:
        """Wait until the fill of this order (its number on the wire) has been sent to all who listened; False: not in
        time."""
        try:
            async with asyncio.timeout(timeout_s):
                async with self._news:
                    await self._news.wait_for(lambda: order_id in self._filled)
                for message in self._filled[order_id]:
                    await message.sent.wait()
        except TimeoutError:
            return False
        return True

    # -- from the venue -----------------------------------------------------------------------------

    async def _follow(self) -> None:
        async for update in self._exchange.venue.updates(self._cursor):
            self._thicken(update)
            if update.order is not None and update.order.status is not OrderStatus.REPLACED:
                await self._tell_order(update.order)
            self._cursor = update.cursor

    def _thicken(self, update: BrokerUpdate) -> None:
        """Let the market know that an order, whose prints it keeps small, has traded or ended."""
        market = self._exchange.market
        if update.order is None:
            return
        if update.execution is not None:
            market.printed(update.order.broker_order_id)
        if update.order.status in TERMINAL_STATUSES:
            market.over(update.order.broker_order_id)

    async def _tell_order(self, view: BrokerOrderView) -> None:
        """Tell how the order stood after this event: with the generations before it, which have ended for good."""
        name = parse_name(view.client_order_id)
        found = None if name is None else self._exchange.register.find(name.id)
        if name is None or found is None:
            return
        placed = found[0]
        index = next((at for at, leg in enumerate(placed.legs) if leg.role == name.role), None)
        if not placed.has_members:
            index = None
        async with self._exchange.db.read() as tx:
            family = (await load_families(tx, [placed]))[0]
        before = list(family.chain(index))[: name.generation - 1]
        stands = figures_of(self._exchange, family, index, [*before, view])
        await self._publish(family, index, stands, view)

    async def _reject(self) -> None:
        """Tell of orders that were accepted and are to be rejected: first of the one, then of the other."""
        waiting: list[Placed] = []
        clock = self._exchange.clock
        while True:
            due = min((one.rejected_at_us or 0 for one in waiting), default=None)
            pause_s = None if due is None else max(0.0, (due - clock.now_us()) / 1_000_000)
            try:
                async with asyncio.timeout(pause_s):
                    placed = await self._exchange.rejections.get()
                waiting.append(placed)
                await self._publish_placed(placed)
            except TimeoutError:
                for one in [one for one in waiting if (one.rejected_at_us or 0) <= clock.now_us()]:
                    waiting.remove(one)
                    await self._publish_placed(one)

    async def _publish_placed(self, placed: Placed) -> None:
        family = Family(placed)
        members: list[int | None] = [None]
        if placed.has_members:
            members += range(len(placed.legs))
        for index in members:
            await self._publish(family, index, figures_of(self._exchange, family, index), None)

    # -- to the listeners ---------------------------------------------------------------------------

    async def _publish(
        self, family: Family, index: int | None, stands: Figures, view: BrokerOrderView | None
    ) -> None:
        placed = family.placed
        order_id = placed.id if index is None else placed.leg_id(index)
        leg = placed.legs[0 if index is None else index]
        message = Message(
            account=placed.account,
            symbol=leg.symbol,
            event=stands.status,
            data=self._data(placed, index, order_id, stands, view),
            told={"order_id": str(order_id), "tag": placed.tag},
            spoil=spoiled,
        )
        told = self.audience.tell(message)
        if stands.status == "filled":
            async with self._news:
                self._filled[str(order_id)] = told
                if index is not None:
                    self._filled[str(placed.id)] = told
                while len(self._filled) > _REMEMBERED:
                    self._filled.popitem(last=False)
                self._news.notify_all()

    def _data(
        self,
        placed: Placed,
        index: int | None,
        order_id: int,
        stands: Figures,
        view: BrokerOrderView | None,
    ) -> dict[str, Any]:
        """No symbol and no side: who listens joins by the id."""
        whole = index is None and placed.has_members
        leg = placed.legs[0 if index is None else index]
        spread = placed.cls == "multileg"
        limit = placed.price if view is None or view.limit_price is None else abs(view.limit_price)
        stop = leg.stop if view is None else view.stop_price
        data: dict[str, Any] = {
            "id": order_id,
            "event": "order",
            "status": stands.status,
            "type": placed.type if whole or spread else leg.type,
            "price": number(limit if whole or leg.type in ("limit", "stop_limit") else 0) or number(0),
            "stop_price": number(stop or 0),
            "avg_fill_price": number(stands.average),
            "exec_quantity": number(stands.filled),
            "last_fill_quantity": number(stands.last_quantity),
            "remaining_quantity": number(stands.remaining),
            "transaction_date": stamp(stands.changed_us),
            "create_date": stamp(stands.created_us),
            "account": placed.account,
        }
        if placed.tag is not None:
            data["tag"] = placed.tag
        if index is not None:
            data["parent_id"] = placed.id
        return data
