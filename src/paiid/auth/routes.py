"""The routes of signing in and out, sessions and API tokens, under /auth and the same under /api/auth."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field, field_validator

from paiid.auth.access import CurrentUser, SignedIn, client_of, request_id_of
from paiid.auth.invite_routes import router as invites_router
from paiid.auth.records import ApiToken, Session, scopes_to
from paiid.auth.service import AuthService
from paiid.auth.sessions import TokenPair
from paiid.auth.user_routes import router as users_router
from paiid.core.instants import instant
from paiid.core.json import StrictModel, StrictRoute, encode
from paiid.domain.identity import Scope

_auth = APIRouter(tags=["auth"], route_class=StrictRoute)
Id = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]
_MOST_TYPED = 1024
Typed = Annotated[str, Field(max_length=_MOST_TYPED, repr=False)]


class LoginBody(StrictModel):
    """Who signs in."""

    email: Annotated[str, Field(max_length=255)]
    password: Typed


class RegisterBody(StrictModel):
    """Who wants to become a user; the password has 8 to 128 characters."""

    email: Annotated[str, Field(max_length=255)]
    password: Typed
    invite: Annotated[Annotated[str, Field(max_length=128)] | None, Field(repr=False)] = None


class RefreshBody(StrictModel):
    """The refresh token of the latest answer."""

    refresh_token: Annotated[str, Field(max_length=512, repr=False)]


class PasswordBody(StrictModel):
    """The caller's own password, 8 to 128 characters."""

    current_password: Typed
    new_password: Typed


class TokenBody(StrictModel):
    """A new API token. `expires_in_days` null: it never expires."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=3)]
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = 365

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not name.isprintable() or not name.strip():
            raise ValueError("give 1 to 64 printable characters")
        return name.strip()


def _service(request: Request) -> AuthService:
    service: AuthService = request.app.state.auth
    return service


def _json(value: Any, status: int = 200) -> Response:
    return Response(encode(value), status, {"cache-control": "no-store"}, media_type="application/json")


def _pair(pair: TokenPair) -> Response:
    return _json(
        {
            "access_token": pair.access_token,
            "refresh_token": pair.refresh_token,
            "token_type": "bearer",
            "expires_in": pair.expires_in_s,
        }
    )


# -- sessions ---------------------------------------------------------------------------------------


@_auth.post("/login", summary="Sign in")
async def login(request: Request, body: LoginBody) -> Response:
    """401 for any wrong pair, the same and as slow for an unknown user; 429 after too many wrong ones."""
    return _pair(await _service(request).sessions.login(body.email, body.password, client_of(request)))


@_auth.post("/register", status_code=202, summary="Become a user")
async def register(request: Request, body: RegisterBody) -> Response:
    """With an invite, or while the owner has opened registration; else 403. The answer does not tell whether the address was known
    before: sign in next. An invite that is unknown, used, expired, revoked or for another address: the same 403."""
    await _service(request).registration.register(body.email, body.password, body.invite, client_of(request))
    return _json({"detail": "If this address was free, you can sign in with it now."}, 202)


@_auth.post("/refresh", summary="The next pair of tokens")
async def refresh(request: Request, body: RefreshBody) -> Response:
    """A refresh token works once. If the answer was lost, the same token gives the same pair again for 10 s;
    used later, or after its successor, it ends the session, for somebody else may have it."""
    return _pair(await _service(request).sessions.refresh(body.refresh_token, client_of(request)))


@_auth.post("/logout", status_code=204, summary="Sign out everywhere")
async def logout(request: Request, user: SignedIn) -> Response:
    """Ends all your sessions. From this answer on no order of theirs is taken."""
    await _service(request).sessions.logout(user.actor, user.user_id, request_id_of(request))
    return Response(status_code=204)


@_auth.get("/me", summary="Who you are to this service")
async def me(user: CurrentUser) -> Response:
    """`scopes` is what this credential may do at most; a viewer only reads whatever it says."""
    return _json(
        {
            "id": user.user_id,
            "email": user.email,
            "role": user.role,
            "credential": user.credential,
            "session_id": user.credential_id if user.signed_in else None,
            "scopes": sorted(user.scopes),
        }
    )


@_auth.get("/sessions", summary="Where you are signed in")
async def list_sessions(request: Request, user: SignedIn) -> Response:
    """A bare array, oldest first, at most 50."""
    found = await _service(request).sessions.list_sessions(user.user_id)
    return _json([_session(one, user.credential_id) for one in found])


@_auth.delete("/sessions/{session_id}", status_code=204, summary="Sign out one session")
async def end_session(request: Request, user: SignedIn, session_id: Id) -> Response:
    """404 for a session that is not yours or has ended."""
    await _service(request).sessions.end(user, session_id, request_id_of(request))
    return Response(status_code=204)


@_auth.post("/password", status_code=204, summary="Change your password")
async def change_password(request: Request, user: SignedIn, body: PasswordBody) -> Response:
    """Your other sessions end, this one stays."""
    await _service(request).users.change_password(
        user, body.current_password, body.new_password, request_id_of(request)
    )
    return Response(status_code=204)


def _session(session: Session, current: str) -> dict[str, Any]:
    return {
        "id": session.id,
        "current": session.id == current,
        "created_at": instant(session.created_at),
        "last_used_at": instant(session.last_used_at),
        "expires_at": instant(session.expires_at),
        "user_agent": session.user_agent,
        "address": session.address,
    }


# -- API tokens -------------------------------------------------------------------------------------


@_auth.get("/tokens", summary="Your API tokens")
async def list_tokens(request: Request, user: SignedIn) -> Response:
    """A bare array, oldest first, at most 50; without their secrets."""
    return _json([_token(one) for one in await _service(request).api_tokens.list_tokens(user.user_id)])


@_auth.post("/tokens", status_code=201, summary="Make an API token")
async def make_token(request: Request, user: SignedIn, body: TokenBody) -> Response:
    """`token` is shown in this answer and never again. Scopes: read, trade, halt."""
    made, text = await _service(request).api_tokens.make(
        user.actor,
        user.user_id,
        body.name,
        frozenset(body.scopes),
        body.expires_in_days,
        request_id_of(request),
    )
    return _json({**_token(made), "token": text}, 201)


@_auth.delete("/tokens/{token_id}", status_code=204, summary="Revoke an API token")
async def revoke_token(request: Request, user: SignedIn, token_id: Id) -> Response:
    """From this answer on no order of it is taken. 404 for a token that is not yours."""
    await _service(request).api_tokens.revoke(user.actor, user.user_id, token_id, request_id_of(request))
    return Response(status_code=204)


def _token(token: ApiToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": scopes_to(token.scopes).split(),
        "created_at": instant(token.created_at),
        "expires_at": instant(token.expires_at),
        "last_used_at": instant(token.last_used_at),
    }


def _under(prefix: str, *, shown: bool) -> APIRouter:
    router = APIRouter(prefix=prefix, include_in_schema=shown)
    router.include_router(_auth)
    return router


routers = (_under("/auth", shown=True), _under("/api/auth", shown=False), invites_router, users_router)
"""All of them, for the app. The names under /api/users come before its ids."""
