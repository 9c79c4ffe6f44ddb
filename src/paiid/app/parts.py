"""What one process is made of: every part by a plain constructor call, started and ended in order."""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from fastapi import FastAPI

from paiid.accounts.service import AccountService
from paiid.app.around import Around, load_ahead
from paiid.app.operations import Operations
from paiid.app.streams import Streams
from paiid.app.wired import Wired
from paiid.auth.service import AuthService
from paiid.brokers import Broker
from paiid.brokers.configured import real_brokers
from paiid.brokers.paper import PaperBroker
from paiid.core.accounting import Accounting
from paiid.core.clock import Clock, new_id
from paiid.core.configured import configured_bus, configured_shared
from paiid.core.db import Database, make_database
from paiid.core.failpoints import Probe
from paiid.core.leases import Leases
from paiid.core.settings import Settings
from paiid.core.tasks import Background
from paiid.core.tracing import NO_TRACES, Tracer
from paiid.domain.terms import AccountTerms
from paiid.feeds import Feed
from paiid.feeds.configured import configured_feed, hours_beside
from paiid.market.board import Board
from paiid.market.demand import Demand
from paiid.market.service import MarketService
from paiid.market.upstream import Upstream
from paiid.options.chains import ChainReader
from paiid.options.given import given_by
from paiid.options.held import HeldGreeks
from paiid.options.pool import PricingPool
from paiid.options.service import OptionsService
from paiid.options.surface import SurfaceReader
from paiid.options.what_if import WhatIfService
from paiid.portfolio.dayroll import DayRoll
from paiid.portfolio.service import PortfolioService
from paiid.stream.tick_traces import TickTraces
from paiid.system.skew import Skew
from paiid.trading.desk import Desk, load_secret, load_shared_secret
from paiid.trading.environment import EnvironmentAccounts
from paiid.trading.halt import HaltService
from paiid.trading.halt_sweep import Sweeper
from paiid.trading.latch import Latch
from paiid.trading.ledger import LedgerService
from paiid.trading.reset import ResetService
from paiid.trading.stages import Stages
from paiid.trading.templates import TemplateService
from paiid.trading.timings import Timings
from paiid.wires.governor import Governors
from paiid.wires.shared_budget import SharedBudget

