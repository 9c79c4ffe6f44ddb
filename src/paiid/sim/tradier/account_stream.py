"""Tradier's account stream: sessions that are good for five minutes, and the WebSocket that they open (tradier.md, sections
9.1 and 9.5)."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from paiid.sim.engine.audience import Message, Subscription
from paiid.sim.engine.connection import connection_of, taken
from paiid.sim.engine.faults import FaultBook
from paiid.sim.tradier.account_events import Events
from paiid.sim.tradier.accounts import SimUser
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.render import stamp
from paiid.sim.tradier.shapes import Told, encode

__all__ = ["AccountStream", "AccountStreamOptions"]

PATH = "/v1/accounts/events"
_GOING_AWAY = 1001
_REFUSED = 1008
_MAX_SESSIONS = 10_000


@dataclass(frozen=True, slots=True)
class AccountStreamOptions:
    """`heartbeat_s` seconds between two heartbeats; a session id opens a stream within `session_s` seconds; a socket that
    says nothing is closed after `payload_s`."""

    heartbeat_s: float = 60.0
    session_s: float = 300.0
    payload_s: float = 30.0


class AccountStream:
    """The sessions, the endpoint `/v1/accounts/events`, and who is connected to it."""

    def __init__(
        self, exchange: TradierExchange, faults: FaultBook, options: AccountStreamOptions | None = None
    ) -> None:
        self.exchange = exchange
        self.options = options or AccountStreamOptions()
        self.events = Events(exchange, faults)
        self._sessions: dict[str, tuple[SimUser, float]] = {}
        self._sockets: set[_Socket] = set()
        self._count = 0

    @property
    def connections(self) -> dict[str, int]:
        """Sockets that listen to each account."""
        return self.events.audience.counts

    @property
    def busy(self) -> dict[str, int]:
        """What is still to be told by itself."""
        return self.events.busy

    async def start(self) -> None:
        """Begin to follow the venue. Raises DatabaseUnavailable."""
        await self.events.start()

    async def stop(self) -> None:
        """End, and cut everybody off."""
        self.close_all()
        await self.events.stop()

    def close_all(self) -> None:
        """End every socket with a farewell."""
        for one in list(self._sockets):
            one.say_goodbye()

    def disconnect(self, account: str | None = None) -> int:
        """Cut the listeners of one account, or all, off; how many that were."""
        return self.events.audience.disconnect(account)

    async def caught_up(self) -> bool:
        """Whether everything the venue has booked has been told."""
        return await self.events.caught_up()

    async def told_fill(self, order_id: str, timeout_s: float) -> bool:
        """Wait until the fill of this order has been sent to all who listened; False: not in time."""
        return await self.events.told_fill(order_id, timeout_s)

    # -- sessions -----------------------------------------------------------------------------------

    async def open_session(self, exchange: TradierExchange, user: SimUser, request: Request) -> Told:
        """`POST /v1/accounts/events/session`."""
        now_s = exchange.clock.monotonic_s()
        self._sessions = {
            name: one for name, one in self._sessions.items() if now_s - one[1] < self.options.session_s
        }
        while len(self._sessions) >= _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session_id = str(uuid.UUID(bytes=exchange.clock.random_bytes(16), version=4))
        self._sessions[session_id] = (user, now_s)
        exchange.ledger.append("stream_session", account=user.accounts[0].number)
        scheme = "wss" if request.url.scheme == "https" else "ws"
        return Told({"stream": {"url": f"{scheme}://{request.url.netloc}{PATH}", "sessionid": session_id}})

    def user_of(self, session_id: object) -> SimUser | None:
        """Whose session this is, if it still opens a stream."""
        found = self._sessions.get(session_id) if isinstance(session_id, str) else None
        if found is None or self.exchange.clock.monotonic_s() - found[1] >= self.options.session_s:
            return None
        return found[0]

    # -- sockets ------------------------------------------------------------------------------------

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one socket to its end; no token is asked for, the session id is enough."""
        self._count += 1
        socket = _Socket(self, websocket, self._count)
        self._sockets.add(socket)
        try:
            await socket.serve()
        finally:
            self._sockets.discard(socket)
            socket.leave()
            self.exchange.ledger.append("stream_end", connection=socket.number)


