"""One client's socket of the market data stream: greeting, authentication, subscriptions, and messages in their order."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.gate import keys_of
from paiid.sim.alpaca.marketdata.channels import (
    ALREADY_AUTHENTICATED,
    AUTH_FAILED,
    AUTH_TIMEOUT,
    CONNECTION_LIMIT,
    INSUFFICIENT_SUBSCRIPTION,
    INVALID_SYNTAX,
    NOT_AUTHENTICATED,
    SLOW_CLIENT,
    Family,
    Refused,
    Subscriptions,
    changed,
)
from paiid.sim.alpaca.marketdata.side import DataSide
from paiid.sim.alpaca.marketdata.tape import Tape
from paiid.sim.alpaca.marketdata.wire import BadFrame, Tick, pack_frame, packed, read_frame
from paiid.sim.engine.connection import connection_of, taken

__all__ = ["DataSocket"]

_FRAME = 200
"""Messages of one frame at most."""
_POLICY, _GOING_AWAY = 1008, 1001
_LAST_WORDS_S = 1.0
"""How long a client has to take what was sent before its end; one that reads nothing must not keep its socket."""
_FINAL = frozenset({AUTH_TIMEOUT, CONNECTION_LIMIT, INSUFFICIENT_SUBSCRIPTION, SLOW_CLIENT})
"""Errors behind which the socket is closed. After the others a client may try again."""
_log = structlog.get_logger("paiid.sim")


class Places(Protocol):
    """Where sockets belong."""

    tape: Tape

    def has_place(self, account: SimAccount, feed: str) -> bool:
        """Whether the account may have one socket more on this feed."""
        ...


@dataclass(frozen=True, slots=True)
class _Alone:
    """A control message: it has a frame for itself, as Alpaca promises."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Noise:
    """A frame that no decoder takes."""

    text: str


@dataclass(frozen=True, slots=True)
class _End:
    """The last thing that happens on this socket: a farewell with a code, or (None) a cut."""

    code: int | None


