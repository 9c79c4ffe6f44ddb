"""The health routes: liveness and readiness cost nothing and tell nothing that helps an attacker."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from paiid.auth.access import may
from paiid.core.instants import instant
from paiid.core.json import encode
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import Principal
from paiid.system.health import Health

router = APIRouter(prefix="/api/health", tags=["health"])
_ALIVE = b'{"alive":true}'
_READY = b'{"ready":true}'
Reader = Annotated[Principal, Depends(may("read"))]


def _health(request: Request) -> Health:
    health: Health | None = getattr(request.app.state, "health", None)
    if health is None:
        raise Problem(Code.NOT_READY, "The service is starting.")
    return health


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, {"cache-control": "no-store"}, media_type="application/json")


@router.get("", summary="The process answers")
async def health(request: Request) -> Response:
    """Never touches a dependency."""
    return _json(encode({"status": "ok", "time": instant(request.app.state.clock.now_us())}))


@router.get("/liveness", summary="The event loop turns")
async def liveness() -> Response:
    """Restart the process when this stops answering."""
    return _json(_ALIVE)


@router.get("/ready", summary="Requests may be sent here")
@router.get("/readiness", include_in_schema=False)
async def ready(request: Request) -> Response:
    """503 with a reason until the database answers and orders of an earlier run have been looked at."""
    # A server may take requests before the service behind it stands.
    found: Health | None = getattr(request.app.state, "health", None)
    reason = "the service is starting" if found is None else found.reason
    if reason is None:
        return _json(_READY)
    return _json(encode({"ready": False, "reason": reason}), 503)


@router.get("/ready/full", summary="Each dependency")
async def ready_full(request: Request) -> Response:
    """From the last probe in the background."""
    return _json(encode(_health(request).full()))


@router.get("/detailed", summary="Figures for the operator")
async def detailed(request: Request, user: Reader) -> Response:
    """Uptime, version, load, dependencies, reconciliation."""
    return _json(encode(await _health(request).detailed()))
