"""A simulated Alpaca on a real socket, over a market in a test's hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from paiid.brokers.paper import PaperBroker
from paiid.core.clock import SystemClock
from paiid.core.db import make_database
from paiid.core.leases import Leases
from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import AlwaysOpen
from paiid.domain.corporate import CorporateAction
from paiid.domain.instruments import Instrument, is_option
from paiid.domain.occ import OptionContract
from paiid.domain.option_chain import ChainRow
from paiid.domain.quotes import Quote
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET, SIM_TERMS
from paiid.sim.alpaca.app import SimApp, create_sim
from paiid.sim.alpaca.exchange import SimOptions
from paiid.sim.alpaca.marketdata.side import DataOptions
from paiid.sim.alpaca.stream import StreamOptions
from paiid.sim.engine.market import SimMarket
from paiid.sim.engine.serve import running
from tests.paper_world import Market

PATIENCE_S = 20.0
"""Only guards against hanging."""
KEYS = {"APCA-API-KEY-ID": DEFAULT_KEY_ID, "APCA-API-SECRET-KEY": DEFAULT_SECRET}


class HandMarket:
    """What a simulator wants of a market, over quotes that a test shows."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self.bars: dict[tuple[str, Timeframe], list[Bar]] = {}

    def newest(self, symbol: str) -> Quote | None:
        return self._market.quotes.get(symbol)

    def instruments(self) -> Sequence[Instrument]:
        known = [one for one in self._market.quotes if not is_option(one)]
        return [Instrument(one, one, "stock", fractionable=True) for one in known]

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        if symbol not in self._market.quotes:
            return None
        return Instrument(symbol, symbol, "option" if is_option(symbol) else "stock", fractionable=True)

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        return ()

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        return ()

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        return {one: self._market.quotes[one] for one in symbols if one in self._market.quotes}

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        known = self.bars.get((symbol, timeframe), ())
        return [one for one in known if start_us <= one.start_us < end_us][-limit:]

    async def fetch_chain(self, symbol: str, first: date, last: date) -> Sequence[ChainRow]:
        rows: list[ChainRow] = []
        for expiration in await self.fetch_expirations(symbol):
            if first <= expiration <= last:
                contracts = await self.fetch_contracts(symbol, expiration)
                quotes = await self.fetch_quotes([one.symbol for one in contracts])
                rows += [ChainRow(one, quotes.get(one.symbol)) for one in contracts]
        return rows

    async def fetch_dividends(self, symbol: str, first: date, last: date) -> Sequence[CorporateAction]:
        return []

    async def fetch_corporate_actions(
        self, symbols: Sequence[str], ex_date: date
    ) -> Sequence[CorporateAction]:
        return ()


