"""Reading orders: the list with its filters, and one by its id or by the client's."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.brokers import BrokerOrderView
from paiid.core.db import Tx
from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.errors import invalid, not_found
from paiid.sim.alpaca.exchange import CALL_S, Exchange
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.ids import ORDER, child_of_client_id, to_venue_client_id, venue_id, wire_id
from paiid.sim.alpaca.orders import load_order
from paiid.sim.alpaca.parse import canonical_symbol
from paiid.sim.alpaca.queries import OrderFilter, find_accepted_seq, list_orders
from paiid.sim.alpaca.render import client_id_of, order_json
from paiid.sim.alpaca.values import bool_field, instant_of, integer_of, one_of

_LIMIT, _MOST = 50, 500


async def list_all(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/orders`."""
    async with exchange.db.read() as tx:
        wanted = await _filter(tx, account, request)
        orders = await list_orders(tx, account.number, wanted)
    return Answer([_told(exchange, one, wanted.nested) for one in orders if _shown(exchange, one)])


async def get_order(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/orders/{id}`."""
    order_id = request.path_params["order_id"]
    view = await load_order(exchange, account, order_id)
    if not _shown(exchange, view):
        raise not_found(f"order not found for {order_id}")
    return Answer(_told(exchange, view, _nested(request)))


async def get_by_client_id(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/orders:by_client_order_id`."""
    name = request.query_params.get("client_order_id")
    if not name:
        raise invalid("client_order_id is missing")
    view = await exchange.venue.fetch_order(account.number, to_venue_client_id(name), CALL_S)
    if view is None:
        # Exits and legs bear an id that was made up of their own.
        child = child_of_client_id(name)
        if child is not None:
            view = await exchange.venue.fetch_order_by_id(account.number, child, CALL_S)
    if view is None or client_id_of(view).lower() != name.lower() or not _shown(exchange, view):
        raise not_found(f"order not found for {name}")
    return Answer(_told(exchange, view, _nested(request)))


def _shown(exchange: Exchange, view: BrokerOrderView) -> bool:
    return not exchange.faults.hides(wire_id(view.broker_order_id), view.submitted_at_us)


def _told(exchange: Exchange, view: BrokerOrderView, nested: bool) -> dict[str, Any]:
    """Legs of a spread are always with it, those of a group where they are asked for."""
    return order_json(exchange, view, legs=nested or view.order_class == "mleg")


def _nested(request: Request) -> bool:
    return bool_field(request.query_params.get("nested"), "nested")


async def _filter(tx: Tx, account: SimAccount, request: Request) -> OrderFilter:
    """What the query asks for. Raises AlpacaError."""
    query = request.query_params
    before, after = query.get("before_order_id"), query.get("after_order_id")
    if before and after:
        raise invalid("only one of before_order_id and after_order_id is accepted")
    if (before or after) and (query.get("after") or query.get("until")):
        raise invalid("before_order_id and after_order_id are not accepted together with after and until")
    symbols = [one for one in (query.get("symbols") or "").split(",") if one.strip()]
    classes = {one for one in (query.get("asset_class") or "").split(",") if one}
    for one in classes:
        one_of(one, "asset_class", ("us_equity", "us_option", "crypto", "all"))
    classes -= {"crypto"}
    side = query.get("side")
    return OrderFilter(
        status=one_of((query.get("status") or "open").lower(), "status", ("open", "closed", "all")),
        limit=integer_of(query.get("limit") or str(_LIMIT), "limit", 1, _MOST),
        after_us=instant_of(query["after"], "after") if query.get("after") else None,
        until_us=instant_of(query["until"], "until") if query.get("until") else None,
        after_seq=await _place_of(tx, account, after) if after else None,
        before_seq=await _place_of(tx, account, before) if before else None,
        descending=one_of((query.get("direction") or "desc").lower(), "direction", ("asc", "desc")) == "desc",
        nested=_nested(request),
        symbols=tuple(canonical_symbol(one.strip()) for one in symbols),
        side=one_of(side.lower(), "side", ("buy", "sell")) if side else None,
        asset_class=next(iter(classes)) if len(classes) == 1 and "all" not in classes else None,
    )


async def _place_of(tx: Tx, account: SimAccount, order_id: str) -> int:
    ours = venue_id(ORDER, order_id)
    if ours is None:
        raise invalid("order_id is missing")
    place = await find_accepted_seq(tx, account.number, ours)
    if place is None:
        raise not_found(f"order not found for {order_id}")
    return place