class DataSocket:
    """One socket. `account` is None until it is authenticated."""

    def __init__(
        self, places: Places, side: DataSide, websocket: WebSocket, number: int, family: Family, feed: str
    ) -> None:
        self._places = places
        self._side = side
        self._websocket = websocket
        self._family = family
        self._packs = family.name == "options" or "msgpack" in websocket.headers.get("content-type", "")
        self._queue: deque[Tick | _Alone | _Noise | _End] = deque()
        self._news = asyncio.Event()
        self._goodbye = asyncio.Event()
        self._is_silent = False
        self._is_over = False
        self._last_resort: asyncio.TimerHandle | None = None
        self.number = number
        self.feed = feed
        self.account: SimAccount | None = None
        self.subscriptions = Subscriptions()

    @property
    def account_number(self) -> str | None:
        """Whose it is; None before he has said."""
        return None if self.account is None else self.account.number

    def say_goodbye(self) -> None:
        """Close it in good order."""
        self._goodbye.set()

    async def serve(self) -> None:
        """Accept, and go on until one of the two sides ends it."""
        await self._websocket.accept()
        self._say({"T": "success", "msg": "connected"})
        keys = keys_of(self._websocket.headers)
        if keys is not None:
            self._authenticate({"key": keys[0], "secret": keys[1]})
        work = (self._talk(), self._send_all(), self._goodbye.wait())
        tasks = [asyncio.ensure_future(one) for one in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._goodbye.is_set():
                await self._close(_GOING_AWAY)
        finally:
            if self._last_resort is not None:
                self._last_resort.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- what the client says -----------------------------------------------------------------------

    async def _talk(self) -> None:
        """Answer messages until the client goes; one that does not say who it is is sent home."""
        loop = asyncio.get_running_loop()
        limit_s = loop.time() + self._side.options.auth_timeout_s
        try:
            while True:
                waits = self.account is None and not self._is_over
                try:
                    async with asyncio.timeout_at(limit_s if waits else None):
                        message = await self._websocket.receive()
                except TimeoutError:
                    self._refuse(Refused(AUTH_TIMEOUT))
                    continue
                if message["type"] == "websocket.disconnect":
                    return
                if not self._is_over:
                    self._answer(message.get("text"), message.get("bytes"))
        except (WebSocketDisconnect, RuntimeError):
            # It went away while we were talking; RuntimeError is Starlette's word for reading after the end.
            return

    def _answer(self, text: str | None, raw: bytes | None) -> None:
        try:
            said = read_frame(text, raw, self._packs)
            action = said.get("action") if isinstance(said, dict) else None
            if action == "auth":
                self._authenticate(said)
            elif action in ("subscribe", "unsubscribe"):
                self._subscribe(said)
            else:
                raise Refused(INVALID_SYNTAX)
        except BadFrame:
            self._refuse(Refused(INVALID_SYNTAX))
        except Refused as refused:
            self._refuse(refused)

    def _authenticate(self, said: dict[str, Any]) -> None:
        try:
            account = self._admitted(said)
        except Refused as refused:
            self._side.exchange.ledger.append(
                "data_auth", connection=self.number, feed=self.feed, account=self.account_number, outcome=str(refused)
            )  # fmt: skip
            self._refuse(refused)
            return
        self.account = account
        self._side.exchange.ledger.append(
            "data_auth", connection=self.number, feed=self.feed, account=account.number, outcome="authenticated"
        )  # fmt: skip
        self._say({"T": "success", "msg": "authenticated"})
        self._places.tape.join(self)

    def _admitted(self, said: dict[str, Any]) -> SimAccount:
        """The account whose keys these are. Raises Refused."""
        if self.account is not None:
            raise Refused(ALREADY_AUTHENTICATED)
        key, secret = said.get("key"), said.get("secret")
        known = isinstance(key, str) and isinstance(secret, str)
        account = self._side.exchange.accounts.find(str(key), str(secret)) if known else None
        if account is None:
            raise Refused(AUTH_FAILED)
        if self.feed not in self._side.options.feeds:
            raise Refused(INSUFFICIENT_SUBSCRIPTION)
        fault = self._side.faults.draw("connect", account.number)
        if fault is not None:
            self._side.faults.tell(fault, account=account.number, connection=self.number)
            raise Refused(CONNECTION_LIMIT)
        if not self._places.has_place(account, self.feed):
            raise Refused(CONNECTION_LIMIT)
        return account

    def _subscribe(self, said: dict[str, Any]) -> None:
        if self.account is None:
            raise Refused(NOT_AUTHENTICATED)
        most = self._side.options.most_symbols(self.feed)
        self.subscriptions = changed(self.subscriptions, said, self._family, most)
        told = self.subscriptions.message(self._family)
        counts = {channel: len(names) for channel, names in self.subscriptions.channels.items()}
        self._side.exchange.ledger.append(
            "data_subscribe", connection=self.number, feed=self.feed, account=self.account.number, counts=counts
        )  # fmt: skip
        self._say(told)
        self._places.tape.resubscribed(self)

    # -- what it is told ----------------------------------------------------------------------------

    def hear(self, tick: Tick) -> None:
        """Send this message in its turn; a client for which too many wait is told so and cut off."""
        if self._is_silent or self._is_over:
            return
        if len(self._queue) >= self._side.options.max_queue:
            _log.warning("sim_data_client_too_slow", account=self.account_number)
            self._queue.clear()
            self._refuse(Refused(SLOW_CLIENT))
            return
        self._put(tick)

    def hear_noise(self, noise: str) -> None:
        """Send a frame that no decoder takes."""
        if not self._is_silent:
            self._put(_Noise(noise))

    def cut(self) -> None:
        """Cut the connection once all before it has been sent."""
        self._put(_End(None))

    def fall_silent(self, *, deaf: bool) -> None:
        """Stay open and say nothing any more; deaf: answer no ping either."""
        self._is_silent = True
        connection = connection_of(self._websocket.scope)
        if deaf and connection is not None:
            connection.deafen()

    def _say(self, body: dict[str, Any]) -> None:
        if not self._is_silent:
            self._put(_Alone(body))

    def _refuse(self, refused: Refused) -> None:
        self._say(refused.message)
        if refused.code in _FINAL:
            self._put(_End(_POLICY))

    def _put(self, item: Tick | _Alone | _Noise | _End) -> None:
        if self._is_over:
            return
        if isinstance(item, _End):
            self._is_over = True
            self._last_resort = asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._reset)
        self._queue.append(item)
        self._news.set()

    async def _send_all(self) -> None:
        try:
            while True:
                while not self._queue:
                    self._news.clear()
                    await self._news.wait()
                if isinstance(self._queue[0], _End):
                    await self._finish(self._queue[0].code)
                    return
                await self._send_next()
        except (WebSocketDisconnect, RuntimeError):
            return

    async def _send_next(self) -> None:
        first = self._queue.popleft()
        if isinstance(first, _Alone):
            part = packed(first.body) if self._packs else msgspec.json.encode(first.body)
            await self._send(pack_frame([part], self._packs))
        elif isinstance(first, _Noise):
            await self._send(first.text.encode())
        elif isinstance(first, Tick):
            ticks = [first]
            while self._queue and isinstance(self._queue[0], Tick) and len(ticks) < _FRAME:
                following = self._queue.popleft()
                assert isinstance(following, Tick)
                ticks.append(following)
            await self._send(pack_frame([one.encoded(self._packs) for one in ticks], self._packs))

    async def _send(self, frame: bytes) -> None:
        if self._packs:
            await self._websocket.send_bytes(frame)
        else:
            await self._websocket.send_text(frame.decode())

    async def _finish(self, code: int | None) -> None:
        if code is not None:
            await self._close(code)
            return
        await taken(connection_of(self._websocket.scope), self._side.exchange.clock)
        self._reset()

    def _reset(self) -> None:
        connection = connection_of(self._websocket.scope)
        if connection is not None:
            connection.reset()

    async def _close(self, code: int) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTED:
            try:
                await self._websocket.close(code)
            except (WebSocketDisconnect, RuntimeError):
                return
