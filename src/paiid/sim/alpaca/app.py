"""The composition of the simulator: one ASGI app over a venue, with its ledger, its faults, its streams and market data."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from paiid.brokers.paper import PaperBroker
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.calendar import MarketHours
from paiid.sim.alpaca.accounts import Accounts
from paiid.sim.alpaca.control import AlpacaControl
from paiid.sim.alpaca.exchange import Exchange, SimOptions
from paiid.sim.alpaca.fault_kinds import CATALOGUE
from paiid.sim.alpaca.gate import guarded
from paiid.sim.alpaca.hub import Hub
from paiid.sim.alpaca.marketdata.routes import data_routes
from paiid.sim.alpaca.marketdata.side import DataOptions, DataSide
from paiid.sim.alpaca.marketdata.stream import DataStream
from paiid.sim.alpaca.routes import fallback, routes
from paiid.sim.alpaca.sse import EventStream
from paiid.sim.alpaca.stream import StreamOptions, TradeStream
from paiid.sim.alpaca.wire import AlpacaWire
from paiid.sim.engine.control import Control
from paiid.sim.engine.fault_layer import FaultLayer, Stage
from paiid.sim.engine.faults import FaultBook
from paiid.sim.engine.held_answer import Answer
from paiid.sim.engine.later import Later
from paiid.sim.engine.ledger import Ledger
from paiid.sim.engine.market import SimMarket
from paiid.sim.engine.recorder import Recorder

__all__ = ["SimApp", "create_sim"]

LEDGER_FILE = "ledger.jsonl"
_DRAIN_S = 2.0


@dataclass(slots=True)
class SimApp:
    """The ASGI app with its parts, for whoever runs it and for tests that look inside."""

    exchange: Exchange
    market: SimMarket
    faults: FaultBook
    ledger: Ledger
    hub: Hub
    stream: TradeStream
    events: EventStream
    later: Later
    data: DataStream
    _app: ASGIApp = field(init=False)

    def begin_stop(self) -> None:
        """Say goodbye to everybody who listens, so that the server need not wait for them."""
        self.stream.close_all()
        self.events.close_all()
        self.data.close_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """From before the first request until after the last one."""
        await self.exchange.start()
        await self.hub.start()
        self.data.tape.start()
        try:
            yield
        finally:
            self.begin_stop()
            await self.data.tape.stop()
            await self.later.drain(_DRAIN_S)
            await self.exchange.stop()
            await self.hub.stop()
            self.ledger.close()


def create_sim(
    *,
    venue: PaperBroker,
    db: Database,
    market: SimMarket,
    hours: MarketHours,
    clock: Clock,
    data_dir: Path,
    options: SimOptions | None = None,
    stream_options: StreamOptions | None = None,
    data_options: DataOptions | None = None,
    seed: int = 0,
    sync_ledger: bool = False,
    facts: dict[str, Any] | None = None,
) -> SimApp:
    """A simulated Alpaca over this venue, which must run on `market.newest` and be started before the app is.

    The data directory holds the accounts and the ledger. Raises BadKeys, OSError where it cannot be used.
    """
    options = options or SimOptions()
    accounts = Accounts(data_dir, clock)

    def secrets() -> list[str]:
        return [text for one in accounts.all() for text in (one.secret, one.key_id)]

    ledger = Ledger(data_dir / LEDGER_FILE, clock, sync=sync_ledger, secrets=secrets)
    faults = FaultBook(clock, ledger, CATALOGUE, seed=seed, cancel_latency_s=options.cancel_latency_s)
    exchange = Exchange(
        venue=venue, db=db, market=market, hours=hours, clock=clock, accounts=accounts, ledger=ledger,
        faults=faults, options=options,
    )  # fmt: skip
    stream_options = stream_options or StreamOptions()
    hub = Hub(exchange, market, faults, legs=stream_options.leg_updates)
    later = Later(clock)
    stream = TradeStream(exchange, hub, stream_options)
    events = EventStream(hub)
    side = DataSide(exchange, market, faults, data_options or DataOptions())
    data = DataStream(side)
    sim = SimApp(exchange, market, faults, ledger, hub, stream, events, later, data)
    mine = AlpacaControl(exchange, hub, stream, data, facts or {})
    control = Control(mine, market, faults, ledger, later, clock)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sim.lifespan():
            yield

    inner = Starlette(
        routes=[
            *control.routes(),
            WebSocketRoute("/stream", stream.serve),
            *data.routes(),
            Route("/v2/events/trades", guarded(exchange, events), methods=["GET"]),
            *routes(exchange),
            *data_routes(side),
            fallback(),
        ],
        lifespan=lifespan,
    )
    inner.router.redirect_slashes = False
    wire = AlpacaWire(exchange)

    async def told_fill(answer: Answer, timeout_s: float) -> bool:
        order_id = wire.order_in(answer)
        return order_id is not None and await hub.told_fill(order_id, timeout_s)

    layer = FaultLayer(inner, Stage(wire, faults, market, venue, later, ledger, clock, told_fill))
    sim._app = Recorder(layer, ledger, wire)
    return sim
