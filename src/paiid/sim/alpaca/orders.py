"""Orders: placing, replacing and cancelling them (`/v2/orders`)."""

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from paiid.brokers import BrokerOrderView, BrokerRejected, BrokerReplace, OutcomeUnknown
from paiid.brokers.paper.queries import find_order
from paiid.core.db import Tx
from paiid.domain.instruments import Instrument
from paiid.domain.orders import TERMINAL_STATUSES
from paiid.domain.paper_account import Holding
from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.asked import AskedOrder
from paiid.sim.alpaca.books import mark_of
from paiid.sim.alpaca.errors import (
    NOT_UNIQUE,
    AlpacaError,
    Facts,
    forbidden,
    free_to_close,
    insufficient_qty,
    invalid,
    not_found,
    of_engine,
    unprocessable,
)
from paiid.sim.alpaca.exchange import CALL_S, Exchange
from paiid.sim.alpaca.gate import Answer, body_of
from paiid.sim.alpaca.ids import ORDER, new_uuid, to_venue_client_id, venue_id, wire_id
from paiid.sim.alpaca.order_rules import check_tick
from paiid.sim.alpaca.parse import read_json, read_order, read_replace
from paiid.sim.alpaca.placing import SUSPENDED, facts_of, find_instrument, resolve
from paiid.sim.alpaca.queries import OrderFilter, list_orders, load_book
from paiid.sim.alpaca.render import client_id_of, order_json, status_of
from paiid.sim.alpaca.values import text_of

_EVERYTHING = 1_000_000
_NOT_SENT = ("pending_new", "accepted")


