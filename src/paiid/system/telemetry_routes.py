"""The telemetry routes: anybody who is known tells, the owner alone reads and deletes."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from paiid.auth.access import CurrentUser, OwnerSignedIn, may, request_id_of
from paiid.core.instants import parse_instant
from paiid.core.json import StrictRoute, encode
from paiid.domain.errors import Code, Problem, invalid_field
from paiid.domain.identity import Principal
from paiid.system.telemetry import Filter, TelemetryService
from paiid.system.telemetry_bodies import MAX_TEXT, TelemetryBody
from paiid.system.telemetry_store import FOREVER_US

router = APIRouter(prefix="/api/telemetry", tags=["telemetry"], route_class=StrictRoute)
_reader = may("read")


async def _owner(request: Request) -> Principal:
    """An owner, or a token of his that may read."""
    principal = await _reader(request)
    if principal.role != "owner":
        raise Problem(Code.FORBIDDEN, "Only an owner may do this.")
    return principal


def _instant(field: str, text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    at_us = parse_instant(text)
    if at_us is None:
        raise invalid_field(
            field,
            "instant",
            "send an instant with its zone such as 2026-11-27T14:30:00Z (in an address a + is written %2B)",
        )
    return at_us


Owner = Annotated[Principal, Depends(_owner)]
Text = Annotated[str | None, Query(max_length=MAX_TEXT)]
Moment = Annotated[str | None, Query(max_length=40, description="RFC 3339, with its zone.")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next` of the page before.")]


def _filter(
    component: Text = None,
    action: Text = None,
    user: Annotated[str | None, Query(max_length=MAX_TEXT, description="A user's id.")] = None,
    since: Moment = None,
    until: Moment = None,
) -> Filter:
    return Filter(
        component or "",
        action or "",
        user or "",
        _instant("since", since, 0),
        _instant("until", until, FOREVER_US),
    )


Wanted = Annotated[Filter, Depends(_filter)]


def _service(request: Request) -> TelemetryService:
    service: TelemetryService = request.app.state.telemetry
    return service


def _json(value: Any) -> Response:
    return Response(encode(value), headers={"cache-control": "no-store"}, media_type="application/json")


@router.post("", summary="Tell what a user interface did")
async def tell(request: Request, body: TelemetryBody, user: CurrentUser) -> Response:
    """All events are kept, or none: a 422 names the first that is wrong. Who sent them is taken from the token, whatever
    they say. Values under names of secrets, and texts that look like one, are kept as `[hidden]`."""
    return _json({"stored": await _service(request).take(user, body.events)})


@router.get("/events", summary="Events, newest first")
async def list_events(
    request: Request,
    user: Owner,
    wanted: Wanted,
    after: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """For an owner. From `since` to before `until`; `next` is null on the last page."""
    shown, following = await _service(request).page(wanted, after or "", limit)
    return _json({"data": shown, "next": following})


@router.get("/stats", summary="Events by component, action, user and day")
async def stats(request: Request, user: Owner, wanted: Wanted) -> Response:
    """For an owner. The 100 most frequent values of each; `other_by_…` is the rest."""
    return _json(await _service(request).stats(wanted))


@router.get("/export", summary="All events, one JSON object a line")
async def export(request: Request, user: Owner, wanted: Wanted) -> Response:
    """For an owner; oldest first. An export that breaks off ends without the end of its transfer."""
    lines = _service(request).export(wanted)
    # A database that is away is told as such, as long as the answer has not begun.
    first = await anext(lines, b"")
    return StreamingResponse(
        _joined(first, lines),
        media_type="application/x-ndjson",
        headers={
            "cache-control": "no-store",
            "content-disposition": 'attachment; filename="telemetry.ndjson"',
        },
    )


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for more in rest:
        yield more


@router.delete("/events", summary="Delete events")
async def delete_events(
    request: Request,
    user: OwnerSignedIn,
    before: Moment = None,
    all: Annotated[bool, Query(description="true: all there are.")] = False,
) -> Response:
    """For an owner who is signed in; say `before`, or `all=true`. Audited."""
    if all == (before is not None):
        raise invalid_field("before", "missing", "say `before` an instant, or `all=true`")
    before_us = _instant("before", before, 0) if before is not None else None
    return _json({"deleted": await _service(request).delete(user, before_us, request_id_of(request))})
