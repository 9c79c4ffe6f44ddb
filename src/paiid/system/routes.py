"""The health routes: liveness and readiness cost nothing and tell nothing that helps an attacker."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from paiid.auth.access import may
from paiid.core.instants import instant
from paiid.core.json import encode
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import Principal
from paiid.system.health import Health
from paiid.system.metrics import budgets_of, governors_of
from paiid.system.metrics import router as metrics_router

probes_router = APIRouter(prefix="/api/health", tags=["health"])
_ALIVE = b'{"alive":true}'
_STARTING = b'{"ready":false,"reason":"the service is starting"}'
Reader = Annotated[Principal, Depends(may("read"))]


def _health(request: Request) -> Health:
    health: Health | None = getattr(request.app.state, "health", None)
    if health is None:
        raise Problem(Code.NOT_READY, "The service is starting.")
    return health


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, {"cache-control": "no-store"}, media_type="application/json")


@probes_router.get("", summary="The process answers")
async def health(request: Request) -> Response:
    """Never touches a dependency."""
    return _json(encode({"status": "ok", "time": instant(request.app.state.clock.now_us())}))


@probes_router.get("/liveness", summary="The event loop turns")
async def liveness() -> Response:
    """Restart the process when this stops answering."""
    return _json(_ALIVE)


@probes_router.get("/ready", summary="Requests may be sent here")
@probes_router.get("/readiness", include_in_schema=False)
async def ready(request: Request) -> Response:
    """From memory. 503 with a reason while another replica would do better: the database does not answer or has an older schema,
    orders of an earlier run have not been looked at, the clock is off, the disk is full, or the process is ending."""
    # A server may take requests before the service behind it stands.
    found: Health | None = getattr(request.app.state, "health", None)
    status, body = (503, _STARTING) if found is None else found.ready()
    return _json(body, status)


@probes_router.get("/ready/full", summary="Each dependency")
async def ready_full(request: Request) -> Response:
    """From the last probe in the background."""
    return _json(encode(_health(request).full()))


@probes_router.get("/detailed", summary="Figures for the operator")
async def detailed(request: Request, user: Reader) -> Response:
    """Uptime, version, load, dependencies, reconciliation, and what is left of each broker's budget of requests."""
    found = await _health(request).detailed()
    return _json(encode({**found, "budgets": budgets_of(governors_of(request))}))


router = APIRouter()
"""All of them, with the figures for Prometheus."""
router.include_router(probes_router)
router.include_router(metrics_router)
