"""Alpaca's WebSocket of order updates: authentication, the set that is listened to, and the frames."""

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.gate import keys_of
from paiid.sim.alpaca.hub import Hub
from paiid.sim.engine.audience import Subscription
from paiid.sim.engine.connection import connection_of, taken

__all__ = ["STREAM", "StreamOptions", "TradeStream"]

STREAM = "trade_updates"
MAX_STREAMS = 100
"""Names in one listen message."""
_NO_KEYS = 1008
_GOING_AWAY = 1001


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """`max_connections` sockets of one account at a time; `text_frames` as on live, binary ones as on paper;
    `leg_updates` tells of the legs of a spread as well as of the spread; a socket that is not authenticated within
    `auth_timeout_s` seconds is closed."""

    max_connections: int = 2
    text_frames: bool = False
    leg_updates: bool = True
    auth_timeout_s: float = 30.0


class TradeStream:
    """The endpoint `/stream`, and who is connected to it."""

    def __init__(self, exchange: Exchange, hub: Hub, options: StreamOptions) -> None:
        self._exchange = exchange
        self._hub = hub
        self.options = options
        self._slots: dict[str, int] = {}
        self._sockets: set[_Socket] = set()
        self._count = 0

    @property
    def connections(self) -> dict[str, int]:
        """Authenticated sockets of each account."""
        return dict(self._slots)

    def close_all(self) -> None:
        """End every socket with a farewell."""
        for one in list(self._sockets):
            one.say_goodbye()

    def take_slot(self, account: SimAccount) -> bool:
        """One socket more for this account; False where it has as many as it may."""
        if self._slots.get(account.number, 0) >= self.options.max_connections:
            return False
        self._slots[account.number] = self._slots.get(account.number, 0) + 1
        return True

    def give_slot(self, account: SimAccount) -> None:
        """A socket of this account is closed."""
        left = self._slots.get(account.number, 0) - 1
        if left > 0:
            self._slots[account.number] = left
        else:
            self._slots.pop(account.number, None)

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one socket to its end."""
        exchange = self._exchange
        keys = keys_of(websocket.headers)
        account = None if keys is None else exchange.accounts.find(*keys)
        self._count += 1
        told = {"connection": self._count, "account": None if account is None else account.number}
        if keys is not None and account is None:
            exchange.ledger.append("stream_connect", **told, outcome="unauthorized")
            await websocket.send_denial_response(JSONResponse({"message": "unauthorized."}, 401))
            return
        # Whose socket it is to be may not be known yet; with no slot left for anybody there is none for him.
        full = account is None and all(
            self._slots.get(one.number, 0) >= self.options.max_connections for one in exchange.accounts.all()
        )
        if full or (account is not None and not self.take_slot(account)):
            exchange.ledger.append("stream_connect", **told, outcome="too_many")
            refusal = JSONResponse({"code": 42910000, "message": "connection limit exceeded"}, 429)
            await websocket.send_denial_response(refusal)
            return
        exchange.ledger.append("stream_connect", **told, outcome="connected")
        socket = _Socket(self, exchange, self._hub, websocket, self._count, account)
        self._sockets.add(socket)
        try:
            await socket.serve()
        finally:
            self._sockets.discard(socket)
            socket.leave()
            if socket.account is not None:
                self.give_slot(socket.account)
            exchange.ledger.append("stream_end", connection=socket.number, account=socket.account_number)


class _Socket:
    """One client's socket."""

    def __init__(
        self,
        stream: TradeStream,
        exchange: Exchange,
        hub: Hub,
        websocket: WebSocket,
        number: int,
        account: SimAccount | None,
    ) -> None:
        self._stream = stream
        self._exchange = exchange
        self._hub = hub
        self._websocket = websocket
        self._packs = "msgpack" in websocket.headers.get("content-type", "")
        self._subscription: Subscription | None = None
        self._sender: asyncio.Task[None] | None = None
        self._goodbye = asyncio.Event()
        self.number = number
        self.account = account

    @property
    def account_number(self) -> str | None:
        """Whose it is; None before he has said."""
        return None if self.account is None else self.account.number

    def say_goodbye(self) -> None:
        """Close it in good order."""
        self._goodbye.set()

    async def serve(self) -> None:
        """Accept, and answer messages until one of the two sides ends it."""
        await self._websocket.accept()
        talking = asyncio.ensure_future(self._talk())
        leaving = asyncio.ensure_future(self._goodbye.wait())
        try:
            await asyncio.wait({talking, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not talking.done():
                await self._close(_GOING_AWAY)
        finally:
            for task in (talking, leaving):
                task.cancel()
            await asyncio.gather(talking, leaving, return_exceptions=True)

    def leave(self) -> None:
        """Nothing is delivered to it any more."""
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
        if self._subscription is not None:
            self._hub.audience.leave(self._subscription)
            self._subscription = None

    # -- what the client says -----------------------------------------------------------------------

    async def _talk(self) -> None:
        try:
            while True:
                wait_s = None if self.account is not None else self._stream.options.auth_timeout_s
                try:
                    async with asyncio.timeout(wait_s):
                        message = await self._websocket.receive()
                except TimeoutError:
                    await self._close(_NO_KEYS)
                    return
                if message["type"] == "websocket.disconnect":
                    return
                said = _decoded(message)
                if not await self._answer(said):
                    return
        except (WebSocketDisconnect, RuntimeError):
            # It went away while we were talking; RuntimeError is Starlette's word for sending after the end.
            return

    async def _answer(self, said: Any) -> bool:
        """Answer one message; False where that was the end."""
        action = said.get("action") if isinstance(said, dict) else None
        if action in ("auth", "authenticate"):
            return await self._authenticate(said)
        if action == "listen":
            await self._listen(said)
            return True
        await self._send({"stream": "error", "data": {"error": "unknown message"}})
        return True

    async def _authenticate(self, said: dict[str, Any]) -> bool:
        keys = said.get("data") if said["action"] == "authenticate" else said
        names = ("key_id", "secret_key") if said["action"] == "authenticate" else ("key", "secret")
        pair = [keys.get(name) if isinstance(keys, dict) else None for name in names]
        texts = [one for one in pair if isinstance(one, str)]
        account = self._exchange.accounts.find(*texts) if len(texts) == 2 else None
        outcome = "authorized" if account is not None else "unauthorized"
        if account is not None and self.account is None:
            if self._stream.take_slot(account):
                self.account = account
            else:
                outcome = "too_many"
        elif account is not None and account.number != self.account_number:
            outcome = "unauthorized"
        self._exchange.ledger.append(
            "stream_auth",
            connection=self.number,
            account=None if account is None else account.number,
            outcome=outcome,
        )
        status = "authorized" if outcome == "authorized" else "unauthorized"
        data = {"status": status, "action": "authenticate"}
        if outcome == "too_many":
            data["message"] = "connection limit exceeded"
        await self._send({"stream": "authorization", "data": data})
        if status == "authorized":
            return True
        await self._close(_NO_KEYS)
        return False

    async def _listen(self, said: dict[str, Any]) -> None:
        data = said.get("data")
        wanted = data.get("streams") if isinstance(data, dict) else None
        names = [one for one in wanted if isinstance(one, str)] if isinstance(wanted, list) else []
        self._exchange.ledger.append(
            "stream_listen",
            connection=self.number,
            account=self.account_number,
            streams=names[:MAX_STREAMS],
            authorized=self.account is not None,
        )
        if self.account is None:
            refusal = {"status": "unauthorized", "action": "listen"}
            await self._send({"stream": "authorization", "data": refusal})
            return
        listens = STREAM in names
        await self._send({"stream": "listening", "data": {"streams": [STREAM] if listens else []}})
        if not listens:
            self.leave()
        elif self._subscription is None:
            self._subscribe(self.account)

    # -- what it is told ----------------------------------------------------------------------------

    def _subscribe(self, account: SimAccount) -> None:
        connection = connection_of(self._websocket.scope)

        def cut() -> None:
            if connection is not None:
                connection.reset()
            self.say_goodbye()

        def deafen() -> None:
            if connection is not None:
                connection.deafen()

        self._subscription = Subscription(account.number, cut, deafen)
        self._hub.audience.join(self._subscription)
        self._sender = asyncio.create_task(self._deliver(self._subscription), name="paiid-sim-socket")

    async def _deliver(self, subscription: Subscription) -> None:
        try:
            while True:
                message = await subscription.queue.get()
                if message is None:
                    await self._cut(subscription)
                    return
                await self._send({"stream": STREAM, "data": message.data})
                message.sent.set()
        except (WebSocketDisconnect, RuntimeError):
            self._hub.audience.leave(subscription)

    async def _cut(self, subscription: Subscription) -> None:
        """Cut it off once what was sent before has gone out."""
        await taken(connection_of(self._websocket.scope), self._exchange.clock)
        subscription.cut()

    async def _send(self, value: Any) -> None:
        if self._packs:
            await self._websocket.send_bytes(msgspec.msgpack.encode(value))
        elif self._stream.options.text_frames:
            await self._websocket.send_text(msgspec.json.encode(value).decode())
        else:
            await self._websocket.send_bytes(msgspec.json.encode(value))

    async def _close(self, code: int) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTED:
            try:
                await self._websocket.close(code)
            except (WebSocketDisconnect, RuntimeError):
                return


def _decoded(message: Any) -> Any:
    """What a frame says, in JSON or in MessagePack; None where it is neither."""
    text, raw = message.get("text"), message.get("bytes")
    try:
        if text is not None:
            return msgspec.json.decode(text)
        if raw[:1] in (b"{", b"["):
            return msgspec.json.decode(raw)
        return msgspec.msgpack.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        return None
