"""The stream over a WebSocket: payloads come in, each in place of the one before; messages go out (tradier.md, section 9.2)."""

import asyncio
from typing import Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from paiid.sim.engine.connection import taken
from paiid.sim.tradier.markets.listener import End, Listener
from paiid.sim.tradier.markets.side import MarketSide
from paiid.sim.tradier.markets.wanted import BadPayload, Payload, payload_of_json

__all__ = ["Places", "serve"]

_NORMAL = 1000
_NO_PAYLOAD = "no payload was received"


class Places(Protocol):
    """Where clients are admitted."""

    def admit(self, listener: Listener, payload: Payload) -> bool:
        """Let a client hear what it wants; False where its session is not good, which it is told."""
        ...

    def join(self, listener: Listener, way: str) -> None:
        """A connection is open."""
        ...

    def leave(self, listener: Listener) -> None:
        """A connection has ended."""
        ...


async def serve(places: Places, side: MarketSide, websocket: WebSocket, listener: Listener) -> None:
    """Accept, and go on until one of the two sides ends it."""
    await websocket.accept()
    places.join(listener, "websocket")
    tasks = [
        asyncio.ensure_future(one)
        for one in (_talk(places, side, websocket, listener), _send_all(side, websocket, listener))
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        places.leave(listener)


async def _talk(places: Places, side: MarketSide, websocket: WebSocket, listener: Listener) -> None:
    """Read payloads until the client goes; one that says nothing is sent home."""
    loop = asyncio.get_running_loop()
    limit_s = loop.time() + side.options.payload_s
    try:
        while True:
            waits = listener.account is None and not listener.is_over
            try:
                async with asyncio.timeout_at(limit_s if waits else None):
                    message = await websocket.receive()
            except TimeoutError:
                listener.refuse(_NO_PAYLOAD, final=True)
                continue
            if message["type"] == "websocket.disconnect":
                return
            if not listener.is_over:
                _answer(places, listener, message.get("text") or message.get("bytes") or b"")
    except (WebSocketDisconnect, RuntimeError):
        # It went away while we were talking; RuntimeError is Starlette's word for reading after the end.
        return


def _answer(places: Places, listener: Listener, said: str | bytes) -> None:
    """What is no payload changes nothing."""
    try:
        payload = payload_of_json(said)
    except BadPayload as error:
        listener.refuse(str(error), final=False)
    else:
        places.admit(listener, payload)


async def _send_all(side: MarketSide, websocket: WebSocket, listener: Listener) -> None:
    try:
        while True:
            item = await listener.next()
            if isinstance(item, End):
                await _finish(side, websocket, listener, item)
                return
            await websocket.send_text(item.decode())
    except (WebSocketDisconnect, RuntimeError):
        return


async def _finish(side: MarketSide, websocket: WebSocket, listener: Listener, end: End) -> None:
    if end.cut:
        await taken(listener.connection, side.exchange.clock)
        listener.reset()
    elif websocket.application_state is WebSocketState.CONNECTED:
        await websocket.close(_NORMAL)
