"""The WebSocket endpoints: who may open one, and the conversation on it (contracts S7, A7, A9)."""

import asyncio
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from paiid.auth.callers import Known
from paiid.core.clock import Clock
from paiid.core.db import DatabaseUnavailable
from paiid.core.json import encode
from paiid.core.log import REQUEST_ID
from paiid.core.socket_edge import refuse_socket
from paiid.domain.errors import Code, Problem
from paiid.stream.clients import Client
from paiid.stream.limits import BAD_MESSAGES, MESSAGE_BURST, MESSAGES_A_SECOND, PROTOCOL, Closing
from paiid.stream.messages import Authenticate, BadMessage, Id, Ping, Subscribe, Unsubscribe, read_message
from paiid.stream.opening import Opening, read_opening
from paiid.stream.origin import check_origin
from paiid.stream.service import StreamService
from paiid.stream.sinks import CONNECTION, Connection, WebSocketSink
from paiid.stream.views import connection_view, error_view, pong_view

_WHO = 'Say who you are first: {"type":"auth","ticket":"..."}.'


async def open_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket to its end, at any of our addresses."""
    REQUEST_ID.set(scope.get("request_id"))
    await receive()
    streams: StreamService = scope["app"].state.streams
    try:
        streams.clients.refuse_while_draining()
        check_origin(scope["headers"], streams.origins)
        opening = read_opening(scope["path"], scope["query_string"])
        known = await streams.credentials.of_handshake(scope["headers"], scope["subprotocols"])
        await _Socket(streams, scope, receive, send, opening).serve(known)
    except Problem as problem:
        await refuse_socket(send, problem, scope.get("request_id"))
    except DatabaseUnavailable:
        away = Problem(Code.DATABASE_UNAVAILABLE, "The database cannot be reached; try again in a moment.")
        await refuse_socket(send, away, scope.get("request_id"))


class _Flood:
    """How much a client says: a bucket that refills."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._level = float(MESSAGE_BURST)
        self._at_s = clock.monotonic_s()

    def takes(self) -> bool:
        """Whether one more message is within bounds."""
        now_s = self._clock.monotonic_s()
        self._level = min(float(MESSAGE_BURST), self._level + (now_s - self._at_s) * MESSAGES_A_SECOND)
        self._at_s = now_s
        if self._level < 1:
            return False
        self._level -= 1
        return True


