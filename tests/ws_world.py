"""The whole app behind a real socket in the test's process, and WebSocket clients of the library that users have."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from paiid.cli.httpserver import GuardedProtocol
from paiid.cli.serve import server_config
from paiid.core.bus import NoBus
from paiid.core.json import encode
from paiid.market.state import FeedState
from paiid.stream.events import CatchUp, ChannelKind, Event, Place
from paiid.stream.hub import Hub
from paiid.stream.limits import StreamTimings
from paiid.stream.service import StreamService
from tests.world import App, Client

WITHIN_S = 10.0
"""How long a test waits for what must come."""
QUICK = StreamTimings(auth_within_s=30.0, watch_every_s=0.1)
"""Rights are looked at often. Who says who he is in his first message has time for it, on a busy machine too."""


class Said:
    """A provider whose events a test says."""

    def __init__(self, hub: Hub, prefix: str, kind: ChannelKind) -> None:
        self.kind: ChannelKind = kind
        self.hub, self.prefix = hub, prefix
        self.opened: set[str] = set()
        self.events: dict[str, list[Event]] = {}
        hub.register(prefix, self)

    async def open(self, name: str) -> None:
        self.opened.add(name)

    def close(self, name: str) -> None:
        self.opened.discard(name)

    def say(self, name: str, **data: Any) -> None:
        """The next event of a channel."""
        told = self.events.setdefault(name, [])
        kind = "market_data" if self.prefix == "quotes" else "order_update"
        event = Event(
            f"{self.prefix}:{name}", kind, 7, len(told) + 1, 1_800_000_000_000_000, "test", encode(data)  # type: ignore[arg-type]
        )  # fmt: skip
        told.append(event)
        if self.kind == "log":
            self.hub.append([event])
        else:
            self.hub.put(event)

    async def catch_up(self, name: str, since: Place | None) -> CatchUp:
        """All that was missed; a place of another epoch, or one not reached yet, begins anew."""
        told = self.events.get(name, [])
        here = Place(7, len(told))
        if since is not None and (since.epoch != 7 or since.sequence > len(told)):
            return CatchUp(here, "epoch", b'{"state":"all"}', told[-1:] if self.kind == "value" else ())
        if self.kind == "value":
            return CatchUp(here, None, None, told[-1:])
        return CatchUp(here, None, None, told[since.sequence :] if since else ())


class Streams:
    """A served app, its hub, and the channels a test speaks on."""

    def __init__(self, app: App, service: StreamService, hub: Hub, port: int, server: uvicorn.Server) -> None:
        self.app, self.service, self.hub, self.port, self.server = app, service, hub, port, server
        self.quotes = Said(hub, "quotes", "value")
        self.account = Said(hub, "account", "log")
        self.portfolio = Said(hub, "portfolio", "value")
        self.halts = Said(hub, "halts", "value")
        self.feed = FeedState("up", "", "simulated", 1_800_000_000_000_000, True, 7)
        self.elsewhere: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set_feed(self, status: str, reason: str = "") -> None:
        """The feed has changed."""
        self.feed = replace(self.feed, status=status, reason=reason)  # type: ignore[arg-type]
        self.service.feed_channel.changed()

    @asynccontextmanager
    async def socket(
        self, path: str = "/api/ws", token: str | None = None, **options: Any
    ) -> AsyncIterator["Socket"]:
        """An open WebSocket."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        options.setdefault("compression", None)
        async with connect(
            f"ws://127.0.0.1:{self.port}{path}", additional_headers=headers, proxy=None, **options
        ) as connection:
            yield Socket(connection)

    async def refused(
        self, path: str = "/api/ws", token: str | None = None, **options: Any
    ) -> tuple[int, str]:
        """Status and code of the problem that a handshake was answered with."""
        with pytest.raises(InvalidStatus) as refused:
            async with self.socket(path, token, **options):
                raise AssertionError("it was let in")
        response = refused.value.response
        assert response.headers["content-type"] == "application/problem+json"
        told = json.loads(response.body or b"{}")
        assert told["status"] == response.status_code
        return told["status"], told["type"].removeprefix("urn:paiid:problem:")

    @asynccontextmanager
    async def events(self, path: str, token: str | None, **headers: str) -> AsyncIterator["Events"]:
        """An open stream of server-sent events."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        async with httpx2.AsyncClient(base_url=self.url, timeout=WITHIN_S, verify=False) as http:
            async with http.stream("GET", path, headers=sent) as answer:
                yield Events(answer)


class Socket:
    """A client's side of a WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, **message: Any) -> None:
        """A message."""
        await self.connection.send(json.dumps(message))

    async def hear(self, *kinds: str, code: str | None = None) -> dict[str, Any]:
        """The next message of one of these types; what comes before it is left out."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                message: dict[str, Any] = json.loads(await self.connection.recv())
                if (not kinds or message["type"] in kinds) and code in (None, message.get("code")):
                    return message

    async def confirmed(self) -> set[str]:
        """The channels of the next confirmation."""
        return set((await self.hear("subscription_confirmed"))["channels"])

    async def closed(self) -> tuple[int, list[dict[str, Any]]]:
        """The close code, once it comes, and all that was said before."""
        heard: list[dict[str, Any]] = []
        async with asyncio.timeout(WITHIN_S):
            try:
                while True:
                    heard.append(json.loads(await self.connection.recv()))
            except ConnectionClosed as closed:
                return (1006 if closed.rcvd is None else closed.rcvd.code), heard

    async def opened(self) -> dict[str, Any]:
        """What it is told first, once its channels are confirmed."""
        first = await self.hear("connection")
        await self.hear("subscription_confirmed")
        return first


class Events:
    """A client's side of a stream of server-sent events."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def hear(self, *kinds: str) -> tuple[str | None, dict[str, Any]]:
        """The id and data of the next event of one of these types."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(WITHIN_S):
            async for line in self._lines:
                if line.startswith(":"):
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                    continue
                found, fields = fields, {}
                if found and (not kinds or found["event"] in kinds):
                    return found.get("id"), json.loads(found["data"])
        raise EOFError

    async def ended(self) -> list[dict[str, Any]]:
        """All that comes until the stream ends."""
        heard = []
        try:
            while True:
                heard.append((await self.hear())[1])
        except EOFError:
            return heard


@asynccontextmanager
async def served(
    app: App, timings: StreamTimings = QUICK, protocol: type[GuardedProtocol] = GuardedProtocol
) -> AsyncIterator[Streams]:
    """The app with streams of the test's own behind a real socket."""
    hub = Hub(app.state.clock)
    found: list[Streams] = []

    def elsewhere(user_id: str) -> int:
        return found[0].elsewhere.get(user_id, 0) if found else 0

    def state() -> FeedState:
        return found[0].feed if found else FeedState("up", "", "simulated", 1, True, 7)

    service = StreamService(
        app.state.db, app.state.clock, app.settings, hub, app.state.auth, app.state.accounts, app.state.market,
        NoBus(), feed_state=state, indices=(("S&P 500", "SPY"),), counts=lambda: {"crossed": 3},
        sockets_elsewhere=elsewhere, timings=timings,
    )  # fmt: skip
    # The app has streams of its own, of real channels; these take their place at the same addresses.
    app.state.streams = service
    await hub.start()
    await service.start()
    config = server_config(app.application, protocol)
    config.lifespan, config.host, config.port, config.loop = "off", "127.0.0.1", 0, "none"
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        streams = Streams(app, service, hub, server.servers[0].sockets[0].getsockname()[1], server)
        found.append(streams)
        yield streams
    finally:
        await service.stop()
        await hub.stop()
        await server.shutdown()


async def ticket_of(client: Client) -> str:
    """A fresh ticket."""
    answer = await client.post("/api/stream/ticket")
    assert answer.status_code == 201, answer.text
    ticket: str = answer.json()["ticket"]
    return ticket


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what must come."""
    async with asyncio.timeout(WITHIN_S):
        while not holds():
            await asyncio.sleep(0.01)