_log = structlog.get_logger("paiid.app")


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
        paper_terms: AccountTerms,
        tracer: Tracer = NO_TRACES,
    ) -> None:
        self._tracer = tracer
        self._paper_terms = paper_terms
        self._wrap_broker = wrap_broker
        self._settings = settings
        self._clock = clock
        self._accounting = accounting
        self._broker = broker
        self._feed = feed
        self._probe = probe
        self._timings = timings
        self._stops: list[Callable[[], Awaitable[Any]]] = []
        self._parts: list[Any] = []

    async def start(self, app: FastAPI) -> None:
        """Open the database, wire the services, begin the background work. Raises DatabaseUnavailable."""
        settings, clock = self._settings, self._clock
        await load_ahead(settings)
        db: Database = make_database(settings.database, clock)
        await db.start()
        self._stops.append(db.stop)
        leases = Leases(db, new_id(clock, "rep"))
        skew = Skew(db, clock)
        await skew.measure()
        leases.yield_while(lambda _: skew.reason() is not None)
        secret = await load_secret(db, clock)
        shared_secret = await load_shared_secret(db, secret)
        bus = configured_bus(settings, clock, shared_secret)
        await self._run(bus)
        shared = configured_shared(settings, clock, shared_secret)
        await self._run(shared)
        governors = Governors(clock, SharedBudget(clock, bus) if bus.shared else None, self._tracer)
        await self._run(governors)
        if self._feed is None:
            feed, hours = configured_feed(settings, clock, governors)
        else:
            feed, hours = self._feed, hours_beside(self._feed, settings)
        board, demand = Board(), Demand(clock)
        streams = Streams(db, clock, bus)
        if self._tracer.on:
            TickTraces(self._tracer, clock, board, streams.hub)
        upstream = Upstream(
            # One process has nobody to share the market with.
            leases if settings.on_postgres or bus.shared else None,
            clock,
            bus,
            feed,
            hours,
            board,
            demand,
            sockets=streams.sockets_by_user,
        )
        market = MarketService(feed, clock, hours, board, demand, lambda: upstream.state, shared.cache)
        await self._run(market)
        accounts = AccountService(db, clock, settings, self._paper_terms)
        auth = AuthService(db, clock, settings, shared.throttle, accounts.open_paper_account)
        await auth.start()
        self._stops.append(auth.stop)
        venue: Broker = self._broker or PaperBroker(
            db, clock, market.newest, hours, leases, terms=self._paper_terms,
            close_of=market.closing_price, actions_of=market.corporate_actions,
        )  # fmt: skip
        if self._wrap_broker is not None:
            venue = self._wrap_broker(venue)
        brokers: dict[str, Broker] = {venue.name: venue}
        for real in real_brokers(settings, clock, governors):
            brokers[real.name] = real if self._wrap_broker is None else self._wrap_broker(real)
        for one in brokers.values():
            await self._run(one)
        latch = Latch(settings.data_dir)
        templates = TemplateService(db, clock)
        desk = Desk(
            db, clock, brokers, market, accounts, latch, leases, secret,
            settings.idmp_ttl_seconds, self._timings, self._probe, templates.orders_of,
            told=streams.told, halts_changed=streams.halts.nudge, stages=Stages(clock, self._tracer),
        )  # fmt: skip
        desk.start()
        self._parts.append(desk)
        self._stops.append(desk.stop)
        environment = EnvironmentAccounts(
            db, clock, brokers, accounts, self._timings.broker_deadline_s, desk.compare_soon, streams.told
        )
        await self._run_in_background("environment", environment.run)
        sweeper = Sweeper(db, clock, brokers, desk.cancels, desk.service, self._timings.broker_deadline_s)
        halts = HaltService(db, clock, latch, sweeper, told=streams.told, changed=streams.halts.nudge)
        await self._run(halts)
        dayroll = DayRoll(db, clock, market, leases, brokers)
        dayroll.start()
        self._stops.append(dayroll.stop)
        state = app.state
        state.db, state.auth, state.accounts, state.market = db, auth, accounts, market
        state.trading, state.halts, state.desk = desk.service, halts, desk
        state.ledger = LedgerService(db, accounts, desk.cancels)
        state.templates = templates
        state.resets = ResetService(
            db, clock, accounts, brokers, self._timings.broker_deadline_s, streams.told
        )
        pool = PricingPool()
        await self._run(pool)
        given = given_by(settings)
        chains = ChainReader(market, clock, given, pool)
        state.options = OptionsService(market, clock, chains, pool)
        state.surfaces = SurfaceReader(chains, pool, state.options.answers)
        state.what_if = WhatIfService(chains, state.surfaces, pool, clock, given.rate)
        state.portfolio = PortfolioService(db, accounts, market, brokers, HeldGreeks(chains.load))
        state.streams = await streams.start(
            self._run, settings, feed, board, demand, upstream, market, auth, accounts, state.portfolio
        )
        await self._run(upstream)
        state.upstream, state.bus, state.hub, state.governors = upstream, bus, streams.hub, governors
        state.shared = shared
        state.failing = self._failing
        wired = Wired(
            settings, clock, self._accounting, db, leases, bus, shared, governors, brokers, feed, market, upstream,
            streams, desk, halts, pool, auth, accounts, state.options, state.portfolio, state.ledger, environment,
            skew,
        )  # fmt: skip
        state.health = await Operations(wired).start(self._run, state)
        await Around(wired).start(self._run, state)

    def _failing(self) -> dict[str, str]:
        """Background work that has broken just now, of every part that has some and tells of it."""
        return {name: what for part in self._parts for name, what in getattr(part, "failing", {}).items()}

    async def _run(self, part: Any) -> None:
        self._parts.append(part)
        await part.start()
        self._stops.append(part.stop)

    async def _run_in_background(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        background = Background(self._clock)
        self._parts.append(background)
        background.begin(name, work)
        self._stops.append(background.stop)

    async def stop(self) -> None:
        """End everything in the reverse order; one part that fails does not keep the others up."""
        for stop in reversed(self._stops):
            try:
                await stop()
            except Exception as error:  # noqa: BLE001 - every part must be given its chance to end
                _log.error("stop_failed", error=type(error).__name__)
