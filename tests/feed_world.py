"""The whole service over market data of simulated Alpacas and Tradiers, served on a real socket, and clients that check every quote
they are sent."""

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect

from paiid.app import create_app
from paiid.brokers import Broker
from paiid.cli.httpserver import GuardedProtocol
from paiid.cli.serve import server_config
from paiid.core.clock import Clock, SystemClock
from paiid.core.settings import Settings
from paiid.core.tracing import Tracer
from paiid.domain.calendar import ExchangeHours
from paiid.domain.terms import PLAIN
from paiid.feeds import Feed
from paiid.feeds.alpaca import AlpacaDataKeys, AlpacaFeed, StreamTimings
from paiid.feeds.tradier import TradierFeed, TradierKeys, Transport
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET
from paiid.sim.alpaca.app import SimApp
from paiid.sim.alpaca.marketdata.side import DataOptions
from paiid.sim.alpaca.world import SimWish, opened
from paiid.sim.engine.books import ListedFeed
from paiid.sim.engine.market import DEEP
from paiid.sim.engine.serve import running
from paiid.sim.tradier.accounts import DEFAULT_TOKEN
from paiid.sim.tradier.app import SimApp as TradierSim
from paiid.sim.tradier.markets.late import LateClock
from paiid.sim.tradier.markets.side import MarketOptions
from paiid.sim.tradier.rate import RateLimits
from paiid.sim.tradier.world import SimWish as TradierWish
from paiid.sim.tradier.world import opened as tradier_opened
from paiid.stream.events import Place
from paiid.trading.timings import Timings
from tests.conftest import _running
from tests.stream_world import Reader
from tests.tradier_data_stage import QUICK as QUICK_TRADIER
from tests.tradier_markets_world import SEED, SetClock, markets
from tests.world import App, Client, make_settings

PATIENCE_S = 20.0
"""Only guards against hanging."""
CENT = Decimal("0.01")
QUICK_STREAM = StreamTimings(
    first_pause_s=0.03,
    longest_pause_s=0.06,
    crowded_pause_s=0.1,
    slow_pause_s=0.3,
    reply_s=1.0,
    ping_s=0.3,
    silence_s=1.2,
    confirm_s=0.3,
    polled_s=0.3,
    look_s=0.03,
)
ROOMY = Timings(send_window_s=5.0)
"""As long as a commit may take on a busy machine."""


@dataclass
class Alpaca:
    """A simulator on a socket."""

    sim: SimApp
    url: str

    def pin(self, symbol: str, price: str) -> Decimal:
        """Show this ask, a cent above the bid, until told otherwise."""
        ask = Decimal(price)
        self.sim.market.pin(symbol, ask - CENT, ask, DEEP, DEEP)
        return ask

    def fault(self, kind: str, **wish: Any) -> None:
        """Put a fault in force."""
        self.sim.faults.add({"kind": kind, **wish})

    def played(self, kind: str) -> int:
        """How often a kind of fault has been played."""
        return self.sim.faults.played.get(kind, 0)

    def heal(self) -> None:
        """No fault any more."""
        self.sim.faults.remove()

    def feed(self, clock: Clock, kind: type[AlpacaFeed] = AlpacaFeed, **options: Any) -> AlpacaFeed:
        """A feed of it with short waits."""
        stream = self.url.replace("http", "ws", 1) + "/v2/iex"
        keys = AlpacaDataKeys(DEFAULT_KEY_ID, DEFAULT_SECRET, self.url, stream, self.url)
        chosen: dict[str, Any] = {"timings": QUICK_STREAM, "request_s": 2.0} | options
        feed = kind(clock, keys, **chosen)
        feed.poll_s = 0.2
        return feed

    def settings(self) -> dict[str, Any]:
        """What makes a service use it for everything, as the environment would."""
        return {
            "testing": False,
            "broker": "alpaca",
            "market_data": "alpaca",
            "alpaca_paper_api_key": DEFAULT_KEY_ID,
            "alpaca_paper_secret_key": DEFAULT_SECRET,
            "alpaca_api_base_url": self.url,
            "alpaca_stream_url": self.url.replace("http", "ws", 1) + "/stream",
            "alpaca_data_base_url": self.url,
        }


