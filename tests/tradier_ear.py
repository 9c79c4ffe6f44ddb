"""A raw client of the simulated Tradier's market stream, which shows what is on the wire."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.tradier_markets_world import PATIENCE_S, MarketsWorld


class Ear:
    """A client of the WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, message: Any) -> None:
        """Send a payload, or a text as it is."""
        await self.socket.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def frame(self) -> str:
        """The next frame."""
        async with asyncio.timeout(PATIENCE_S):
            frame = await self.socket.recv()
        assert isinstance(frame, str)
        return frame

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        told: dict[str, Any] = json.loads(await self.frame())
        return told

    async def next(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next message of this type with these fields, others left aside."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                told = await self.hear()
                if told.get("type") == kind and all(told[name] == one for name, one in fields.items()):
                    return told

    async def error(self) -> str:
        """The text of the next message, which is an error."""
        told = await self.hear()
        assert list(told) == ["error"], told
        text: str = told["error"]
        return text

    async def next_error(self) -> str:
        """The text of the next error, messages of the market left aside."""
        while True:
            told = await self.hear()
            if "error" in told:
                return str(told["error"])

    async def is_closed(self) -> bool:
        """Whether the server has closed, once all has been read."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await self.socket.recv()
                except ConnectionClosed:
                    return True


@asynccontextmanager
async def connected(world: MarketsWorld) -> AsyncIterator[Ear]:
    """A client that has said nothing yet."""
    url = str(world.client.base_url).replace("http", "ws").rstrip("/") + "/v1/markets/events"
    async with connect(url, proxy=None, max_size=None, compression=None) as socket:
        yield Ear(socket)


@asynccontextmanager
async def hearing(
    world: MarketsWorld, *symbols: str, events: Sequence[str] = (), **more: Any
) -> AsyncIterator[Ear]:
    """A client that hears these symbols; AAPL if none is named."""
    payload: dict[str, Any] = {
        "symbols": list(symbols) or ["AAPL"],
        "sessionid": await world.session(),
        **more,
    }
    if events:
        payload["filter"] = list(events)
    async with connected(world) as ear:
        await ear.say(payload)
        yield ear
