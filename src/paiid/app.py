"""The composition root: every part made by a plain constructor call, started and ended in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI

from paiid import __version__
from paiid.accounts.routes import router as accounts_router
from paiid.accounts.service import AccountService
from paiid.auth.routes import routers as auth_routers
from paiid.auth.service import AuthService
from paiid.brokers import Broker
from paiid.brokers.paper import PaperBroker
from paiid.core.accounting import Accounting
from paiid.core.application import Application
from paiid.core.clock import Clock, SystemClock, new_id
from paiid.core.db import Database, make_database
from paiid.core.direct import Direct, direct_routes
from paiid.core.docs import install as install_docs
from paiid.core.failpoints import Probe, no_probe
from paiid.core.leases import Leases
from paiid.core.limits import RateLimiter
from paiid.core.middleware import Edge
from paiid.core.problems import install as install_problems
from paiid.core.settings import Settings
from paiid.domain.calendar import MarketHours, hours_of
from paiid.feeds import Feed
from paiid.feeds.simulated import SimulatedFeed
from paiid.market.routes import router as market_router
from paiid.market.service import MarketService
from paiid.portfolio.dayroll import DayRoll
from paiid.portfolio.routes import router as portfolio_router
from paiid.portfolio.service import PortfolioService
from paiid.system.health import Health
from paiid.system.probes import broker_probe, operator_details
from paiid.system.routes import router as health_router
from paiid.trading.desk import Desk, load_secret
from paiid.trading.halt import HaltService
from paiid.trading.halt_routes import router as halt_router
from paiid.trading.halt_sweep import Sweeper
from paiid.trading.latch import Latch
from paiid.trading.ledger import LedgerService
from paiid.trading.routes import close_router
from paiid.trading.routes import router as trading_router
from paiid.trading.timings import Timings

_log = structlog.get_logger("paiid.app")
_HOT = (("POST", "/api/trading/execute"), ("GET", "/api/market/quotes"))
"""Routes that are asked all the time (docs/performance.md)."""


def create_app(
    settings: Settings,
    *,
    broker: Broker | None = None,
    feed: Feed | None = None,
    clock: Clock | None = None,
    probe: Probe = no_probe,
    timings: Timings | None = None,
    wrap_broker: Callable[[Broker], Broker] | None = None,
) -> FastAPI:
    """The whole service. All but `settings` are for tests, which thereby need no patching; left out they are
    what the settings say. `wrap_broker` puts something between us and the broker the settings name."""
    the_clock = clock or SystemClock()
    accounting = Accounting(the_clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = Parts(settings, the_clock, accounting, broker, feed, probe, timings or Timings(), wrap_broker)
        try:
            # A start that fails half-way still ends what it has begun.
            await parts.start(app)
            yield
        finally:
            await parts.stop()

    app = Application(
        title="PaiiD",
        version=__version__,
        description="Trading backend: orders that a retry can never double, a halt that holds.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.clock = the_clock
    app.state.accounting = accounting
    hot = direct_routes((trading_router, market_router), _HOT)
    app.wrap(lambda inner: Direct(inner, routes=hot))
    app.wrap(lambda inner: Edge(inner, clock=the_clock, accounting=accounting, settings=settings))
    install_problems(app)
    install_docs(app)
    for router in (
        health_router,
        *auth_routers,
        accounts_router,
        market_router,
        trading_router,
        close_router,
        halt_router,
        portfolio_router,
    ):
        app.include_router(router)
    return app


class Parts:
    """The services of one process, and the order in which they live and die."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        accounting: Accounting,
        broker: Broker | None,
        feed: Feed | None,
        probe: Probe,
        timings: Timings,
        wrap_broker: Callable[[Broker], Broker] | None,
    ) -> None:
        self._wrap_broker = wrap_broker
        self._settings = settings
        self._clock = clock
        self._accounting = accounting
        self._broker = broker
        self._feed = feed
        self._probe = probe
        self._timings = timings
        self._stops: list[Callable[[], Awaitable[Any]]] = []

    async def start(self, app: FastAPI) -> None:
        """Open the database, wire the services, begin the background work. Raises DatabaseUnavailable."""
        settings, clock = self._settings, self._clock
        db: Database = make_database(settings.database, clock)
        await db.start()
        self._stops.append(db.stop)
        leases = Leases(db, new_id(clock, "rep"))
        hours: MarketHours = hours_of(settings.sim_hours)
        feed = self._feed or SimulatedFeed(clock, hours, settings.sim_seed)
        market = MarketService(feed, clock, hours)
        await self._run(market)
        accounts = AccountService(db, clock, settings)
        auth = AuthService(db, clock, settings, RateLimiter(clock), accounts.open_paper_account)
        await auth.start()
        self._stops.append(auth.stop)
        venue: Broker = self._broker or PaperBroker(db, clock, market.newest, hours, leases)
        if self._wrap_broker is not None:
            venue = self._wrap_broker(venue)
        await self._run(venue)
        brokers: dict[str, Broker] = {venue.name: venue}
        latch = Latch(settings.data_dir)
        secret = await load_secret(db, clock)
        desk = Desk(
            db, clock, brokers, market, accounts, latch, leases, secret,
            settings.idmp_ttl_seconds, self._timings, self._probe,
        )  # fmt: skip
        desk.start()
        self._stops.append(desk.stop)
        sweeper = Sweeper(db, clock, brokers, desk.cancels, desk.service, self._timings.broker_deadline_s)
        halts = HaltService(db, clock, latch, sweeper)
        await self._run(halts)
        dayroll = DayRoll(db, clock, market, leases)
        dayroll.start()
        self._stops.append(dayroll.stop)
        state = app.state
        state.db, state.auth, state.accounts, state.market = db, auth, accounts, market
        state.trading, state.halts, state.desk = desk.service, halts, desk
        state.ledger = LedgerService(db, accounts, desk.cancels)
        state.portfolio = PortfolioService(db, accounts, market, brokers)
        state.health = await self._health(db, desk, venue, market)

    async def _run(self, part: Any) -> None:
        await part.start()
        self._stops.append(part.stop)

    async def _health(self, db: Database, desk: Desk, venue: Broker, market: MarketService) -> Health:
        health = Health(
            db,
            self._clock,
            self._accounting,
            probes={"broker": broker_probe(db, venue)},
            gates={"trading": desk.not_ready},
            details=operator_details(db, venue, market),
        )
        await health.probe()
        task = asyncio.create_task(health.run(), name="paiid-health")

        async def stop() -> None:
            task.cancel()
            await asyncio.wait([task])

        self._stops.append(stop)
        return health

    async def stop(self) -> None:
        """End everything in the reverse order; one part that fails does not keep the others up."""
        for stop in reversed(self._stops):
            try:
                await stop()
            except Exception as error:  # noqa: BLE001 - every part must be given its chance to end
                _log.error("stop_failed", error=type(error).__name__)
