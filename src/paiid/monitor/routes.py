"""The webhook that GitHub calls, and what it told."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import ClientDisconnect

from paiid.auth.access import client_of, may
from paiid.core.json import encode
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import Principal
from paiid.monitor.service import EVENTS, Incoming, MonitorService
from paiid.monitor.views import MonitorViews

router = APIRouter(prefix="/api", tags=["monitor"])
_HEADERS = ("x-hub-signature-256", "x-hub-signature", "x-github-event", "x-github-delivery", "content-type", "content-encoding")  # fmt: skip
_BODY = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
}
Reader = Annotated[Principal, Depends(may("read"))]
Name = Annotated[
    str | None,
    Query(
        max_length=201, pattern=r"^([A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}|-)$", description="owner/name"
    ),
]


def _views(request: Request) -> MonitorViews:
    views: MonitorViews = request.app.state.monitor_views
    return views


def _json(value: Any) -> Response:
    return Response(encode(value), headers={"cache-control": "no-store"}, media_type="application/json")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise Problem(Code.INVALID_REQUEST, "The connection ended before the body did.") from None


@router.post("/github/webhook", summary="GitHub's webhook", openapi_extra=_BODY)
@router.post("/monitor/webhook", include_in_schema=False)
async def webhook(request: Request) -> Response:
    """Signed by the secret in `X-Hub-Signature-256` over exactly the bytes of the body; content type application/json. 200:
    taken, `kept` says whether as an event. 409 `delivery-taken`: taken already. 401: not signed by this secret."""
    service: MonitorService = request.app.state.monitor
    length = request.headers.get("content-length")
    incoming = Incoming(
        {name: found for name in _HEADERS if (found := request.headers.getlist(name))},
        client_of(request).throttle_key,
        # The edge has seen to it that it is a number.
        None if length is None else int(length),
        _chunks(request),
    )
    return _json(await service.take(incoming))


@router.get("/monitor/repository", summary="Repositories as GitHub's events tell them")
async def repositories(
    request: Request,
    user: Reader,
    repository: Name = None,
    after: Annotated[str | None, Query(max_length=201, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> Response:
    """Counts since the webhook was set up; what is open, checked and deployed as far as events of the last 90 days tell."""
    shown, following = await _views(request).repositories(repository, after or "", limit)
    return _json({"data": shown, "next": following})


@router.get("/monitor/events", summary="Events of repositories, newest first")
async def events(
    request: Request,
    user: Reader,
    repository: Name = None,
    event: Annotated[str | None, Query(pattern=f"^({'|'.join(sorted(EVENTS))})$")] = None,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """In the order of GitHub's own times; `next` is null on the last page."""
    shown, following = await _views(request).events(repository or "", event or "", after, limit)
    return _json({"data": shown, "next": following})
