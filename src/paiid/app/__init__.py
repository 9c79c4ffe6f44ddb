"""The composition root: the application with its routes and layers; `parts` makes and starts what is behind them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from fastapi import APIRouter, FastAPI

from paiid import __version__
from paiid.accounts.routes import router as accounts_router
from paiid.ai.routes import router as ai_router
from paiid.app.parts import Parts
from paiid.auth.routes import routers as auth_routers
from paiid.brokers import Broker
from paiid.core.accounting import Accounting
from paiid.core.application import Application
from paiid.core.clock import Clock, SystemClock
from paiid.core.direct import Direct, direct_routes
from paiid.core.docs import install as install_docs
from paiid.core.failpoints import Probe, no_probe
from paiid.core.figures import Tally
from paiid.core.middleware import Edge
from paiid.core.problems import install as install_problems
from paiid.core.settings import Settings
from paiid.core.tracing import Tracer
from paiid.domain.terms import DEFAULT_TERMS, AccountTerms
from paiid.feeds import Feed
from paiid.market.routes import router as market_router
from paiid.monitor.routes import router as monitor_router
from paiid.options.analysis_routes import router as analysis_router
from paiid.options.routes import router as options_router
from paiid.portfolio.routes import router as portfolio_router
from paiid.stream.routes import router as stream_router
from paiid.system.otel import start_traces
from paiid.system.routes import probes_router
from paiid.system.routes import router as health_router
from paiid.system.sentry import ErrorReports
from paiid.system.telemetry_routes import router as telemetry_router
from paiid.trading.halt_routes import router as halt_router
from paiid.trading.reset_routes import router as reset_router
from paiid.trading.routes import close_router
from paiid.trading.routes import router as trading_router
from paiid.trading.template_routes import router as template_router
from paiid.trading.timings import Timings

_log = structlog.get_logger("paiid.app")
_HOT = (
    ("POST", "/api/trading/execute"),
    ("GET", "/api/market/quotes"),
    ("GET", "/api/health/ready"),
)
"""Routes that are asked all the time (docs/performance.md)."""
_ROUTES = APIRouter()
"""All routes of the service. The framework works out what belongs to a route (validators, dependencies) when it is
first asked, and keeps that where the route was included: here it does so once a process, not once an application."""
for _router in (
    health_router,
    *auth_routers,
    accounts_router,
    market_router,
    options_router,
    analysis_router,
    trading_router,
    close_router,
    template_router,
    reset_router,
    halt_router,
    portfolio_router,
    stream_router,
    ai_router,
    telemetry_router,
    monitor_router,
):
    _ROUTES.include_router(_router)


def create_app(
    settings: Settings,
    *,
    broker: Broker | None = None,
    feed: Feed | None = None,
    clock: Clock | None = None,
    probe: Probe = no_probe,
    timings: Timings | None = None,
    wrap_broker: Callable[[Broker], Broker] | None = None,
    paper_terms: AccountTerms = DEFAULT_TERMS,
    tracer: Tracer | None = None,
    reports: ErrorReports | None = None,
) -> FastAPI:
    """The whole service. All but `settings` are for tests, which thereby need no patching; left out they are
    what the settings say. `wrap_broker` puts something between us and the broker the settings name; `paper_terms` are
    those of paper accounts that are opened from now on. `reports` are those of the process, to be shown among the figures.
    Raises TracesUnavailable."""
    the_clock = clock or SystemClock()
    the_tracer = tracer or start_traces(settings)
    accounting = Accounting(the_clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = Parts(
            settings,
            the_clock,
            accounting,
            broker,
            feed,
            probe,
            timings or Timings(),
            wrap_broker,
            paper_terms,
            the_tracer,
        )
        try:
            # A start that fails half-way still ends what it has begun.
            await parts.start(app)
            yield
        finally:
            await parts.stop()
            the_tracer.close()

    app = Application(
        title="PaiiD",
        version=__version__,
        description="Trading backend: orders that a retry can never double, a halt that holds.",
        lifespan=lifespan,
        routes=_ROUTES.routes,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.clock = the_clock
    app.state.accounting = accounting
    app.state.scrape_failures = Tally()
    app.state.scrape_turn = asyncio.Lock()
    app.state.reports, app.state.spans = reports, the_tracer.sent
    hot = direct_routes((trading_router, market_router, probes_router), _HOT)
    app.wrap(lambda inner: Direct(inner, routes=hot))
    app.wrap(
        lambda inner: Edge(
            inner, clock=the_clock, accounting=accounting, settings=settings, tracer=the_tracer
        )
    )
    install_problems(app)
    install_docs(app)
    return app
