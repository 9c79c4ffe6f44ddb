"""One message of the trade-update stream: what it says by itself, and what has to be read again over REST (section 14)."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog

from paiid.brokers import BrokerExecution, BrokerOrderView
from paiid.brokers.alpaca.families import Families
from paiid.brokers.alpaca.holdings import print_of
from paiid.brokers.alpaca.readers import read_order
from paiid.domain.money import ZERO
from paiid.wires.values import fields_of, instant_of, money_of, qty_of, text_of, word_of

_FILLS = frozenset({"fill", "partial_fill"})
_PLAIN = frozenset(
    {
        "new", "accepted", "pending_new", "canceled", "expired", "done_for_day", "replaced", "rejected", "held",
        "stopped", "pending_cancel", "pending_replace", "calculated", "suspended", "order_replace_rejected",
        "order_cancel_rejected",
    }
)  # fmt: skip
_TAKEN_BACK = frozenset({"trade_bust", "trade_correct"})
_MAX_ORDERS = 10_000
_log = structlog.get_logger("paiid.alpaca")


@dataclass(frozen=True, slots=True)
class Told:
    """The event itself is the news."""

    view: BrokerOrderView
    execution: BrokerExecution | None = None


@dataclass(frozen=True, slots=True)
class Reread:
    """The event says that something happened to this order; what, only REST tells in full."""

    broker_order_id: str


@dataclass(frozen=True, slots=True)
class Resync:
    """Something happened, and not even the order is known."""


News = Told | Reread | Resync


class EventReader:
    """Reads the events of one account. Remembers how far each order had filled, so that a print is believed only where
    it follows on one that is known."""

    def __init__(self, families: Families, limit: int = _MAX_ORDERS) -> None:
        self._families = families
        self._limit = limit
        self._filled: OrderedDict[str, set[Decimal]] = OrderedDict()

    def read(self, data: object, account_number: str) -> News:
        """What a `trade_updates` message means. Raises nothing, whatever it holds."""
        told = fields_of(data)
        order = fields_of(told.get("order"))
        event = word_of(told.get("event"))
        order_id = text_of(order.get("id"))
        if event in _TAKEN_BACK:
            _log.error("alpaca_trade_taken_back", account=account_number, trade_event=event, order=order_id)
            return Resync()
        if order_id is None:
            _log.error("alpaca_event_unusable", account=account_number, trade_event=event)
            return Resync()
        if event not in _FILLS | _PLAIN:
            _log.warning("alpaca_event_unknown", account=account_number, trade_event=event, order=order_id)
            return Reread(order_id)
        if word_of(order.get("order_class")) == "mleg":
            # The prints of a spread are its legs', and what the stream tells of legs is not confirmed.
            return Reread(order_id)
        view = read_order(order, account_number)
        if view is None or (view.qty is None and view.notional is None):
            # Without its size it would be taken for another order than the one that was placed.
            return Reread(order_id)
        placed = self._families.place(view)
        if placed is None:
            return Reread(order_id)
        if event not in _FILLS:
            return Told(placed)
        execution = self._print(told, placed, account_number)
        return Reread(order_id) if execution is None else Told(placed, execution)

    def _print(
        self, told: Mapping[str, Any], view: BrokerOrderView, account_number: str
    ) -> BrokerExecution | None:
        """The print, named by the cumulative quantity after it (`holdings.execution_id_of`).

        Were `order` told as it is when the message is sent, and not as it was at the print, two prints could get one
        name. So what had filled before this one has to be nothing, or the end of a print that is known.
        """
        qty, price = qty_of(told.get("qty")), money_of(told.get("price"))
        cumulative = view.filled_qty
        if not qty or price is None or cumulative <= ZERO:
            return None
        before = cumulative - abs(qty)
        known = self._filled.get(view.broker_order_id, set())
        if before != ZERO and before not in known:
            return None
        self.note(view.broker_order_id, cumulative)
        at_us = instant_of(told.get("timestamp")) or view.updated_at_us
        return print_of(
            account_number, view.broker_order_id, view.symbol, view.side, abs(qty), price, at_us, cumulative
        )

    def note(self, broker_order_id: str, cumulative: Decimal) -> None:
        """A print is known that took the order to this quantity."""
        self._filled.setdefault(broker_order_id, set()).add(cumulative)
        self._filled.move_to_end(broker_order_id)
        while len(self._filled) > self._limit:
            self._filled.popitem(last=False)

    def note_print(self, execution: BrokerExecution) -> None:
        """A print that REST told."""
        cumulative = qty_of(execution.execution_id.rpartition(":")[2])
        if cumulative is not None:
            self.note(execution.broker_order_id, cumulative)
