"""The market side of a simulated Tradier alone: over the simulated market at an instant of a test's choice, or over quotes in its hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from paiid.brokers.paper import PaperBroker
from paiid.core.clock import SystemClock
from paiid.core.db import make_database
from paiid.core.leases import Leases
from paiid.domain.calendar import AlwaysOpen, ExchangeHours, MarketHours, eastern_us
from paiid.sim.engine.books import ListedFeed
from paiid.sim.engine.faults import FaultBook
from paiid.sim.engine.market import BaseMarket, SimMarket
from paiid.sim.engine.serve import running
from paiid.sim.tradier.accounts import DEFAULT_TOKEN, Accounts
from paiid.sim.tradier.exchange import SimOptions, TradierExchange
from paiid.sim.tradier.fault_kinds import CATALOGUE
from paiid.sim.tradier.markets.looks import Quotes
from paiid.sim.tradier.markets.routes import market_routes
from paiid.sim.tradier.markets.side import MarketOptions, MarketSide
from paiid.sim.tradier.markets.stream import MarketStream
from paiid.sim.tradier.rate import RateLimits
from tests.paper_world import Market
from tests.sim_world import HandMarket

PATIENCE_S = 20.0
"""Only guards against hanging."""
HEADERS = {"Authorization": f"Bearer {DEFAULT_TOKEN}", "Accept": "application/json"}
SEED = 7


class SetClock(SystemClock):
    """The machine's clock, set to another instant once and again; waiting takes as long as it takes."""

    def __init__(self, at_us: int | None = None) -> None:
        self.stands_at_us = at_us
        """Where it stands still; None: it goes."""
        self.ahead_s = 0.0
        """How far the monotonic clock has been moved on."""

    def now_us(self) -> int:
        return super().now_us() if self.stands_at_us is None else self.stands_at_us

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


def eastern(day: str, at: str) -> int:
    """A minute of New York in microseconds since the epoch."""
    return eastern_us(date.fromisoformat(day), time.fromisoformat(at))


@dataclass
class Book:
    """A ledger that keeps what it is told."""

    entries: list[dict[str, Any]] = field(default_factory=list)

    def append(self, kind: str, **fields: Any) -> None:
        self.entries.append({"kind": kind, **fields})

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.entries if one["kind"] == kind]


def client_of(transport: httpx2.AsyncBaseTransport, url: str, **headers: str) -> httpx2.AsyncClient:
    """A client with the default token."""
    return httpx2.AsyncClient(
        transport=transport, base_url=url, headers={**HEADERS, **headers}, timeout=PATIENCE_S
    )


@dataclass
class App:
    """The routes as something that a server runs."""

    stream: MarketStream
    inner: Starlette

    def begin_stop(self) -> None:
        self.stream.close_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.inner(scope, receive, send)


class MarketsWorld:
    """The market side, and a client of it with the default token."""

    def __init__(self, side: MarketSide, app: App, clock: SetClock, book: Book) -> None:
        self.side, self.app, self.clock, self.book = side, app, clock, book
        self.stream = app.stream
        self.client = client_of(httpx2.ASGITransport(app=app), "http://sim")
        self.hand = Market()

    @property
    def market(self) -> SimMarket:
        return self.side.market

    async def get(self, path: str, **params: str) -> Any:
        """The JSON of an answer, its numbers as decimals."""
        answer = await self.client.get(f"/v1/markets{path}", params=params)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text, parse_float=Decimal)

    async def refused(self, path: str, **params: str) -> str:
        """The text of a 400."""
        answer = await self.client.get(f"/v1/markets{path}", params=params)
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"].startswith("text/plain")
        return answer.text

    async def quote_of(self, symbol: str, **more: str) -> Any:
        """The one quote of a symbol, which is no array."""
        return (await self.get("/quotes", symbols=symbol, **more))["quotes"]["quote"]

    async def near_call(self) -> str:
        """A call on SPY near the money that expires in a few weeks."""
        days = (await self.get("/options/expirations", symbol="SPY"))["expirations"]["date"]
        rows = (await self.get("/options/chains", symbol="SPY", expiration=days[2]))["options"]["option"]
        spot = (await self.quote_of("SPY"))["bid"]
        calls = [one for one in rows if one["option_type"] == "call"]
        found: str = min(calls, key=lambda one: abs(one["strike"] - spot))["symbol"]
        return found

    def fault(self, kind: str, **wish: Any) -> None:
        """Put a fault in force."""
        self.side.faults.add({"kind": kind, **wish})

    def show(self, bid: str, ask: str, symbol: str = "AAPL", size: int = 400) -> None:
        """The next quote; the last price is the bid."""
        self.hand.show(symbol, Decimal(bid), Decimal(size), Decimal(ask), Decimal(size))

    async def shown(self, *bids: int, symbol: str = "AAPL") -> None:
        """Show quotes one after the other, each as a tick of its own."""
        for bid in bids:
            self.show(f"{bid}.00", f"{bid}.10", symbol)
            await until(partial(self._has_told, symbol, bid))

    def _has_told(self, symbol: str, bid: int) -> bool:
        look = self.stream.tape.told(symbol)
        return look is not None and look.quote.bid == bid

    async def session(self) -> str:
        """The id of a new session."""
        answer = await self.client.post("/v1/markets/events/session")
        assert answer.status_code == 200, answer.text
        told = answer.json()["stream"]
        assert told["url"].endswith("/v1/markets/events")
        session: str = told["sessionid"]
        return session


