"""The owner's routes for invites and for opening registration; signed in, never with an API token."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from paiid.auth.access import OwnerSignedIn, request_id_of
from paiid.auth.invite_store import Invite, Switch
from paiid.auth.invites import DEFAULT_HOURS, MOST_HOURS, Invites
from paiid.auth.service import AuthService
from paiid.core.clock import Clock
from paiid.core.instants import instant
from paiid.core.json import StrictModel, StrictRoute, encode

router = APIRouter(prefix="/api/users", tags=["users"], route_class=StrictRoute)
Id = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]
Cursor = Annotated[
    str | None,
    Query(max_length=64, pattern=r"^[A-Za-z0-9._:-]+$", description="`next` of the page before."),
]


class RegistrationBody(StrictModel):
    """Whether everybody may register."""

    open: bool


class InviteBody(StrictModel):
    """A new invite; with `email` only that address can use it."""

    email: Annotated[str, Field(max_length=255)] | None = None
    role: Literal["trader", "viewer"] = "trader"
    expires_in_hours: Annotated[int, Field(ge=1, le=MOST_HOURS)] = DEFAULT_HOURS


def _invites(request: Request) -> Invites:
    service: AuthService = request.app.state.auth
    return service.invites


def _json(value: Any, status: int = 200) -> Response:
    return Response(encode(value), status, {"cache-control": "no-store"}, media_type="application/json")


def _switch(switch: Switch) -> dict[str, Any]:
    return {
        "open": switch.on,
        "updated_at": instant(switch.updated_at),
        "updated_by": switch.updated_by,
    }


def _invite(invite: Invite, now_us: int) -> dict[str, Any]:
    return {
        "id": invite.id,
        "email": invite.email,
        "role": invite.role,
        "state": invite.state_at(now_us),
        "created_by": invite.created_by,
        "created_at": instant(invite.created_at),
        "expires_at": instant(invite.expires_at),
        "used_at": instant(invite.used_at),
        "used_by": invite.used_by,
    }


@router.get("/registration", summary="Whether everybody may register")
async def get_registration(request: Request, owner: OwnerSignedIn) -> Response:
    """Closed until an owner opens it."""
    return _json(_switch(await _invites(request).registration()))


@router.post("/registration", summary="Open or close registration")
async def set_registration(request: Request, owner: OwnerSignedIn, body: RegistrationBody) -> Response:
    """Open: whoever can reach the service can become a trader with a paper account of his own. Holds on all replicas from this answer on."""
    return _json(
        _switch(await _invites(request).open_registration(owner.actor, body.open, request_id_of(request)))
    )


@router.get("/invites", summary="All invites")
async def list_invites(
    request: Request,
    owner: OwnerSignedIn,
    after: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Newest first, without their codes; `state` is open, used, revoked or expired."""
    page, following = await _invites(request).list_invites(after or "", limit)
    clock: Clock = request.app.state.clock
    now_us = clock.now_us()
    return _json({"data": [_invite(one, now_us) for one in page], "next": following})


@router.post("/invites", status_code=201, summary="Invite somebody")
async def make_invite(request: Request, owner: OwnerSignedIn, body: InviteBody) -> Response:
    """`code` is shown in this answer and never again; it registers one user, once. 409: the address is taken, or there are 100 open ones."""
    made, code = await _invites(request).make(
        owner.actor, body.role, body.email, body.expires_in_hours, request_id_of(request)
    )
    return _json({**_invite(made, made.created_at), "code": code}, 201)


@router.delete("/invites/{invite_id}", status_code=204, summary="Revoke an invite")
async def revoke_invite(request: Request, owner: OwnerSignedIn, invite_id: Id) -> Response:
    """From this answer on nobody registers with it. 409 for one that was used."""
    await _invites(request).revoke(owner.actor, invite_id, request_id_of(request))
    return Response(status_code=204)
