"""Follows channels over one WebSocket, over every reconnection: each event once and in order, and a reset where that cannot be."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from paiid.client.errors import ApiError, SignedOut, Unreachable
from paiid.client.orders import decode, encode
from paiid.client.session import Session

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_SILENT_S = 35.0
"""Two heartbeats of the service and a bit."""
_ENDED = 4401
_FORBIDDEN = 4403
_MAX_MESSAGE = 4 << 20
_NEWS = frozenset(
    {"market_data", "position_update", "order_update", "portfolio_update", "trading_alert", "reset"}
)


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event. `type` `reset`: what was known of `channel` is void, `data` is its state anew (None where the next events are).
    `merged`: how many older ones this one stands for besides itself."""

    type: str
    channel: str
    epoch: int
    sequence: int | None
    merged: int
    source: str | None
    data: Any
    fields: Mapping[str, Any]


class Stream:
    """An async iterator of `StreamEvent`. Used with `async with` it is connected and subscribed before the body begins, so that nothing
    of what the body does is missed; without, with the first event asked for. Raises SignedOut when no session can be had any more, ApiError when the service refuses a
    channel; anything else is waited out."""

    def __init__(
        self,
        session: Session,
        channels: Sequence[str],
        resume: Mapping[str, str],
        on_reset: Callable[[StreamEvent], Awaitable[None]] | None = None,
    ) -> None:
        self._session = session
        self._channels = list(channels)
        self._places = dict(resume)
        self._on_reset = on_reset
        self._early: deque[Any] = deque()
        self._ready: ClientConnection | None = None
        self._live: ClientConnection | None = None
        self.reconnections = -1
        self.holes = 0
        """Sequences that were not contiguous, each of which made it connect anew. None is expected."""

    @property
    def places(self) -> dict[str, str]:
        """Channel to `epoch:sequence` of the last event that was handed out; keep it, and give it as `resume`."""
        return dict(self._places)

    async def __aenter__(self) -> Self:
        """Raises SignedOut, ApiError, Unreachable."""
        try:
            self._ready = await self._connect()
            while True:
                async with asyncio.timeout(_SILENT_S):
                    message = decode(await self._ready.recv())
                self._early.append(message)
                if message["type"] == "subscription_confirmed" and self._is_whole(message["channels"]):
                    return self
                if message["type"] == "error":
                    self._error(message)
        except InvalidStatus as refusal:
            await self._refused(refusal.response.status_code, bytes(refusal.response.body))
            return self
        except (OSError, InvalidHandshake, TimeoutError, ConnectionClosed) as error:
            raise Unreachable(f"the stream: {type(error).__name__}") from error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection that is there, also where the iteration was left in the middle."""
        for socket in (self._ready, self._live):
            if socket is not None:
                await socket.close()

    async def __aiter__(self) -> AsyncIterator[StreamEvent]:
        pause_s = _FIRST_PAUSE_S
        while True:
            told = False
            try:
                async with self._connected() as socket:
                    self.reconnections += 1
                    async for event in self._events(socket):
                        told, pause_s = True, _FIRST_PAUSE_S
                        if event.type == "reset" and self._on_reset is not None:
                            await self._on_reset(event)
                        yield event
            except InvalidStatus as refusal:
                await self._refused(refusal.response.status_code, bytes(refusal.response.body))
            except ConnectionClosed as closed:
                await self._closed(None if closed.rcvd is None else closed.rcvd.code)
            except (OSError, InvalidHandshake, TimeoutError, _Hole):
                pass
            if not told:
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come back at once

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[ClientConnection]:
        socket, self._ready = self._ready, None
        if socket is None:
            self._early.clear()
            socket = await self._connect()
        self._live = socket
        try:
            yield socket
        finally:
            await socket.close()

    async def _connect(self) -> ClientConnection:
        token = self._session.access_token
        if token is None:
            raise SignedOut(401, "unauthenticated", "sign in first")
        url = "ws" + self._session.base_url.removeprefix("http") + "/api/ws"
        socket = await connect(
            url,
            additional_headers={"Authorization": f"Bearer {token}"},
            compression=None,
            max_size=_MAX_MESSAGE,
            open_timeout=10,
            proxy=None,
        )
        wish = {"type": "subscribe", "channels": self._channels, "resume": self._places}
        await socket.send(encode(wish).decode())
        # Of a value only the newest comes, whatever was missed: it is counted anew from there.
        for channel in [one for one in self._places if not one.startswith("account:")]:
            del self._places[channel]
        return socket

    def _is_whole(self, confirmed: Mapping[str, Sequence[int]]) -> bool:
        """Whether everything that was asked for is in there: an address may confirm channels of its own first."""
        return all(
            any(one == wish or one.startswith(wish.partition(":")[0] + ":") for one in confirmed)
            for wish in self._channels
        )

    async def _events(self, socket: ClientConnection) -> AsyncIterator[StreamEvent]:
        while True:
            if self._early:
                message = self._early.popleft()
            else:
                async with asyncio.timeout(_SILENT_S):
                    message = decode(await socket.recv())
            kind = message["type"]
            if kind == "subscription_confirmed":
                self._confirmed(message["channels"])
            elif kind == "error":
                self._error(message)
            elif kind == "draining":
                return
            elif kind in _NEWS:
                event = self._read(message)
                if event is not None:
                    yield event

    def _confirmed(self, channels: Mapping[str, Sequence[int]]) -> None:
        for channel, (epoch, sequence) in channels.items():
            self._places.setdefault(channel, f"{epoch}:{sequence}")

    def _error(self, message: Mapping[str, Any]) -> None:
        if message.get("channel") is not None or message["code"] in ("not_found", "unknown_symbol"):
            raise ApiError(400, str(message["code"]), str(message["message"]))

    def _read(self, message: Mapping[str, Any]) -> StreamEvent | None:
        """The event, None for one that was had already. Raises _Hole."""
        event = StreamEvent(
            message["type"], message["channel"], message["epoch"], message.get("sequence"),
            message.get("merged", 0), message.get("source"), message.get("data"), message,
        )  # fmt: skip
        if event.type == "reset":
            self._reset(event)
            return event
        assert event.sequence is not None
        before = self._places.get(event.channel)
        if before is not None:
            epoch, _, sequence = before.partition(":")
            if int(epoch) == event.epoch:
                if event.sequence <= int(sequence):
                    return None
                if event.sequence != int(sequence) + 1 + event.merged:
                    self.holes += 1
                    raise _Hole
        self._places[event.channel] = f"{event.epoch}:{event.sequence}"
        return event

    def _reset(self, event: StreamEvent) -> None:
        if event.channel.endswith(":*"):
            prefix = event.channel[:-1]
            for channel in [one for one in self._places if one.startswith(prefix)]:
                del self._places[channel]
        elif event.sequence is None:
            self._places.pop(event.channel, None)
        else:
            self._places[event.channel] = f"{event.epoch}:{event.sequence}"

    async def _refused(self, status: int, body: bytes) -> None:
        """A handshake that was refused: a session may be had anew, load passes, anything else is a mistake of ours."""
        if status == 401:
            await self._renew()
        elif status not in (408, 429, 500, 502, 503, 504):
            raise ApiError(status, "refused", body.decode(errors="replace")[:500])

    async def _closed(self, code: int | None) -> None:
        if code == _ENDED:
            await self._renew()
        elif code == _FORBIDDEN:
            raise ApiError(403, "forbidden", "the right to this stream was taken away")

    async def _renew(self) -> None:
        if not await self._session.refresh(self._session.access_token):
            raise SignedOut(401, "unauthenticated", "the session has ended; sign in again")


class _Hole(Exception):
    """An event is missing between two that came."""
