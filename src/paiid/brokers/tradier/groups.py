"""Orders that are made of several: brackets (otoco), oto, oco, spreads, and stock with options (tradier.md, sections 6.1, 6.6).

The group has an id, and each leg one of its own. Ours of a group is one order with what hangs on it, so the group's id stands
for its entry (or, of an oco, its take profit), whose own id is another name for it; the other legs keep theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from math import gcd
from typing import Any

import structlog

from paiid.brokers import BrokerOrderView
from paiid.brokers.tradier.order_words import TERMINAL_WORDS, canonical_symbol, duration_of, status_word, told
from paiid.brokers.tradier.single_orders import Reading, as_working, read_single, reason_of, tag_of
from paiid.domain.instruments import underlying_of
from paiid.domain.money import ZERO
from paiid.domain.orders import TERMINAL_STATUSES, OrderClass, OrderStatus
from paiid.wires.tradier.lists import absent, as_list
from paiid.wires.values import fields_of, instant_of, money_of, text_of, word_of

__all__ = ["GROUPS", "read_group"]

_log = structlog.get_logger("paiid.tradier")
GROUPS: Mapping[str, OrderClass] = {
    "otoco": "bracket",
    "oto": "oto",
    "oco": "oco",
    "multileg": "mleg",
    "combo": "mleg",
}
_INHERITED = ("duration", "create_date", "transaction_date")
_MAX_LEGS = 16
_MAX_RATIO = 10_000


def read_group(data: Mapping[str, Any], account_number: str, order_class: OrderClass) -> Reading | None:
    """The group as one order with its legs; None where it cannot be used at all. Raises nothing."""
    group_id = text_of(data.get("id"))
    rows = _leg_rows(data)
    if group_id is None or absent(group_id) or not rows:
        return None
    read = [read_single(row, account_number) for row in rows]
    legs = [one for one in read if one is not None]
    if read[0] is None or not legs:
        return None
    whole = len(legs) == len(read)
    if order_class == "mleg":
        return _spread(data, group_id, rows, legs, whole)
    return _exits(data, group_id, order_class, rows, legs, whole)


def _leg_rows(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The legs, each with what only the group tells; a pair of exits that is told as a group within it counts as two."""
    rows: list[Mapping[str, Any]] = []
    for leg in as_list(data, "leg")[:_MAX_LEGS]:
        inner = as_list(leg, "leg")[:_MAX_LEGS]
        rows += [fields_of(one) for one in (inner or [leg])]
    return [{**row, **{name: data.get(name) for name in _INHERITED if absent(row.get(name))}} for row in rows]


# -- entries and exits --------------------------------------------------------------------------------


def _exits(
    data: Mapping[str, Any],
    group_id: str,
    order_class: OrderClass,
    rows: Sequence[Mapping[str, Any]],
    legs: Sequence[Reading],
    whole: bool,
) -> Reading:
    words = {text_of(row.get("id")): status_word(row) for row in rows}
    main = legs[0]
    if order_class == "oco":
        main = next((one for one in legs if one.view.type == "limit"), legs[0])
    alias = main.view.broker_order_id
    view = replace(
        main.view,
        broker_order_id=group_id,
        client_order_id=tag_of(data) or main.view.client_order_id,
        order_class=order_class,
        group_role="take_profit" if order_class == "oco" else "entry",
    )
    if _refused(data) and view.status not in TERMINAL_STATUSES and view.filled_qty == ZERO:
        view = replace(view, status=OrderStatus.REJECTED, reason=reason_of(data) or main.view.reason)
    entry_word = words.get(alias, "")
    hanging = tuple(
        _exit(one.view, view, entry_word, words.get(one.view.broker_order_id, ""))
        for one in legs
        if one is not main
    )
    unpriced = frozenset(
        group_id if order_id == alias else order_id for one in legs for order_id in one.unpriced
    )
    return Reading(replace(view, legs=hanging), unpriced, (alias,), whole)


def _exit(leg: BrokerOrderView, main: BrokerOrderView, entry_word: str, word: str) -> BrokerOrderView:
    """An exit as it hangs on its entry. While the entry has not filled it is held, whatever Tradier calls that (`pending`,
    `held`: not confirmed); of an entry that ended with nothing filled, an exit can never come to life."""
    return replace(
        leg,
        client_order_id=None,
        order_class=main.order_class,
        group_role="take_profit" if leg.type == "limit" else "stop_loss",
        parent_broker_order_id=main.broker_order_id,
        status=_exit_status(leg, main, entry_word, word),
    )