class _Socket:
    """One WebSocket. Problems before it is accepted go to the caller of `serve`."""

    def __init__(
        self, streams: StreamService, scope: Scope, receive: Receive, send: Send, opening: Opening
    ) -> None:
        self._streams = streams
        self._clock = streams.clock
        self._scope = scope
        self._receive = receive
        self._send = send
        self._opening = opening
        self._connection: Connection = scope["extensions"][CONNECTION]
        self._address: str = scope.get("client_address", "unknown")
        self._flood = _Flood(streams.clock)
        self._bad = 0

    async def serve(self, known: Known | None) -> None:
        """To its end. Raises Problem (429, 503) before it is accepted."""
        clients = self._streams.clients
        if known is None:
            with clients.waiting(self._address):
                await self._accept()
                known = await self._wait_for_credential()
            if known is not None:
                await self._serve_late(known)
            return
        with clients.reserved(known.principal.user_id):
            await self._accept()
            client = self._enter(known)
        await self._talk(client)

    async def _serve_late(self, known: Known) -> None:
        """It said who it is by a message, so what is refused is told by messages."""
        try:
            with self._streams.clients.reserved(known.principal.user_id):
                client = self._enter(known)
        except Problem as problem:
            draining = problem.code is Code.SHUTTING_DOWN
            word = "draining" if draining else "too_many_sockets"
            await self._dismiss(Closing.RESTART if draining else Closing.TOO_MANY, word, problem.detail)
            return
        await self._talk(client)

    async def _accept(self) -> None:
        accept: Message = {"type": "websocket.accept"}
        if PROTOCOL in self._scope["subprotocols"]:
            accept["subprotocol"] = PROTOCOL
        await self._send(accept)

    def _enter(self, known: Known) -> Client:
        self._scope["user_id"] = known.principal.user_id
        sink = WebSocketSink(self._connection, "batches" if self._opening.batch else "frames")
        return self._streams.clients.enter("websocket", known, self._address, sink)

    # -- before it is known whose it is -------------------------------------------------------------

    async def _wait_for_credential(self) -> Known | None:
        """Whoever says so in time; None after the socket was closed."""
        try:
            async with asyncio.timeout(self._streams.timings.auth_within_s):
                message = await self._receive()
        except TimeoutError:
            await self._dismiss(Closing.UNAUTHENTICATED, "auth_required", _WHO)
            return None
        if message["type"] == "websocket.disconnect":
            return None
        try:
            said = read_message(_text(message))
            if not isinstance(said, Authenticate):
                raise BadMessage("auth_required", _WHO, id=said.id)
            return await self._streams.credentials.of_message(said)
        except BadMessage as bad:
            await self._dismiss(Closing.UNAUTHENTICATED, bad.code, bad.message, bad.id)
        except Problem as problem:
            code = Closing.FORBIDDEN if problem.code.status == 403 else Closing.UNAUTHENTICATED
            await self._dismiss(code, problem.code.slug.replace("-", "_"), problem.detail)
        except DatabaseUnavailable:
            await self._dismiss(
                Closing.TRY_LATER, "unavailable", "The database cannot be reached; try again in a moment."
            )
        return None

    async def _dismiss(self, code: int, word: str, why: str, id: Id = None) -> None:
        view = error_view(BadMessage(word, why, id=id), self._clock.now_us())
        await self._send({"type": "websocket.send", "text": encode(view).decode()})
        self._connection.end(code, word)

    # -- the conversation ---------------------------------------------------------------------------

    async def _talk(self, client: Client) -> None:
        streams = self._streams
        try:
            self._welcome(client)
            wishes = self._opening.wishes(client.principal, streams.indices)
            await streams.subscriptions.begin(client, wishes)
            while not client.ended:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    return
                if not self._flood.takes():
                    why = f"At most {MESSAGE_BURST} messages at once and {MESSAGES_A_SECOND * 10:g} in 10 s."
                    self._end(client, Closing.TOO_MANY, "too_many_messages", why)
                    return
                await self._answer(client, message)
        finally:
            streams.clients.leave(client)

    def _welcome(self, client: Client) -> None:
        view = connection_view(client, self._streams.feed_state(), self._clock.now_us())
        self._streams.clients.tell(client, view)

    async def _answer(self, client: Client, message: Message) -> None:
        try:
            await self._do(client, _text(message))
        except BadMessage as bad:
            self._tell(client, bad)
            if bad.code == "binary":
                self._streams.clients.end(client, Closing.BINARY, bad.code)
                return
            self._bad += 1
            if self._bad > BAD_MESSAGES:
                why = f"More than {BAD_MESSAGES} messages could not be understood; see docs/streams.md."
                self._end(client, Closing.POLICY, "too_many_errors", why)

    async def _do(self, client: Client, text: str) -> None:
        said = read_message(text)
        if isinstance(said, Ping):
            self._streams.clients.tell(client, pong_view(said.id, self._clock.now_us()))
        elif isinstance(said, Subscribe):
            await self._streams.subscriptions.subscribe(client, said)
        elif isinstance(said, Unsubscribe):
            await self._streams.subscriptions.unsubscribe(client, said)
        else:
            await self._renew(client, said)

    async def _renew(self, client: Client, said: Authenticate) -> None:
        """Another credential of the same user; the stream then ends with that one."""
        try:
            known = await self._streams.credentials.of_message(said)
        except Problem as problem:
            word = problem.code.slug.replace("-", "_")
            raise BadMessage(word, problem.detail, id=said.id) from None
        except DatabaseUnavailable:
            why = "The database cannot be reached; send this again in a moment."
            self._tell(client, BadMessage("unavailable", why, id=said.id))
            return
        if known.principal.user_id != client.principal.user_id:
            raise BadMessage("other_user", "That is another user; open another socket for him.", id=said.id)
        client.known, client.told_of_expiry = known, False
        self._welcome(client)

    def _tell(self, client: Client, bad: BadMessage) -> None:
        self._streams.clients.tell(client, error_view(bad, self._clock.now_us()))

    def _end(self, client: Client, code: int, word: str, why: str) -> None:
        self._tell(client, BadMessage(word, why))
        self._streams.clients.end(client, code, word)


def _text(message: dict[str, Any] | Message) -> str:
    """Raises BadMessage for a binary one."""
    text = message.get("text")
    if not isinstance(text, str):
        raise BadMessage("binary", "Messages are JSON texts; binary ones are not read.")
    return text
