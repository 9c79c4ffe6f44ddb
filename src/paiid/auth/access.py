"""The typed dependencies that give a route its caller.

    @router.get("/api/portfolio/summary")
    async def get_summary(user: Annotated[Principal, Depends(may("read"))]) -> Response: ...

No header is 401, always; a caller who is known but may not is 403.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from paiid.auth.service import AuthService
from paiid.auth.throttle import Client
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import Principal, Scope


def bearer(request: Request) -> str:
    """The bearer text of a request. Raises Problem (401)."""
    found = request.headers.getlist("authorization")
    if not found:
        raise Problem(
            Code.UNAUTHENTICATED, "Send `Authorization: Bearer` with an access token or an API token."
        )
    if len(found) > 1:
        raise Problem(Code.UNAUTHENTICATED, "There are two Authorization headers; send one.")
    scheme, _, token = found[0].partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Problem(Code.UNAUTHENTICATED, "The Authorization header must be `Bearer` and a token.")
    return token


async def _principal(request: Request, *, to_halt: bool = False) -> Principal:
    auth: AuthService = request.app.state.auth
    principal = await auth.authenticate(bearer(request), to_halt=to_halt)
    request.scope["user_id"] = principal.user_id
    return principal


async def current_user(request: Request) -> Principal:
    """Whoever is known, with any scope."""
    return await _principal(request)


async def signed_in(request: Request) -> Principal:
    """A person's session; tokens manage neither users nor other tokens (contract A4)."""
    principal = await _principal(request)
    if not principal.signed_in:
        raise Problem(Code.FORBIDDEN, "This needs a person who is signed in; API tokens cannot do it.")
    return principal


async def owner_signed_in(request: Request) -> Principal:
    """An owner's session."""
    principal = await signed_in(request)
    if principal.role != "owner":
        raise Problem(Code.FORBIDDEN, "Only an owner may do this.")
    return principal


def may(*scopes: Scope) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency: the caller, if credential and role allow him any of these. A viewer may only read."""
    to_halt = "halt" in scopes

    async def allowed(request: Request) -> Principal:
        principal = await _principal(request, to_halt=to_halt)
        usable = [one for one in scopes if one == "read" or principal.role != "viewer"]
        if not usable:
            raise Problem(Code.FORBIDDEN, "A viewer may only look; ask the owner for another role.")
        if principal.scopes.isdisjoint(usable):
            require_scope(principal, usable[0])
        return principal

    return allowed


def require_scope(principal: Principal, scope: Scope) -> None:
    """Raises Problem (403) for a token without the scope."""
    if scope not in principal.scopes:
        raise Problem(Code.SCOPE_MISSING, f"This token lacks the scope {scope}; make one that has it.")


def request_id_of(request: Request) -> str | None:
    """The id that the edge gave the request."""
    found: str | None = request.scope.get("request_id")
    return found


def client_of(request: Request) -> Client:
    """The other end; the edge has worked out its address from socket and trusted proxies (contract A5)."""
    address: str = request.scope.get("client_address") or (
        request.client.host if request.client else "unknown"
    )
    return Client(address, request.headers.get("user-agent"), request_id_of(request))


CurrentUser = Annotated[Principal, Depends(current_user)]
SignedIn = Annotated[Principal, Depends(signed_in)]
OwnerSignedIn = Annotated[Principal, Depends(owner_signed_in)]