@asynccontextmanager
async def markets(
    base: BaseMarket,
    data_dir: Path,
    clock: SetClock,
    hours: MarketHours,
    *,
    options: MarketOptions | None = None,
    sandbox: bool = False,
    null_text: bool = False,
    delayed: Quotes | None = None,
    limits: RateLimits | None = None,
) -> AsyncIterator[MarketsWorld]:
    """The market side without a socket below. The venue is there, but nobody trades, so its database is never opened."""
    market, book = SimMarket(base, partial_rate=0.0, check_sizes=True), Book()
    db = make_database(f"sqlite:///{data_dir / 'never.db'}", clock)
    faults = FaultBook(clock, book, CATALOGUE)
    exchange = TradierExchange(
        venue=PaperBroker(db, clock, market.newest, hours, Leases(db, "sim")),
        db=db,
        market=market,
        hours=hours,
        clock=clock,
        accounts=Accounts(data_dir, clock),
        ledger=book,
        faults=faults,
        data_dir=data_dir,
        options=SimOptions(sandbox=sandbox, null_text=null_text, limits=limits or RateLimits.of(0)),
    )
    side = MarketSide(exchange, market, faults, options or MarketOptions(poll_s=0.002), delayed)
    stream = MarketStream(side)
    app = App(stream, Starlette(routes=[*stream.routes(), *market_routes(side, stream)]))
    world = MarketsWorld(side, app, clock, book)
    stream.tape.start()
    try:
        yield world
    finally:
        await stream.tape.stop()
        await side.stop()
        await world.client.aclose()
        exchange.register.close()


@asynccontextmanager
async def simulated_at(data_dir: Path, at_us: int, **more: Any) -> AsyncIterator[MarketsWorld]:
    """Over the simulated market in the exchange's hours, at an instant at which the clock stands."""
    clock, hours = SetClock(at_us), ExchangeHours()
    async with markets(ListedFeed(clock, hours, SEED), data_dir, clock, hours, **more) as world:
        yield world


@asynccontextmanager
async def in_hand(
    data_dir: Path, *, at_us: int | None = None, hours: MarketHours | None = None, **more: Any
) -> AsyncIterator[MarketsWorld]:
    """On a real socket, over quotes that a test shows: AAPL at 99.00 to 101.00 at first. In a market that never closes, unless told
    otherwise."""
    clock = SetClock(at_us)
    hand = Market(clock=clock)  # type: ignore[arg-type]
    async with markets(HandMarket(hand), data_dir, clock, hours or AlwaysOpen(), **more) as world:
        world.hand = hand
        world.show("99.00", "101.00")
        async with (
            running(world.app) as url,
            client_of(httpx2.AsyncHTTPTransport(verify=False), url) as client,
        ):
            world.client, before = client, world.client
            await before.aclose()
            yield world


async def until(told: Callable[[], Any]) -> Any:
    """Ask until the answer is a yes of some kind; that answer."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = told()
            if isinstance(answer, Awaitable):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.005)
