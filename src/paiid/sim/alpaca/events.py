"""From what happened at the venue to what Alpaca's stream tells of it: names, quantities, and what is not told.

The venue tells an order at its acceptance; Alpaca says `new` once it is live. Exits that wait are told when they go
live, a stop that trails is not told at all, and an order that fills in part and ends in one step is two events.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from paiid.brokers import BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.domain.money import ZERO
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus

__all__ = ["Facts", "OrderEvent", "Translator", "changes_of"]

_ENDS = {
    OrderStatus.CANCELED: "canceled",
    OrderStatus.EXPIRED: "expired",
    OrderStatus.REPLACED: "replaced",
    OrderStatus.REJECTED: "rejected",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the venue's rows know of an order and its events do not say. `new_at_us` is when it is `new` on the wire."""

    accepted_seq: int
    new_at_us: int


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One trade update. (`cursor`, `index`) orders and names it; `execution_id` is the venue's, None for none.

    `qty` and `price` are of this execution, `position_qty` is the signed position after it.
    """

    account: str
    name: str
    at_us: int
    order: BrokerOrderView
    cursor: int
    index: int
    execution_id: str | None = None
    qty: Decimal | None = None
    price: Decimal | None = None
    position_qty: Decimal | None = None


@dataclass(slots=True)
class _Life:
    """How far an open order has been told."""

    order: BrokerOrderView
    new_at_us: int | None
    """When `new` is to be told; None once it has been, or while the order is held."""
    is_held: bool = False


class Translator:
    """Reads the venue's events in order. `positions` is every position by (account, symbol) before the first of
    them; `working` are the orders that are open then, with their facts."""

    def __init__(
        self,
        positions: Mapping[tuple[str, str], Decimal],
        working: Iterable[tuple[BrokerOrderView, Facts]] = (),
        *,
        cursor: int = 0,
        now_us: int = 0,
    ) -> None:
        self.positions = dict(positions)
        self.cursor = cursor
        self._index = 0
        self._lives: dict[str, _Life] = {}
        for order, facts in working:
            held = order.status is OrderStatus.HELD
            is_new = not held and order.filled_qty == 0 and facts.new_at_us > now_us
            self._lives[order.broker_order_id] = _Life(order, facts.new_at_us if is_new else None, held)

    @property
    def next_new_us(self) -> int | None:
        """When the next order is `new`; None where none waits for it."""
        return min((one.new_at_us for one in self._lives.values() if one.new_at_us is not None), default=None)

    @property
    def waiting(self) -> frozenset[str]:
        """The venue's ids of orders that are still to be told as `new`."""
        return frozenset(name for name, one in self._lives.items() if one.new_at_us is not None)

    def wants_facts(self, update: BrokerUpdate) -> bool:
        """Whether `take` needs the facts of this update's order."""
        order = update.order
        if order is None or order.status is OrderStatus.HELD:
            return False
        life = self._lives.get(order.broker_order_id)
        return life is None or life.is_held

    def due(self, now_us: int) -> list[OrderEvent]:
        """The orders that have become `new` by this instant, in the order in which they did."""
        waiting = [one for one in self._lives.values() if one.new_at_us is not None]
        found = [one for one in waiting if one.new_at_us is not None and one.new_at_us <= now_us]
        found.sort(key=lambda one: one.new_at_us or 0)
        return [self._say_new(one) for one in found]

    def take(self, update: BrokerUpdate, facts: Facts | None) -> list[OrderEvent]:
        """What the stream says of the next event."""
        order = update.order
        made = [] if order is None else self.due(order.updated_at_us - 1)
        self.cursor, self._index = update.cursor, 0
        for account, symbol, qty in changes_of(update):
            self.positions[account, symbol] = self.positions.get((account, symbol), ZERO) + qty
        if order is not None:
            made += self._tell(order, update.execution, facts)
        return made

    def _tell(
        self, order: BrokerOrderView, execution: BrokerExecution | None, facts: Facts | None
    ) -> list[OrderEvent]:
        life = self._begin(order, facts)
        made: list[OrderEvent] = []
        before = life.order
        grown = order.filled_qty - before.filled_qty
        over = order.status in TERMINAL_STATUSES
        if life.new_at_us is not None and (grown > 0 or (over and life.new_at_us <= order.updated_at_us)):
            made.append(self._say_new(life))
        if grown > 0:
            made.append(self._say_fill(before, order, execution))
        life.order = order
        if order.status in _ENDS:
            made.append(self._event(order, _ENDS[order.status], order.updated_at_us))
        if over:
            self._lives.pop(order.broker_order_id, None)
        return made

    def _begin(self, order: BrokerOrderView, facts: Facts | None) -> _Life:
        """The order's life so far, begun or moved on by this event."""
        life = self._lives.get(order.broker_order_id)
        held = order.status is OrderStatus.HELD
        if life is None:
            is_first = facts is not None and facts.accepted_seq == self.cursor
            new_at_us = facts.new_at_us if facts is not None and is_first else None
            # What has filled before anything was read is not told as if it filled now.
            begun = replace(order, filled_qty=ZERO, filled_avg_price=None) if is_first else order
            life = self._lives[order.broker_order_id] = _Life(begun, new_at_us, held)
        elif life.is_held and not held:
            life.is_held = False
            if facts is not None and order.status not in _ENDS:
                life.order, life.new_at_us = replace(order, filled_qty=ZERO), facts.new_at_us
        elif life.new_at_us is not None and order.status is OrderStatus.NEW:
            life.order = order
        return life

    def _say_new(self, life: _Life) -> OrderEvent:
        at_us, life.new_at_us = life.new_at_us or 0, None
        return self._event(replace(life.order, status=OrderStatus.NEW), "new", at_us)

    def _say_fill(
        self, before: BrokerOrderView, order: BrokerOrderView, execution: BrokerExecution | None
    ) -> OrderEvent:
        filled = order.status is OrderStatus.FILLED
        # An order that ends otherwise in the same step has filled in part first.
        shown = order if order.status not in _ENDS else replace(order, status=OrderStatus.PARTIALLY_FILLED)
        event = self._event(shown, "fill" if filled else "partial_fill", order.updated_at_us)
        if execution is not None:
            position = self.positions.get((execution.account_number, execution.symbol), ZERO)
            return replace(
                event,
                at_us=execution.executed_at_us,
                execution_id=execution.execution_id,
                qty=execution.qty,
                price=execution.price,
                position_qty=position,
            )
        # A spread as a whole: its legs have the executions, it has units and the net of one.
        qty = order.filled_qty - before.filled_qty
        value = _value(order) - _value(before)
        return replace(event, qty=qty, price=value / qty)

    def _event(self, order: BrokerOrderView, name: str, at_us: int) -> OrderEvent:
        self._index += 1
        return OrderEvent(order.account_number, name, at_us, order, self.cursor, self._index)


def _value(order: BrokerOrderView) -> Decimal:
    return order.filled_qty * (order.filled_avg_price or ZERO)


def changes_of(update: BrokerUpdate) -> list[tuple[str, str, Decimal]]:
    """Which positions an event of the venue changes: account, symbol, and what was added (signed)."""
    if update.activity is not None and update.activity.qty:
        one = update.activity
        return [(one.account_number, one.symbol, one.qty)]
    if update.execution is not None:
        print_ = update.execution
        qty = print_.qty if print_.side == "buy" else -print_.qty
        return [(print_.account_number, print_.symbol, qty)]
    return []
