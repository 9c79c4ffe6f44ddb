"""All routes of the simulated Tradier but market data. `fallback` answers what is no route, and belongs last."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from paiid.sim.tradier import balances, changes, history, order_reads, orders, positions, profile
from paiid.sim.tradier.account_stream import PATH, AccountStream
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.gate import Handler, guarded
from paiid.sim.tradier.rate import Bucket

__all__ = ["account_routes", "fallback"]

_ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_ORDERS = "/v1/accounts/{account_id}/orders"


def account_routes(exchange: TradierExchange, stream: AccountStream) -> list[BaseRoute]:
    """User, accounts, orders and the account stream."""

    def route(method: str, path: str, handler: Handler, bucket: Bucket = "standard") -> Route:
        return Route(path, guarded(exchange, handler, bucket), methods=[method])

    return [
        WebSocketRoute(PATH, stream.serve),
        route("POST", f"{PATH}/session", stream.open_session),
        route("GET", "/v1/user/profile", profile.get_profile),
        route("GET", "/v1/accounts/{account_id}/balances", balances.get_balances),
        route("GET", "/v1/accounts/{account_id}/positions", positions.list_positions),
        route("GET", "/v1/accounts/{account_id}/history", history.get_history),
        route("GET", "/v1/accounts/{account_id}/gainloss", history.get_gainloss),
        route("POST", _ORDERS, orders.submit, "trading"),
        route("GET", _ORDERS, order_reads.list_orders),
        route("GET", _ORDERS + "/{order_id}", order_reads.get_order),
        route("PUT", _ORDERS + "/{order_id}", changes.change, "trading"),
        route("DELETE", _ORDERS + "/{order_id}", orders.cancel, "trading"),
    ]


async def _no_route(_: Request) -> Response:
    return Response("Not Found", 404, media_type="text/plain")


def fallback() -> Route:
    """404 in plain text for everything else."""
    return Route("/{rest:path}", _no_route, methods=_ALL_METHODS)