async def until(told: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is a yes of some kind; that answer."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await told()
            if answer:
                return answer
            await asyncio.sleep(0.01)


class Listener:
    """A client of the stream."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> Any:
        """Send a message; the next one that comes."""
        await self.socket.send(json.dumps(message))
        return await self.hear()

    async def hear(self) -> Any:
        """The next message."""
        async with asyncio.timeout(PATIENCE_S):
            return json.loads(await self.socket.recv())

    async def next(self) -> dict[str, Any]:
        """The data of the next trade update."""
        message = await self.hear()
        assert message["stream"] == "trade_updates"
        data: dict[str, Any] = message["data"]
        return data

    async def events(self, count: int) -> list[str]:
        """The names of the next updates."""
        return [(await self.next())["event"] for _ in range(count)]


class SimWorld:
    """A simulator that runs, and a client of it with the default keys. Before anything is shown, AAPL is 99.00 to
    101.00."""

    def __init__(
        self, sim: SimApp, url: str, client: httpx2.AsyncClient, market: Market, hand: HandMarket
    ) -> None:
        self.sim = sim
        self.url = url
        self.client = client
        self.market = market
        self.hand = hand

    def show(self, bid: str, ask: str, symbol: str = "AAPL") -> None:
        """The next quote."""
        size = Decimal(1_000)
        self.market.show(symbol, Decimal(bid), size, Decimal(ask), size)

    async def post(self, name: str, **fields: Any) -> httpx2.Response:
        """Submit an order: ten AAPL at the market, unless told otherwise."""
        body = {"symbol": "AAPL", "qty": "10", "side": "buy", "type": "market", "time_in_force": "day"}
        if "limit_price" in fields:
            body["type"] = "limit"
        body = {**body, "client_order_id": name, **fields}
        return await self.client.post("/v2/orders", json={k: v for k, v in body.items() if v is not None})

    async def order(self, name: str) -> dict[str, Any] | None:
        """An order by its client id, past all faults: from the venue's books."""
        answer = await self.client.get("/v2/orders:by_client_order_id", params={"client_order_id": name})
        assert answer.status_code in (200, 404), answer.text
        found: dict[str, Any] = answer.json()
        return found if answer.status_code == 200 else None

    async def booked(self, name: str) -> bool:
        """Whether the venue has an order with this client id."""
        number = self.sim.exchange.accounts.all()[0].number
        return await self.sim.exchange.venue.fetch_order(number, name, 5.0) is not None

    async def has_status(self, name: str, *statuses: str) -> dict[str, Any]:
        """The order, once it has one of these statuses."""

        async def ask() -> dict[str, Any] | None:
            found = await self.order(name)
            return found if found is not None and found["status"] in statuses else None

        found: dict[str, Any] = await until(ask)
        return found

    async def fault(self, kind: str, **wish: Any) -> dict[str, Any]:
        """Put a fault in force."""
        answer = await self.client.post("/sim/faults", json={"kind": kind, **wish})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def ledger(self, kind: str) -> list[dict[str, Any]]:
        """The entries of this kind."""
        answer = await self.client.get("/sim/ledger", params={"kind": kind, "limit": "1000"})
        entries: list[dict[str, Any]] = answer.json()["entries"]
        return entries

    async def quiesce(self) -> None:
        """Until nothing goes on by itself any more."""
        answer = await self.client.post("/sim/quiesce", json={"timeout_s": PATIENCE_S})
        assert answer.json()["quiet"], answer.text

    @asynccontextmanager
    async def listening(self, keys: dict[str, str] = KEYS) -> AsyncIterator[Listener]:
        """A client that listens to the trade updates."""
        async with self.connected() as one:
            await one.say(action="auth", key=keys["APCA-API-KEY-ID"], secret=keys["APCA-API-SECRET-KEY"])
            answer = await one.say(action="listen", data={"streams": ["trade_updates"]})
            assert answer == {"stream": "listening", "data": {"streams": ["trade_updates"]}}
            yield one

    @asynccontextmanager
    async def connected(self, **headers: str) -> AsyncIterator[Listener]:
        """A client that has said nothing yet; header names with underscores for dashes."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        url = self.url.replace("http", "ws") + "/stream"
        async with connect(url, additional_headers=more, proxy=None) as socket:
            yield Listener(socket)


@asynccontextmanager
async def simulated(
    url: str,
    data_dir: Path,
    *,
    options: SimOptions | None = None,
    stream: StreamOptions | None = None,
    data: DataOptions | None = None,
    partial_rate: float = 0.0,
    seed: int = 1,
) -> AsyncIterator[SimWorld]:
    """A simulator over the database at `url`, gone at the end."""
    async with AsyncExitStack() as stack:
        clock, hours = SystemClock(), AlwaysOpen()
        hand = Market(clock=clock)  # type: ignore[arg-type]
        bars = HandMarket(hand)
        market = SimMarket(bars, seed=seed, partial_rate=partial_rate)
        db = make_database(url, clock)
        await db.start()
        stack.push_async_callback(db.stop)
        venue = PaperBroker(db, clock, market.newest, hours, Leases(db, "sim"), terms=SIM_TERMS)
        await venue.start()
        stack.push_async_callback(venue.stop)
        hand.show("AAPL", Decimal("99.00"), Decimal(1000), Decimal("101.00"), Decimal(1000))
        sim = create_sim(
            venue=venue, db=db, market=market, hours=hours, clock=clock, data_dir=data_dir,
            options=options or SimOptions(rate_limit_per_minute=0), stream_options=stream, data_options=data,
            seed=seed,
        )  # fmt: skip
        base = await stack.enter_async_context(running(sim))
        client = await stack.enter_async_context(
            httpx2.AsyncClient(base_url=base, headers=KEYS, trust_env=False, verify=False, timeout=PATIENCE_S)
        )

        async def matches() -> bool:
            return venue.is_matching

        await until(matches)
        yield SimWorld(sim, base, client, hand, bars)
