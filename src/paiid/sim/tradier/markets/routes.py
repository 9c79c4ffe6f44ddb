"""All routes under `/v1/markets` but the stream itself (tradier.md, sections 8 and 9.1)."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paiid.sim.tradier.accounts import SimUser
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.gate import guarded, params_of
from paiid.sim.tradier.markets import bars, calendar, chains, listings, quotes
from paiid.sim.tradier.markets.asked import Asked
from paiid.sim.tradier.markets.side import MarketSide
from paiid.sim.tradier.markets.stream import MarketStream
from paiid.sim.tradier.shapes import Told

__all__ = ["market_routes"]

_Read = Callable[[MarketSide, Asked], Awaitable[Told]]
_Session = Callable[[MarketSide, SimUser, Request], Awaitable[Told]]
_READS: tuple[tuple[str, _Read], ...] = (
    ("/options/expirations", chains.expirations),
    ("/options/strikes", chains.strikes),
    ("/options/lookup", chains.lookup),
    ("/history", bars.history),
    ("/timesales", bars.timesales),
    ("/clock", calendar.clock),
    ("/calendar", calendar.calendar),
    ("/etb", listings.easy_to_borrow),
    ("/search", listings.search),
    ("/lookup", listings.lookup),
)


def market_routes(side: MarketSide, stream: MarketStream) -> list[Route]:
    """Each with the token, in the bucket of market data."""

    def route(path: str, handler: _Session, *methods: str) -> Route:
        async def handle(exchange: TradierExchange, user: SimUser, request: Request) -> Told | Response:
            return await handler(side, user, request)

        endpoint = guarded(side.exchange, handle, "market")
        return Route(f"/v1/markets{path}", endpoint, methods=list(methods))

    return [
        route("/quotes", _reading(quotes.quotes), "GET", "POST"),
        route("/options/chains", _chains, "GET"),
        *(route(path, _reading(read), "GET") for path, read in _READS),
        route("/events/session", stream.create_session, "POST"),
        route("/events/session", stream.delete_session, "DELETE"),
    ]


def _reading(read: _Read) -> _Session:
    """A handler that goes by the parameters alone."""

    async def handle(side: MarketSide, user: SimUser, request: Request) -> Told:
        return await read(side, await params_of(request))

    return handle


async def _chains(side: MarketSide, user: SimUser, request: Request) -> Told:
    return await chains.chains(side, user, await params_of(request))
