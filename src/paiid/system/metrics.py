"""The route that Prometheus asks, and what is left of each broker's budget of requests for the health page."""

import ipaddress
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from paiid.auth.access import may
from paiid.wires.governor import Governor, Priority

router = APIRouter(tags=["health"])
_READER = may("read")
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
"""Whoever is not asking himself has one of these."""


def budgets_of(governors: Sequence[Governor]) -> list[dict[str, Any]]:
    """What `/detailed` tells of them. `left_for_orders` is what an order that opens a position may still take."""
    return [
        {
            "name": one.name,
            "limit": one.limit,
            "left": one.left,
            "left_for_orders": one.left_for(Priority.ENTRY),
            "waiting": one.waiting,
            "refused": sum(counts.refused for counts in one.counts.values()),
        }
        for one in governors
    ]


def governors_of(request: Request) -> list[Governor]:
    """Those of this process; none where nothing has been asked of a broker outside."""
    governors = getattr(request.app.state, "governors", None)
    return [] if governors is None else governors.all()


# For a program that knows its format, and with a rule of its own for who may ask: it is not in the description.
@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Text format 0.0.4. Needs a bearer token with the scope read; a program on this machine needs none, unless it asks for somebody else."""
    if "authorization" in request.headers or not _asks_for_itself(request):
        await _READER(request)
    # Whoever is never asked need not load its library.
    from paiid.system.exposition import CONTENT_TYPE, exposed

    state = request.app.state
    # A server may take requests before the service behind it stands: then there is little to tell.
    # One at a time: each has the event loop for milliseconds, and whoever may ask once may ask a thousand times.
    async with state.scrape_turn:
        text = await exposed(list(getattr(state, "figures", ())), state.scrape_failures)
    return Response(text, headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})


def _asks_for_itself(request: Request) -> bool:
    """Whether the other end of the socket is on this machine, and no proxy that asks for somebody else."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
