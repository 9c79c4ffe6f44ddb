"""All REST routes of the simulated Alpaca. `fallback` answers what is no route, and belongs last in a composition."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paiid.sim.alpaca import (
    account,
    activities,
    assets,
    clock,
    contracts,
    history,
    order_reads,
    orders,
    positions,
)
from paiid.sim.alpaca.errors import not_found
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.gate import Handler, guarded, refusal

_ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def routes(exchange: Exchange) -> list[Route]:
    """Everything of `/v2` but the streams."""

    def route(method: str, path: str, handler: Handler, *, html: bool = False) -> Route:
        return Route(path, guarded(exchange, handler, html=html), methods=[method])

    return [
        route("GET", "/v2/account", account.get_account),
        route("GET", "/v2/account/configurations", account.get_configurations),
        route("PATCH", "/v2/account/configurations", account.set_configurations),
        route("GET", "/v2/account/portfolio/history", history.portfolio_history),
        route("GET", "/v2/account/activities", activities.list_account_activities),
        route("GET", "/v2/account/activities/{activity_type}", activities.list_account_activities),
        route("GET", "/v2/orders:by_client_order_id", order_reads.get_by_client_id),
        route("POST", "/v2/orders", orders.submit),
        route("GET", "/v2/orders", order_reads.list_all),
        route("DELETE", "/v2/orders", orders.cancel_all),
        route("GET", "/v2/orders/{order_id}", order_reads.get_order),
        route("PATCH", "/v2/orders/{order_id}", orders.replace_order),
        route("DELETE", "/v2/orders/{order_id}", orders.cancel_order),
        route("GET", "/v2/positions", positions.list_positions),
        route("DELETE", "/v2/positions", positions.close_all),
        route("POST", "/v2/positions/{symbol}/exercise", positions.exercise),
        route("POST", "/v2/positions/{symbol}/do-not-exercise", positions.do_not_exercise),
        route("GET", "/v2/positions/{symbol}", positions.get_position),
        route("DELETE", "/v2/positions/{symbol}", positions.close_position),
        route("GET", "/v2/assets", assets.list_assets),
        route("GET", "/v2/assets/{symbol}", assets.get_asset),
        route("GET", "/v2/options/contracts", contracts.list_contracts),
        route("GET", "/v2/options/contracts/{symbol}", contracts.get_contract),
        route("GET", "/v2/clock", clock.get_clock, html=True),
        route("GET", "/v2/calendar", clock.get_calendar, html=True),
    ]


async def _no_route(_: Request) -> Response:
    return refusal(not_found("endpoint not found"))


def fallback() -> Route:
    """Alpaca's 404 for everything else."""
    return Route("/{rest:path}", _no_route, methods=_ALL_METHODS)