async def submit(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`POST /v2/orders`."""
    asked = read_order(read_json(await body_of(request)))
    view = await place(exchange, account, asked)
    return Answer(order_json(exchange, view, at_us=view.submitted_at_us))


async def place(exchange: Exchange, account: SimAccount, asked: AskedOrder) -> BrokerOrderView:
    """Hand an order to the venue, and enter it in the ledger: as it was accepted. Raises AlpacaError, NotSent,
    OutcomeUnknown."""
    instrument = None if asked.order_class == "mleg" else await find_instrument(exchange, asked.symbol)
    async with exchange.turns.of(account.number, "" if instrument is None else instrument.symbol):
        view = await _submit(exchange, account, asked, instrument)
    exchange.ledger.append(
        "order_accepted",
        order_id=wire_id(view.broker_order_id),
        client_order_id=client_id_of(view),
        account=account.number,
        symbol=view.symbol,
        side=view.side,
        qty=text_of(view.qty),
        notional=text_of(view.notional),
        order_class=view.order_class,
    )
    return view


async def _submit(
    exchange: Exchange, account: SimAccount, asked: AskedOrder, instrument: Instrument | None
) -> BrokerOrderView:
    async with exchange.db.read() as tx:
        if asked.client_order_id is not None:
            await _check_unused(tx, account, asked.client_order_id)
        book = await load_book(tx, account.number, mark_of(exchange), account.terms)
    _check_not_suspended(exchange, account)
    order = await resolve(exchange, account, asked, instrument, book)
    try:
        return await exchange.venue.submit(order, CALL_S)
    except BrokerRejected as refused:
        raise await _worded(exchange, account, refused, facts_of(exchange, order, book)) from refused
    except OutcomeUnknown as unknown:
        raise _told(unknown) from unknown


async def replace_order(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`PATCH /v2/orders/{id}`."""
    old = await load_order(exchange, account, request.path_params["order_id"])
    name, change = read_replace(
        read_json(await body_of(request)),
        trails_by_price=old.trail_price is not None,
        spread=old.order_class == "mleg",
    )
    _check_replaceable(exchange, old, change)
    async with exchange.turns.of(account.number, old.symbol):
        view = await _replace(exchange, account, old, change, name)
    exchange.ledger.append(
        "order_replaced",
        old=wire_id(old.broker_order_id),
        new=wire_id(view.broker_order_id),
        client_order_id=client_id_of(view),
        account=account.number,
    )
    return Answer(order_json(exchange, view, at_us=view.submitted_at_us))


async def _replace(
    exchange: Exchange, account: SimAccount, old: BrokerOrderView, change: BrokerReplace, name: str | None
) -> BrokerOrderView:
    async with exchange.db.read() as tx:
        book = await load_book(tx, account.number, mark_of(exchange), account.terms)
    _check_not_suspended(exchange, account)
    _check_growth(old, change, book.holding(old.symbol))
    change = replace(change, client_order_id=to_venue_client_id(name or new_uuid(exchange.clock)))
    try:
        return await exchange.venue.replace(account.number, old.broker_order_id, change, CALL_S)
    except BrokerRejected as refused:
        facts = Facts(held=book.holding(old.symbol), quote=exchange.market.newest(old.symbol))
        raise await _worded(exchange, account, refused, facts) from refused
    except OutcomeUnknown as unknown:
        raise _told(unknown) from unknown


async def cancel_order(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`DELETE /v2/orders/{id}`: a promise; the venue cancels a moment later."""
    order = await load_order(exchange, account, request.path_params["order_id"])
    if order.status in TERMINAL_STATUSES:
        raise unprocessable(f'order is already in "{order.status.value.lower()}" state')
    if order.group_role == "leg":
        raise unprocessable("order is a leg of a mleg order and cannot be canceled by itself")
    _promise_cancel(exchange, account, order)
    return Response(status_code=204)


async def cancel_all(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`DELETE /v2/orders`."""
    ids = await cancel_open_orders(exchange, account)
    return Answer([{"id": wire_id(one), "status": 200} for one in ids], 207)


async def cancel_open_orders(exchange: Exchange, account: SimAccount) -> list[str]:
    """Promise the cancel of everything that is open; the venue's ids."""
    async with exchange.db.read() as tx:
        orders = await list_orders(tx, account.number, OrderFilter(limit=_EVERYTHING))
    for order in orders:
        _promise_cancel(exchange, account, order)
    return [order.broker_order_id for order in orders]


async def load_order(exchange: Exchange, account: SimAccount, order_id: str) -> BrokerOrderView:
    """An order of this account by its id on the wire. Raises AlpacaError: 422 for no UUID, 404 for an unknown one."""
    ours = venue_id(ORDER, order_id)
    if ours is None:
        raise invalid("order_id is missing")
    view = await exchange.venue.fetch_order_by_id(account.number, ours, CALL_S)
    if view is None:
        raise not_found(f"order not found for {order_id}")
    return view


def _promise_cancel(exchange: Exchange, account: SimAccount, order: BrokerOrderView) -> None:
    exchange.ledger.append(
        "cancel_accepted",
        order_id=wire_id(order.broker_order_id),
        client_order_id=client_id_of(order),
        account=account.number,
    )
    exchange.cancels.promise(account.number, order.broker_order_id, exchange.faults.cancel_delay_s(order))


def _check_not_suspended(exchange: Exchange, account: SimAccount) -> None:
    """Raises AlpacaError where the owner wants no new orders by now; asked last, for he may have said so since the
    request came in."""
    if exchange.accounts.current(account).configurations.suspend_trade:
        raise forbidden(SUSPENDED)


def _check_replaceable(exchange: Exchange, old: BrokerOrderView, change: BrokerReplace) -> None:
    status = status_of(exchange, old, exchange.clock.now_us())
    if old.status in TERMINAL_STATUSES or status in ("pending_cancel", "pending_replace"):
        raise unprocessable(f'order is already in "{status}" state')
    if status in _NOT_SENT:
        raise unprocessable("unable to replace order, order isn't sent to exchange yet")
    if old.order_class != "mleg":
        check_tick("limit_price", old.symbol, change.limit_price)
        check_tick("stop_price", old.symbol, change.stop_price)


def _check_growth(old: BrokerOrderView, change: BrokerReplace, held: Holding) -> None:
    """Raises AlpacaError where an order that closes would take more than there is, and so go through zero."""
    against = held.qty if old.side == "sell" else -held.qty
    if change.qty is None or old.qty is None or old.order_class != "simple" or against <= 0:
        return
    free = free_to_close(held, old.side) + old.qty - old.filled_qty
    if change.qty - old.filled_qty > free:
        raise insufficient_qty(old.symbol, change.qty, free, abs(held.qty))


async def _check_unused(tx: Tx, account: SimAccount, name: str) -> None:
    """Raises AlpacaError for a client order id that any order of this account ever had."""
    if await find_order(tx, account.number, to_venue_client_id(name)) is not None:
        raise invalid(NOT_UNIQUE)


def _told(unknown: OutcomeUnknown) -> Exception:
    """The venue answers a client order id used before as unknown, for it cannot know who asks; here it is a no."""
    return invalid(NOT_UNIQUE) if str(unknown) == NOT_UNIQUE else unknown


async def _worded(
    exchange: Exchange, account: SimAccount, refused: BrokerRejected, facts: Facts
) -> AlpacaError:
    """The engine's refusal in Alpaca's words; a wash trade names what kind of order it would have met."""
    error = of_engine(refused.code, refused.message, facts)
    opposite = venue_id(ORDER, error.extra.get("existing_order_id", ""))
    if opposite is not None:
        other = await exchange.venue.fetch_order_by_id(account.number, opposite, CALL_S)
        if other is not None:
            error.extra["reject_reason"] = f"opposite side {other.type.replace('_', ' ')} order exists"
    return error
