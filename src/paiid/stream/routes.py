"""The routes of streams: tickets, status, and the same addresses as WebSockets and as streams of server-sent events."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from paiid.auth.access import may
from paiid.core.json import encode
from paiid.domain.identity import Principal
from paiid.stream.opening import CHANNELS
from paiid.stream.service import StreamService
from paiid.stream.sse import open_events
from paiid.stream.ws import open_socket

router = APIRouter(tags=["streams"])
Reader = Annotated[Principal, Depends(may("read"))]
Symbols = Annotated[
    str,
    Query(
        description="Tickers and OCC symbols of options, comma separated, at most 256.", examples=["AAPL,SPY"]
    ),
]
Account = Annotated[str | None, Query(max_length=64, description="The account; by default yours.")]


def _streams(request: Request) -> StreamService:
    streams: StreamService = request.app.state.streams
    return streams


def _json(value: Any, status: int = 200) -> Response:
    return Response(encode(value), status, {"cache-control": "no-store"}, media_type="application/json")


@router.post("/api/stream/ticket", status_code=201, summary="A ticket to open a WebSocket with")
async def make_ticket(request: Request, user: Reader) -> Response:
    """For browsers, which cannot send headers with a WebSocket: offer the subprotocols `paiid.v1` and `ticket.` with the
    ticket, or send it as the first message. It works once, within 30 s, on any replica. 60 a minute."""
    streams = _streams(request)
    known = await streams.credentials.of_header(request.headers.raw)
    ticket = await streams.tickets.make(known)
    return _json({"ticket": ticket, "expires_in": int(streams.timings.ticket_s)}, 201)


@router.get("/api/stream/status", summary="How the streams are")
async def get_status(request: Request, user: Reader) -> Response:
    """Where market data come from and whether they do (`feed`), whether replicas hear each other (`bus`), your own open
    streams on this replica; for an owner also how many ticks were filtered and why."""
    return _json(_streams(request).status(user))


@router.get("/api/stream/prices", summary="Quotes as server-sent events")
async def stream_prices(request: Request, user: Reader, symbols: Symbols = "") -> Response:
    """See docs/streams.md. The same address is a WebSocket."""
    return await open_events(request)


@router.get(
    "/api/stream/market-indices", summary="Quotes of what stands for the indices, as server-sent events"
)
async def stream_indices(request: Request, user: Reader) -> Response:
    """See docs/streams.md. The same address is a WebSocket."""
    return await open_events(request)


@router.get("/api/stream/orders", summary="What happens in an account, as server-sent events")
async def stream_orders(request: Request, user: Reader, account: Account = None) -> Response:
    """Orders, fills, positions, cash and halts of one account, in order and without holes; `Last-Event-ID` goes on where you
    were. See docs/streams.md. The same address is a WebSocket."""
    return await open_events(request)


@router.get("/api/stream/positions", summary="An account and its value, as server-sent events")
async def stream_positions(request: Request, user: Reader, account: Account = None) -> Response:
    """The same as `orders`, and the positions valued as prices move. See docs/streams.md. The same address is a WebSocket."""
    return await open_events(request)


class _Socket:
    """An ASGI app, for which the framework does nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await open_socket(scope, receive, send)


_socket: ASGIApp = _Socket()
router.routes.extend(WebSocketRoute(path, _socket, name=f"socket {path}") for path in CHANNELS)
