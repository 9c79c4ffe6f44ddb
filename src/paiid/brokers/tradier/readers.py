"""Tradier's order object as ours: fields that are missing, new or of another type never break a read (tradier.md, 6.6, 7)."""

import structlog

from paiid.brokers import BrokerOrderView
from paiid.brokers.tradier.groups import GROUPS, read_group
from paiid.brokers.tradier.single_orders import Reading, read_single
from paiid.wires.tradier.lists import as_list
from paiid.wires.values import fields_of, text_of, word_of

__all__ = ["Reading", "read", "read_order"]

_log = structlog.get_logger("paiid.tradier")


def read(row: object, account_number: str) -> Reading | None:
    """An order with what hangs on it, and how much of that is to be believed; None (and a line in the log) where it cannot
    be used at all: no id, no symbol, no side. Raises nothing."""
    data = fields_of(row)
    order_class = GROUPS.get(word_of(data.get("class")))
    if order_class is None and as_list(data, "leg"):
        # A class that we do not know, with legs: the entry and what hangs on it is the best that can be said.
        _log.error("unknown_order_class", order_class=word_of(data.get("class")))
        order_class = "oto"
    if order_class is None:
        reading = read_single(data, account_number)
    else:
        reading = read_group(data, account_number, order_class)
    if reading is None:
        _log.error("tradier_order_unusable", account=account_number, order=text_of(data.get("id")))
    elif not reading.whole:
        _log.error("tradier_leg_unusable", account=account_number, order=reading.view.broker_order_id)
    return reading


def read_order(row: object, account_number: str) -> BrokerOrderView | None:
    """The view alone; `client_order_id` is the order's tag, whoever gave it."""
    reading = read(row, account_number)
    return None if reading is None else reading.view