@asynccontextmanager
async def alpaca_on(directory: Path, template: Path) -> AsyncIterator[Alpaca]:
    """A simulator with books of its own in this directory."""
    directory.mkdir(parents=True)
    shutil.copy(template, directory / "sim.db")
    wish = SimWish(directory, rate_limit=9_000, partial_fills=0.0, data=DataOptions(poll_s=0.01))
    async with opened(wish, SystemClock()) as sim, running(sim) as url:
        yield Alpaca(sim, url)


TRADIER_PACE = replace(
    QUICK_TRADIER, ping_s=0.3, silence_s=1.2, reply_s=1.0, confirm_s=0.3, polled_s=0.3, look_s=0.03, mute_s=4.0, crowded_pause_s=0.3
)  # fmt: skip
"""Of the feed in a service, whose clients wait for what comes."""
PLENTY = 50_000
"""Requests a minute: without a limit in the headers, the adapter would hold itself to Tradier's own."""


def tradier_keys(url: str) -> TradierKeys:
    """The simulator's default token."""
    return TradierKeys(DEFAULT_TOKEN, f"{url}/v1", url.replace("http", "ws", 1) + "/v1")


class SteppedClock(SetClock):
    """Time on the wall stands still between a test's steps; waiting takes as long as it takes."""

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        assert self.stands_at_us is not None
        self.stands_at_us += int(seconds * 1_000_000)
        self.ahead_s += seconds


@asynccontextmanager
async def tradier_feed_at(
    directory: Path, clock: SteppedClock, *, sandbox: bool = False, transport: Transport = "websocket"
) -> AsyncIterator[TradierFeed]:
    """A feed with short waits over the market side of a simulated Tradier at this instant, in the exchange's hours."""
    hours = ExchangeHours()
    market = ListedFeed(clock, hours, SEED)
    late = ListedFeed(LateClock(clock), hours, SEED) if sandbox else None
    limits = RateLimits.of(PLENTY)
    async with (
        markets(market, directory, clock, hours, sandbox=sandbox, delayed=late, limits=limits) as world,
        running(world.app) as url,
    ):
        yield TradierFeed(
            clock, tradier_keys(url), timings=QUICK_TRADIER, sandbox=sandbox, transport=transport
        )


class Statuses:
    """A simulator whose answers are counted, by status."""

    def __init__(self, sim: TradierSim) -> None:
        self._sim = sim
        self.counts: Counter[int] = Counter()

    def begin_stop(self) -> None:
        self._sim.begin_stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.counts[message["status"]] += 1
            await send(message)

        await self._sim(scope, receive, counting)


class ShiftedClock(SystemClock):
    """The machine's clock, as far away as a test wants it: it goes, and can be set. Time that cannot be set goes on beside it."""

    def __init__(self, at_us: int) -> None:
        self._ahead_us = at_us - super().now_us()

    def now_us(self) -> int:
        return super().now_us() + self._ahead_us

    def set(self, at_us: int) -> None:
        """From now on it is this instant."""
        self._ahead_us += at_us - self.now_us()


