"""An order of the paper venue as Alpaca's order object.

The venue knows no `pending_new`, `accepted` and `pending_cancel`: they follow from the clock, the market's hours and
the cancels that were promised.
"""

from datetime import time, timedelta
from typing import Any

from paiid.brokers import BrokerOrderView
from paiid.domain.calendar import eastern_date, eastern_us
from paiid.domain.instruments import is_option
from paiid.domain.orders import OrderStatus
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.ids import (
    child_client_id,
    from_venue_client_id,
    group_id,
    is_made_up,
    named,
    wire_id,
)
from paiid.sim.alpaca.values import stamp, text_of

_GTC_DAYS = timedelta(days=90)
_GTC_AT = time(16, 15)
_AUCTION_LEAD_US = 2_000_000
"""How long before the close the venue lets cls orders go live (docs/paper.md)."""


def order_json(
    exchange: Exchange, view: BrokerOrderView, *, at_us: int | None = None, legs: bool = True
) -> dict[str, Any]:
    """The order object. `at_us` is the instant it is told of, now by default; `legs` False leaves them null, as in the
    messages of the stream."""
    now_us = exchange.clock.now_us() if at_us is None else at_us
    body = _order(exchange, view, now_us)
    if legs and view.legs:
        body["legs"] = [_order(exchange, leg, now_us) for leg in view.legs]
    return body


def _order(exchange: Exchange, view: BrokerOrderView, now_us: int) -> dict[str, Any]:
    spread = view.order_class == "mleg"
    head, leg = spread and view.group_role != "leg", view.group_role == "leg"
    status = status_of(exchange, view, now_us)
    ended = {view.status: stamp(view.updated_at_us)}
    kind = "" if leg else view.type
    body: dict[str, Any] = {
        "id": wire_id(view.broker_order_id),
        "client_order_id": client_id_of(view),
        "created_at": stamp(view.submitted_at_us),
        "updated_at": stamp(view.updated_at_us),
        "submitted_at": stamp(view.submitted_at_us),
        "filled_at": ended.get(OrderStatus.FILLED),
        "expired_at": ended.get(OrderStatus.EXPIRED),
        "expires_at": stamp(expires_at_us(exchange, view)),
        "canceled_at": ended.get(OrderStatus.CANCELED),
        "failed_at": ended.get(OrderStatus.REJECTED),
        "replaced_at": ended.get(OrderStatus.REPLACED),
        "replaced_by": None if view.replaced_by is None else wire_id(view.replaced_by),
        "replaces": None if view.replaces is None else wire_id(view.replaces),
        "asset_id": "" if head else exchange.asset_ids.of(view.symbol),
        "symbol": "" if head else view.symbol,
        "asset_class": "" if head else class_of(view.symbol),
        "notional": text_of(view.notional),
        "qty": text_of(view.qty),
        "filled_qty": text_of(view.filled_qty),
        "filled_avg_price": text_of(view.filled_avg_price),
        "order_class": order_class_of(view),
        "order_type": kind,
        "type": kind,
        "side": "" if head else view.side,
        "time_in_force": view.time_in_force,
        "limit_price": text_of(view.limit_price),
        "stop_price": text_of(view.stop_price),
        "status": status,
        "extended_hours": view.extended_hours,
        "legs": None,
        "trail_percent": text_of(view.trail_percent),
        "trail_price": text_of(view.trail_price),
        "hwm": text_of(view.hwm),
        "subtag": None,
        "source": None,
    }
    if not head:
        body["position_intent"] = intent_of(view)
    if leg:
        body["ratio_qty"] = str(view.ratio_qty)
    elif view.group_role is not None:
        body["group_id"] = group_id(view.parent_broker_order_id or view.broker_order_id)
        body["group_role"] = view.group_role
    return body


def client_id_of(view: BrokerOrderView) -> str:
    """The client order id as clients know it; that of an exit or a leg is made up."""
    name = view.client_order_id
    if name is None:
        return named("order", view.broker_order_id)
    if view.parent_broker_order_id is not None and is_made_up(name):
        return child_client_id(view.broker_order_id)
    return from_venue_client_id(name)


def class_of(symbol: str) -> str:
    """Alpaca's name for the kind of asset."""
    return "us_option" if is_option(symbol) else "us_equity"


def order_class_of(view: BrokerOrderView) -> str:
    """A plain order has no class on equities, and says so on options."""
    if view.order_class != "simple":
        return view.order_class
    return "simple" if is_option(view.symbol) else ""


def intent_of(view: BrokerOrderView) -> str:
    """What the order does to the position. The venue is told where a sale opens or a purchase closes; so one that says
    nothing buys to open or sells to close, and an exit closes."""
    if view.position_intent is not None:
        return view.position_intent
    if view.side == "sell":
        return "sell_to_close"
    exits = view.group_role in ("take_profit", "stop_loss")
    return "buy_to_close" if exits else "buy_to_open"


def status_of(exchange: Exchange, view: BrokerOrderView, now_us: int) -> str:
    """The status on the wire at this instant."""
    if view.status is OrderStatus.HELD:
        return "pending_cancel" if view.broker_order_id in exchange.cancels else "held"
    if view.status not in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED):
        return view.status.value.lower()
    if view.broker_order_id in exchange.cancels:
        return "pending_cancel"
    if view.status is OrderStatus.PARTIALLY_FILLED:
        return "partially_filled"
    return waiting_status(exchange, view, now_us)


def waiting_status(exchange: Exchange, view: BrokerOrderView, now_us: int) -> str:
    """Of an order of which nothing has filled: `pending_new` until it is live, `accepted` until its market opens, then
    `new` to its end."""
    hours, live_us = exchange.hours, live_at_us(exchange, view)
    early = now_us < live_us
    at_us = max(now_us, live_us)
    opened = hours.is_open(at_us) or live_us < hours.previous_roll_us(at_us) <= at_us
    if view.extended_hours:
        opened = opened or hours.is_extended(at_us) or hours.is_extended(live_us)
    auction = view.time_in_force in ("opg", "cls")
    if not opened or (early and auction):
        return "accepted"
    return "pending_new" if early else "new"


def live_at_us(exchange: Exchange, view: BrokerOrderView) -> int:
    """When the venue lets the order meet the market, if that is open then."""
    live_us = view.submitted_at_us + exchange.options.latency_ms * 1000
    if view.time_in_force not in ("opg", "cls"):
        return live_us
    session = exchange.hours.coming_session(view.submitted_at_us)
    first_us = session.open_us if view.time_in_force == "opg" else session.close_us - _AUCTION_LEAD_US
    return max(live_us, first_us)


def expires_at_us(exchange: Exchange, view: BrokerOrderView) -> int:
    """When it ends by itself: the end of its trading day; of a gtc order, 16:15 in New York ninety days later."""
    if view.time_in_force == "gtc":
        return eastern_us(eastern_date(view.submitted_at_us) + _GTC_DAYS, _GTC_AT)
    if view.extended_hours:
        return exchange.hours.extended_end_us(view.submitted_at_us)
    return exchange.hours.next_roll_us(view.submitted_at_us)
