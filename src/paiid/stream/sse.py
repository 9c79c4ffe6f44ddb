"""Streams of server-sent events: the same events as on a WebSocket, for whoever reads them with fetch and a header (S7, A7)."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from paiid.auth.callers import Known
from paiid.domain.errors import invalid_field
from paiid.stream.clients import Client
from paiid.stream.events import Place
from paiid.stream.limits import Closing
from paiid.stream.messages import UNRESUMABLE, read_place
from paiid.stream.opening import Opening, read_opening
from paiid.stream.origin import check_origin
from paiid.stream.service import StreamService
from paiid.stream.sinks import SseSink
from paiid.stream.views import connection_view

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    # Proxies that gather answers before they pass them on would make a stream of nothing.
    (b"x-accel-buffering", b"no"),
]


async def open_events(request: Request) -> "EventStream":
    """The answer of a stream. Raises Problem (400, 401, 403, 404, 422, 429, 503), DatabaseUnavailable."""
    streams: StreamService = request.app.state.streams
    streams.clients.refuse_while_draining()
    headers = request.scope["headers"]
    check_origin(headers, streams.origins)
    opening = read_opening(request.scope["path"], request.scope["query_string"])
    known = await streams.credentials.of_header(headers)
    if opening.is_about_account:
        await streams.subscriptions.check_account(known.principal, opening.account)
    elif "quotes" in opening.kinds and not opening.symbols:
        raise invalid_field(
            "symbols", "missing", "name the symbols whose quotes you want, with commas between them"
        )
    streams.clients.refuse_one_too_many(known.principal.user_id)
    return EventStream(streams, known, opening, _last_event(headers))


def _last_event(headers: list[tuple[bytes, bytes]]) -> Place | None:
    """The place a client was at; whatever else stands there cannot be resumed from."""
    found = [value.decode("latin-1").strip() for name, value in headers if name == b"last-event-id"]
    if not found or found == [""]:
        return None
    return read_place(found[0]) if len(found) == 1 else UNRESUMABLE


class EventStream(Response):
    """One stream, open until either side ends it."""

    media_type = "text/event-stream"

    def __init__(self, streams: StreamService, known: Known, opening: Opening, since: Place | None) -> None:
        super().__init__()
        self._streams = streams
        self._known = known
        self._opening = opening
        self._since = since

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Problem (429, 503) before the head."""
        with self._entered(scope) as (client, sink):
            with suppress(OSError):
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                giving = asyncio.create_task(self._give(client), name="paiid-stream-begin")
                try:
                    await sink.run(receive, send)
                finally:
                    giving.cancel()
                    await asyncio.gather(giving, return_exceptions=True)

    @contextmanager
    def _entered(self, scope: Scope) -> Iterator[tuple[Client, SseSink]]:
        clients = self._streams.clients
        user_id = self._known.principal.user_id
        with clients.reserved(user_id):
            sink = SseSink(scope)
            client = clients.enter("events", self._known, scope.get("client_address", "unknown"), sink)
        try:
            yield client, sink
        finally:
            clients.leave(client)

    async def _give(self, client: Client) -> None:
        """Beside the writing, for a long absence is more than one who reads slowly takes at once."""
        streams = self._streams
        streams.clients.tell(client, connection_view(client, streams.feed_state(), streams.clock.now_us()))
        wishes = self._opening.wishes(client.principal, streams.indices, self._since)
        await streams.subscriptions.begin(client, wishes)
        if self._opening.is_about_account and not any(one.is_about_account for one in client.held.values()):
            # It was told why; there is nothing else to wait for.
            streams.clients.end(client, Closing.TRY_LATER, "unavailable")