@dataclass
class Tradier:
    """A simulator on a socket. `statuses` counts its answers."""

    sim: TradierSim
    url: str
    directory: Path
    statuses: Counter[int]

    def pin(self, symbol: str, price: str) -> Decimal:
        """Show this ask, a cent above the bid, until told otherwise."""
        ask = Decimal(price)
        self.sim.market.pin(symbol, ask - CENT, ask, DEEP, DEEP)
        return ask

    def fault(self, kind: str, **wish: Any) -> None:
        """Put a fault in force."""
        self.sim.faults.add({"kind": kind, **wish})

    def played(self, kind: str) -> int:
        """How often a kind of fault has been played."""
        return self.sim.faults.played.get(kind, 0)

    def heal(self) -> None:
        """No fault any more."""
        self.sim.faults.remove()

    def ledger(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What it has written down so far, of one kind."""
        lines = (self.directory / "ledger.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return [one for one in entries if kind in (None, one["kind"])]

    def feed(self, clock: Clock, **options: Any) -> TradierFeed:
        """A feed of it with short waits."""
        chosen: dict[str, Any] = {"timings": TRADIER_PACE, "request_s": 2.0} | options
        feed = TradierFeed(clock, tradier_keys(self.url), **chosen)
        feed.poll_s = 0.2
        return feed

    def settings(self) -> dict[str, Any]:
        """What makes a service use it for everything, as the environment would."""
        keys = tradier_keys(self.url)
        return {
            "testing": False,
            "broker": "tradier",
            "market_data": "tradier",
            "tradier_api_key": keys.token,
            "tradier_api_base_url": keys.api_url,
            "tradier_stream_url": keys.stream_url,
        }


@asynccontextmanager
async def tradier_on(
    directory: Path, template: Path, *, clock: Clock | None = None, **wish: Any
) -> AsyncIterator[Tradier]:
    """A simulator with books of its own in this directory; `wish` is more of `SimWish`."""
    directory.mkdir(parents=True)
    shutil.copy(template, directory / "sim.db")
    pace = MarketOptions(poll_s=0.01)
    wanted = TradierWish(directory, **{"rate_limit": PLENTY, "partial_fills": 0.0, "markets": pace, **wish})
    async with tradier_opened(wanted, clock or SystemClock()) as sim:
        counted = Statuses(sim)
        async with running(counted) as url:
            yield Tradier(sim, url, directory, counted.counts)


@dataclass
class Watcher:
    """A client of the WebSocket who believes nothing: each channel must be contiguous, and each quote one."""

    connection: ClientConnection
    reader: Reader = field(default_factory=Reader)
    heard: list[dict[str, Any]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    failed: BaseException | None = None
    begun: int = 0
    """Which message said that the feed was up."""
    _newest: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def read(self) -> None:
        """Until it is closed."""
        try:
            async for text in self.connection:
                message: dict[str, Any] = json.loads(text, parse_float=Decimal)
                self.heard.append(message)
                if message["type"] == "subscription_confirmed":
                    for channel, (epoch, sequence) in message["channels"].items():
                        self.reader.subscribed(channel, Place(epoch, sequence))
                if message["type"] == "market_data":
                    self._check(message)
                self.reader.take(message)
                self.news.set()
        except BaseException as error:
            self.failed = error
            raise
        finally:
            self.news.set()

    def _check(self, message: dict[str, Any]) -> None:
        quote, channel = message["data"], message["channel"]
        assert quote["bid"] > 0 or quote["ask"] > 0, "a price"
        assert not quote["bid"] > quote["ask"] > 0, "not crossed"
        assert quote["source"] == message["source"] != "simulated"
        before = self._newest.get(channel)
        if before is not None and before["source"] == quote["source"] and not quote["stale"]:
            assert quote["as_of"] >= before["as_of"], "not backward"
        self._newest[channel] = quote

    def forget_times(self) -> None:
        """A clock has been set: what comes may name an earlier time."""
        self._newest.clear()

    async def until(self, fits: Callable[[dict[str, Any]], Any], since: int = 0) -> dict[str, Any]:
        """The first message behind this many that fits, waiting for it."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for message in self.heard[since:]:
                    since += 1
                    if fits(message):
                        return message
                if self.failed is not None:
                    raise self.failed
                self.news.clear()
                await self.news.wait()

    async def quote(self, symbol: str, fits: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """A quote that fits, from now on."""
        channel = f"quotes:{symbol}"
        found = await self.until(
            lambda one: one.get("channel") == channel and one["type"] == "market_data" and fits(one["data"]),
            len(self.heard),
        )
        quote: dict[str, Any] = found["data"]
        return quote

    async def feed(self, status: str, since: int | None = None, **more: Any) -> dict[str, Any]:
        """The feed's state once it is this, behind so many messages or since it was first up."""

        def is_it(message: dict[str, Any]) -> bool:
            if message.get("channel") != "feed":
                return False
            told = message["data"]["feed"]
            return told["status"] == status and all(told[name] == value for name, value in more.items())

        state: dict[str, Any] = (await self.until(is_it, self.begun if since is None else since))["data"][
            "feed"
        ]
        return state


class FeedWorld:
    """A running service behind a real socket, and its owner."""

    def __init__(self, app: App, owner: Client, port: int) -> None:
        self.app, self.owner, self.port = app, owner, port

    async def get(self, path: str) -> Any:
        """A JSON answer, with exact numbers."""
        answer = await self.owner.get(path)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.content, parse_float=Decimal)

    async def rest_quote(self, symbol: str) -> dict[str, Any]:
        """The quote as REST tells it."""
        (quote,) = await self.get(f"/api/market/quotes?symbols={symbol}")
        found: dict[str, Any] = quote
        return found

    async def counts(self) -> dict[str, int]:
        """What the owner is told of filtered quotes."""
        found: dict[str, int] = (await self.get("/api/stream/status"))["counts"]
        return found

    async def order(self, account: str, **wish: Any) -> dict[str, Any]:
        """An order as it comes out of the call."""
        order = {"symbol": "AAPL", "side": "buy", "qty": 1} | wish
        answer = await self.owner.execute(order, account=account)
        assert answer.status_code in (200, 202), answer.text
        found: dict[str, Any] = answer.json()["orders"][0]
        return found

    async def account(self, broker: str) -> str:
        """The id of the owner's account there, once it is compared."""

        async def found() -> str | None:
            rows = await self.get("/api/accounts")
            mine = [one["id"] for one in rows if one["broker"] == broker]
            return mine[0] if mine else None

        account: str = await self.until(found)
        if broker != "paper":

            async def compared() -> Any:
                return (await self.get(f"/api/account?account={account}"))["reconciled_at"]

            await self.until(compared)
        return account

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Wait for what must come."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await holds()):
                await asyncio.sleep(0.02)
            return found

    @asynccontextmanager
    async def watching(self, *symbols: str) -> AsyncIterator[Watcher]:
        """A client who hears these symbols, and the feed."""
        address = f"ws://127.0.0.1:{self.port}/api/stream/prices?symbols={','.join(symbols)}"
        headers = {"Authorization": f"Bearer {self.owner.token}"}
        async with connect(address, additional_headers=headers, proxy=None, compression=None) as connection:
            watcher = Watcher(connection)
            task = asyncio.create_task(watcher.read())
            try:
                for symbol in symbols:
                    await watcher.until(
                        lambda one, channel=f"quotes:{symbol}": one.get("channel") == channel  # type: ignore[misc]
                    )
                up = await watcher.until(
                    lambda one: one.get("channel") == "feed" and one["data"]["feed"]["status"] == "up"
                )
                watcher.begun = watcher.heard.index(up)
                yield watcher
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def agree(self, watcher: Watcher, symbol: str, ask: Decimal) -> None:
        """The newest price that is streamed must become this one, and be what REST tells."""
        await watcher.quote(symbol, lambda quote: quote["ask"] == ask and not quote["stale"])

        async def told() -> bool:
            rest = await self.rest_quote(symbol)
            return rest["ask"] == ask and not rest["stale"]

        await self.until(told)
        assert watcher.reader.newest[f"quotes:{symbol}"]["ask"] == ask


@asynccontextmanager
async def served_for_real(app: App) -> AsyncIterator[int]:
    """The app with its own streams behind a socket; the port."""
    config = server_config(app.application, GuardedProtocol)
    config.lifespan, config.host, config.port, config.loop = "off", "127.0.0.1", 0, "none"
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        app.state.streams.begin_draining()
        await server.shutdown()


@asynccontextmanager
async def feed_world(
    database_url: str,
    directory: Path,
    *,
    feed: Feed | None = None,
    clock: Clock | None = None,
    wrap_broker: Callable[[Broker], Broker] | None = None,
    tracer: Tracer | None = None,
    **settings: Any,
) -> AsyncIterator[FeedWorld]:
    """The service over this feed, or over what the settings name."""
    chosen: Settings = make_settings(database_url, directory, **settings)
    application: FastAPI = create_app(
        chosen,
        feed=feed,
        clock=clock,
        timings=ROOMY,
        paper_terms=PLAIN,
        wrap_broker=wrap_broker,
        tracer=tracer,
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_running(application))
        app = await stack.enter_async_context(App(application, chosen))
        port = await stack.enter_async_context(served_for_real(app))
        yield FeedWorld(app, await app.owner(), port)


@asynccontextmanager
async def brisk(url: str, directory: Path, tradier: Tradier, **feed: Any) -> AsyncIterator[FeedWorld]:
    """The service with its built-in paper broker, over a feed of Tradier with short waits, whose quotes are good for a second: its own
    30 s would be a long test."""
    clock = SystemClock()
    made = tradier.feed(clock, **feed)
    made.resend_interval_s = 1.0
    async with feed_world(url, directory / "data", feed=made, clock=clock) as world:
        yield world