def _exit_status(leg: BrokerOrderView, main: BrokerOrderView, entry_word: str, word: str) -> OrderStatus:
    if leg.status in TERMINAL_STATUSES or leg.filled_qty > ZERO:
        return leg.status
    if main.order_class == "oco":
        # Both sides are live from the beginning.
        return OrderStatus.REJECTED if main.status is OrderStatus.REJECTED else leg.status
    if entry_word == "filled":
        return OrderStatus.HELD if word == "held" else leg.status
    if word == "open" and main.filled_qty > ZERO:
        return leg.status
    over = main.status in TERMINAL_STATUSES and main.filled_qty == ZERO
    return OrderStatus.CANCELED if over and word != "open" else OrderStatus.HELD


def _refused(data: Mapping[str, Any]) -> bool:
    return TERMINAL_WORDS.get(status_word(data)) is OrderStatus.REJECTED


# -- spreads ------------------------------------------------------------------------------------------


def _spread(
    data: Mapping[str, Any],
    group_id: str,
    rows: Sequence[Mapping[str, Any]],
    legs: Sequence[Reading],
    whole: bool,
) -> Reading:
    word = status_word(data)
    ratios, units = _units_of(legs)
    time_in_force, extended = duration_of(told(data, "duration") or rows[0].get("duration"))
    unpriced = {order_id for one in legs for order_id in one.unpriced}
    hanging = tuple(
        _leg(one, group_id, ratio, word, unpriced) for one, ratio in zip(legs, ratios, strict=True)
    )
    filled = min((leg.filled_qty // (leg.ratio_qty or 1) for leg in hanging), default=ZERO)
    ended = TERMINAL_WORDS.get(word)
    if ended is OrderStatus.FILLED and (unpriced or (units is not None and filled < units)):
        ended = None
        unpriced.add(group_id)
    average = money_of(told(data, "avg_fill_price"))
    first = legs[0].view
    type_, limit_price = _net_of(data)
    view = replace(
        first,
        broker_order_id=group_id,
        client_order_id=tag_of(data) or first.client_order_id,
        symbol=canonical_symbol(data.get("symbol")) or underlying_of(first.symbol),
        side="buy",
        qty=units,
        type="limit" if type_ == "limit" else "market",
        time_in_force=time_in_force,
        extended_hours=extended,
        limit_price=limit_price,
        stop_price=None,
        status=ended or as_working(filled),
        filled_qty=filled,
        filled_avg_price=average if filled else None,
        submitted_at_us=instant_of(data.get("create_date")) or first.submitted_at_us,
        updated_at_us=instant_of(data.get("transaction_date")) or first.updated_at_us,
        reason=reason_of(data) if ended not in (None, OrderStatus.FILLED) else None,
        order_class="mleg",
        position_intent=None,
        last_fill=None,
        legs=hanging,
    )
    return Reading(view, frozenset(unpriced), (), whole)


def _leg(
    one: Reading, group_id: str, ratio: int | None, group_word: str, unpriced: set[str]
) -> BrokerOrderView:
    """A leg within its spread; where it says nothing of its own end, the spread's is its own, once its numbers are there."""
    leg, status = one.view, one.view.status
    ended = TERMINAL_WORDS.get(group_word)
    if status not in TERMINAL_STATUSES and ended is not None:
        complete = leg.qty is not None and leg.filled_qty >= leg.qty
        if one.unpriced or (ended is OrderStatus.FILLED and not complete):
            unpriced.add(leg.broker_order_id)
        else:
            status = ended
    return replace(
        leg,
        client_order_id=None,
        order_class="mleg",
        group_role="leg",
        parent_broker_order_id=group_id,
        ratio_qty=ratio,
        status=status,
    )


def _units_of(legs: Sequence[Reading]) -> tuple[list[int | None], Decimal | None]:
    """The ratio of each leg, and how many units of that were ordered: what their quantities have in common."""
    qtys = [one.view.qty for one in legs]
    whole = [int(qty) for qty in qtys if qty is not None and qty > 0 and qty == qty.to_integral_value()]
    if len(whole) < len(qtys):
        return [None] * len(qtys), None
    common = gcd(*whole)
    if max(whole) // common > _MAX_RATIO:
        return [None] * len(qtys), None
    return [qty // common for qty in whole], Decimal(common)


def _net_of(data: Mapping[str, Any]) -> tuple[str, Decimal | None]:
    """`market` or `limit`, and the net price of one unit: what is paid is positive, what is received negative; Tradier tells
    it unsigned, with the direction as the type (section 6.1)."""
    word = word_of(data.get("type"))
    price = money_of(told(data, "price"))
    if word == "market":
        return "market", None
    if word == "even":
        return "limit", ZERO
    if word in ("debit", "credit"):
        net = abs(price or ZERO)
        return "limit", -net if word == "credit" and net else net
    _log.error("unknown_order_type", type=word, order=text_of(data.get("id")))
    return ("market", None) if price is None else ("limit", price)