class _Socket:
    """One client's socket."""

    def __init__(self, stream: AccountStream, websocket: WebSocket, number: int) -> None:
        self._stream = stream
        self._websocket = websocket
        self._session_id: object = None
        self._user: SimUser | None = None
        self._subscriptions: list[Subscription] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._goodbye = asyncio.Event()
        self._turn = asyncio.Lock()
        self.number = number

    def say_goodbye(self) -> None:
        """Close it in good order."""
        self._goodbye.set()

    async def serve(self) -> None:
        """Accept, and take payloads until one of the two sides ends it."""
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
        for task in self._tasks:
            task.cancel()
        for one in self._subscriptions:
            self._stream.events.audience.leave(one)
        self._tasks, self._subscriptions = [], []

    # -- what the client says -----------------------------------------------------------------------

    async def _talk(self) -> None:
        try:
            while True:
                wait_s = None if self._user is not None else self._stream.options.payload_s
                try:
                    async with asyncio.timeout(wait_s):
                        message = await self._websocket.receive()
                except TimeoutError:
                    await self._close(_REFUSED)
                    return
                if message["type"] == "websocket.disconnect":
                    return
                if not await self._take(_decoded(message)):
                    return
        except (WebSocketDisconnect, RuntimeError):
            # It went away while we were talking; RuntimeError is Starlette's word for sending after the end.
            return

    async def _take(self, said: Any) -> bool:
        """Take a payload, which replaces the one before; False where that was the end."""
        if not isinstance(said, dict):
            return await self._refuse("invalid payload", "bad_payload")
        same = self._user is not None and said.get("sessionid") == self._session_id
        user = self._user if same else self._stream.user_of(said.get("sessionid"))
        if user is None:
            return await self._refuse("invalid session id", "bad_session")
        names, left_out = _texts(said.get("events")), _texts(said.get("excludeAccounts", []))
        if not names or left_out is None:
            return await self._refuse("invalid events", "bad_payload")
        self.leave()
        self._user, self._session_id = user, said["sessionid"]
        numbers = [one.number for one in user.accounts if one.number not in left_out]
        self._stream.exchange.ledger.append(
            "stream_connect", connection=self.number, account=user.accounts[0].number, outcome="connected"
        )
        if "order" in names:
            for number in numbers:
                self._subscribe(number)
        self._tasks.append(asyncio.create_task(self._beat(), name="paiid-sim-heartbeat"))
        return True

    async def _refuse(self, words: str, outcome: str) -> bool:
        self._stream.exchange.ledger.append(
            "stream_connect", connection=self.number, account=None, outcome=outcome
        )
        await self._send({"error": words})
        await self._close(_REFUSED)
        return False

    # -- what it is told ----------------------------------------------------------------------------

    def _subscribe(self, account: str) -> None:
        connection = connection_of(self._websocket.scope)

        def cut() -> None:
            if connection is not None:
                connection.reset()
            self.say_goodbye()

        def deafen() -> None:
            if connection is not None:
                connection.deafen()

        subscription = Subscription(account, cut, deafen)
        self._subscriptions.append(subscription)
        self._stream.events.audience.join(subscription)
        self._tasks.append(asyncio.create_task(self._deliver(subscription), name="paiid-sim-socket"))

    async def _deliver(self, subscription: Subscription) -> None:
        try:
            while True:
                message: Message | None = await subscription.queue.get()
                if message is None:
                    await taken(connection_of(self._websocket.scope), self._stream.exchange.clock)
                    subscription.cut()
                    return
                await self._send(message.data)
                message.sent.set()
        except (WebSocketDisconnect, RuntimeError):
            self._stream.events.audience.leave(subscription)

    async def _beat(self) -> None:
        clock = self._stream.exchange.clock
        try:
            while True:
                await clock.sleep(self._stream.options.heartbeat_s)
                if not any(one.is_silent for one in self._subscriptions):
                    await self._send(
                        {"event": "heartbeat", "status": "active", "timestamp": stamp(clock.now_us())}
                    )
        except (WebSocketDisconnect, RuntimeError):
            return

    async def _send(self, value: Any) -> None:
        async with self._turn:
            await self._websocket.send_text(encode(value).decode())

    async def _close(self, code: int) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTED:
            try:
                await self._websocket.close(code)
            except (WebSocketDisconnect, RuntimeError):
                return


def _texts(value: Any) -> list[str] | None:
    """A list of texts; None for anything else."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return None
    return value


def _decoded(message: Any) -> Any:
    """What a frame says; None where it is no JSON."""
    text, raw = message.get("text"), message.get("bytes")
    try:
        return msgspec.json.decode(text if text is not None else raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        return None
