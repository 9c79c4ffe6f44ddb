"""The owner's routes for users: list, make, change, delete; signed in, never with an API token."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from paiid.auth.access import OwnerSignedIn, request_id_of
from paiid.auth.records import User
from paiid.auth.service import AuthService
from paiid.auth.users import Users
from paiid.core.instants import instant
from paiid.core.json import StrictModel, StrictRoute, encode
from paiid.domain.errors import invalid_field
from paiid.domain.identity import Role

router = APIRouter(prefix="/api/users", tags=["users"], route_class=StrictRoute)
Id = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]
Cursor = Annotated[
    str | None,
    Query(max_length=64, pattern=r"^[A-Za-z0-9._:-]+$", description="`next` of the page before."),
]


class UserBody(StrictModel):
    """A new user; the password has 8 to 128 characters."""

    email: Annotated[str, Field(max_length=255)]
    password: Annotated[str, Field(max_length=1024, repr=False)]
    role: Role


class ChangeBody(StrictModel):
    """Exactly one change."""

    role: Role | None = None
    disabled: bool | None = None
    password: Annotated[Annotated[str, Field(max_length=1024)] | None, Field(repr=False)] = None


def _users(request: Request) -> Users:
    service: AuthService = request.app.state.auth
    return service.users


def _json(value: Any, status: int = 200) -> Response:
    return Response(encode(value), status, {"cache-control": "no-store"}, media_type="application/json")


def _user(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "role": user.role,
        "disabled": user.disabled_at is not None,
        "created_at": instant(user.created_at),
        "updated_at": instant(user.updated_at),
    }


@router.get("", summary="All users")
async def list_users(
    request: Request,
    owner: OwnerSignedIn,
    after: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Oldest first; `next` is null on the last page."""
    page, following = await _users(request).list_users(after or "", limit)
    return _json({"data": [_user(one) for one in page], "next": following})


@router.post("", status_code=201, summary="Make a user")
async def make_user(request: Request, owner: OwnerSignedIn, body: UserBody) -> Response:
    """Owners and traders get a paper account of their own with 100,000 dollars. 409: the address is taken."""
    made = await _users(request).make(
        owner.actor, body.email, body.password, body.role, request_id_of(request)
    )
    return _json(_user(made), 201)


@router.get("/{user_id}", summary="One user")
async def get_user(request: Request, owner: OwnerSignedIn, user_id: Id) -> Response:
    """404 for one who was deleted."""
    return _json(_user(await _users(request).load_user(user_id)))


@router.patch("/{user_id}", summary="Change role, disable, enable, or set a password")
async def change_user(request: Request, owner: OwnerSignedIn, user_id: Id, body: ChangeBody) -> Response:
    """One change a request. Disabling ends his sessions and revokes his tokens, a new password ends his sessions.
    From the answer on no order is taken that the change forbids. 409 for the last owner."""
    users, actor, request_id = _users(request), owner.actor, request_id_of(request)
    if sum(value is not None for value in (body.role, body.disabled, body.password)) != 1:
        raise invalid_field("body", "one_change", "Send exactly one of role, disabled, password.")
    if body.role is not None:
        return _json(_user(await users.set_role(actor, user_id, body.role, request_id)))
    if body.disabled is not None:
        change = users.disable if body.disabled else users.enable
        return _json(_user(await change(actor, user_id, request_id)))
    await users.set_password(actor, user_id, body.password or "", request_id)
    return _json(_user(await users.load_user(user_id)))


@router.delete("/{user_id}", status_code=204, summary="Delete a user")
async def delete_user(request: Request, owner: OwnerSignedIn, user_id: Id) -> Response:
    """His orders and the audit stay under his id. 409 for the last owner."""
    await _users(request).delete(owner.actor, user_id, request_id_of(request))
    return Response(status_code=204)
