"""A raw client of the simulator's market data stream, which shows what is on the wire."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection, connect

from tests.sim_world import KEYS, PATIENCE_S, SimWorld

AUTH = {"action": "auth", "key": KEYS["APCA-API-KEY-ID"], "secret": KEYS["APCA-API-SECRET-KEY"]}
CONNECTED = [{"T": "success", "msg": "connected"}]
AUTHENTICATED = [{"T": "success", "msg": "authenticated"}]


def refused(code: int, text: str) -> list[dict[str, Any]]:
    """An error as it arrives."""
    return [{"T": "error", "code": code, "msg": text}]


class DataListener:
    """A client in JSON, or in MessagePack."""

    def __init__(self, socket: ClientConnection, packs: bool) -> None:
        self.socket = socket
        self.packs = packs

    async def send(self, message: Any) -> None:
        """Send it as a whole frame."""
        await self.socket.send(msgpack.packb(message) if self.packs else json.dumps(message))

    async def frame(self) -> str | bytes:
        """The next frame."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.socket.recv()

    async def hear(self) -> list[dict[str, Any]]:
        """The next frame's messages."""
        frame = await self.frame()
        assert isinstance(frame, bytes) is self.packs
        told = msgpack.unpackb(frame) if isinstance(frame, bytes) else json.loads(frame)
        assert isinstance(told, list)
        return told

    async def say(self, **message: Any) -> list[dict[str, Any]]:
        """Send a message; what comes next."""
        await self.send(message)
        return await self.hear()

    async def next(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """The next messages of this type, others left aside."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found += [one for one in await self.hear() if one["T"] == kind]
        return found


@asynccontextmanager
async def greeted(
    world: SimWorld, feed: str = "sip", *, packs: bool = False, version: str = "v2", **headers: str
) -> AsyncIterator[DataListener]:
    """A client that has been greeted; header names with underscores for dashes."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    if packs:
        more["Content-Type"] = "application/msgpack"
    url = f"{world.url.replace('http', 'ws')}/{version}/{feed}"
    async with connect(url, additional_headers=more, proxy=None, max_size=None, compression=None) as socket:
        listener = DataListener(socket, packs)
        assert await listener.hear() == CONNECTED
        yield listener


@asynccontextmanager
async def subscribed(
    world: SimWorld, feed: str = "sip", *, packs: bool = False, version: str = "v2", **channels: list[str]
) -> AsyncIterator[DataListener]:
    """A client that hears these channels."""
    async with greeted(world, feed, packs=packs, version=version) as one:
        assert await one.say(**AUTH) == AUTHENTICATED
        [told] = await one.say(action="subscribe", **channels)
        assert told["T"] == "subscription"
        yield one
