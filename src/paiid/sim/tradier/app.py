"""The composition of the simulated Tradier: one ASGI app over a venue, with its ledger, its faults, its streams and market data."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from paiid.brokers.paper import PaperBroker
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.calendar import MarketHours
from paiid.sim.engine.control import Control
from paiid.sim.engine.fault_layer import Stage
from paiid.sim.engine.faults import FaultBook
from paiid.sim.engine.held_answer import Answer
from paiid.sim.engine.later import Later
from paiid.sim.engine.ledger import Ledger, Naming
from paiid.sim.engine.market import SimMarket
from paiid.sim.engine.recorder import Recorder
from paiid.sim.tradier.account_stream import AccountStream, AccountStreamOptions
from paiid.sim.tradier.accounts import Accounts
from paiid.sim.tradier.control import TradierControl
from paiid.sim.tradier.exchange import SimOptions, TradierExchange
from paiid.sim.tradier.fault_kinds import CATALOGUE
from paiid.sim.tradier.fault_layer import TradierFaultLayer
from paiid.sim.tradier.markets.routes import market_routes
from paiid.sim.tradier.markets.side import MarketOptions, MarketSide, Quotes
from paiid.sim.tradier.markets.stream import MarketStream
from paiid.sim.tradier.routes import account_routes, fallback
from paiid.sim.tradier.wire import TradierWire, order_id_in

__all__ = ["LEDGER_FILE", "SimApp", "create_sim"]

LEDGER_FILE = "ledger.jsonl"
_DRAIN_S = 2.0
_NAMING = Naming("tag", r"/v1/accounts/[^/]+/orders")
"""Orders are named by a tag, which need not be the only one of its kind (tradier.md, section 6.8)."""


@dataclass(slots=True)
class SimApp:
    """The ASGI app with its parts, for whoever runs it and for tests that look inside."""

    exchange: TradierExchange
    market: SimMarket
    faults: FaultBook
    ledger: Ledger
    stream: AccountStream
    markets: MarketStream
    later: Later
    _app: ASGIApp = field(init=False)

    def begin_stop(self) -> None:
        """Say goodbye to everybody who listens, so that the server need not wait for them."""
        self.stream.close_all()
        self.markets.close_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """From before the first request until after the last one."""
        await self.exchange.start()
        await self.stream.start()
        self.markets.tape.start()
        try:
            yield
        finally:
            self.begin_stop()
            await self.markets.tape.stop()
            await self.markets.side.stop()
            await self.later.drain(_DRAIN_S)
            await self.exchange.stop()
            await self.stream.stop()
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
    stream_options: AccountStreamOptions | None = None,
    market_options: MarketOptions | None = None,
    delayed: Quotes | None = None,
    seed: int = 0,
    sync_ledger: bool = False,
    facts: dict[str, Any] | None = None,
) -> SimApp:
    """A simulated Tradier over this venue, which must run on `market.newest` and be started before the app is.

    The data directory holds the accounts, the register of orders and the ledger. `delayed` shows the quotes of a sandbox.
    Raises BadToken, OSError where the directory cannot be used.
    """
    options = options or SimOptions()
    accounts = Accounts(data_dir, clock)

    def secrets() -> list[str]:
        return [one.token for one in accounts.users()]

    ledger = Ledger(data_dir / LEDGER_FILE, clock, sync=sync_ledger, secrets=secrets, naming=_NAMING)
    faults = FaultBook(clock, ledger, CATALOGUE, seed=seed, cancel_latency_s=options.cancel_latency_s)
    exchange = TradierExchange(
        venue=venue, db=db, market=market, hours=hours, clock=clock, accounts=accounts, ledger=ledger,
        faults=faults, data_dir=data_dir, options=options,
    )  # fmt: skip
    stream = AccountStream(exchange, faults, stream_options or AccountStreamOptions())
    side = MarketSide(exchange, market, faults, market_options or MarketOptions(), delayed)
    markets = MarketStream(side)
    later = Later(clock)
    sim = SimApp(exchange, market, faults, ledger, stream, markets, later)
    control = Control(
        TradierControl(exchange, stream, markets, facts or {}), market, faults, ledger, later, clock
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sim.lifespan():
            yield

    inner = Starlette(
        routes=[
            *control.routes(),
            *markets.routes(),
            *market_routes(side, markets),
            *account_routes(exchange, stream),
            fallback(),
        ],
        lifespan=lifespan,
    )
    inner.router.redirect_slashes = False
    wire = TradierWire(exchange)

    async def told_fill(answer: Answer, timeout_s: float) -> bool:
        order_id = order_id_in(answer)
        return order_id is not None and await stream.told_fill(str(order_id), timeout_s)

    stage = Stage(wire, faults, market, venue, later, ledger, clock, told_fill)
    sim._app = Recorder(TradierFaultLayer(inner, stage, exchange), ledger, wire)
    return sim
