"""The SQL of API tokens."""

from dataclasses import dataclass

from sqlalchemy import and_, bindparam, insert, or_, select, update

from paiid.auth.records import TOKEN_FIELDS, ApiToken, scopes_from, scopes_to, token_from
from paiid.core.db import Tx, statement
from paiid.core.tables import api_tokens, users
from paiid.domain.identity import Role, Scope

_LIVE = and_(
    api_tokens.c.revoked_at.is_(None),
    or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > bindparam("b_now")),
)
_CALLER = statement(
    select(
        users.c.id,
        users.c.email,
        users.c.role,
        api_tokens.c.token_hash,
        api_tokens.c.scopes,
        api_tokens.c.expires_at,
        api_tokens.c.last_used_at,
    )
    .select_from(api_tokens.join(users, users.c.id == api_tokens.c.user_id))
    .where(
        api_tokens.c.id == bindparam("b_id"),
        _LIVE,
        users.c.disabled_at.is_(None),
        users.c.deleted_at.is_(None),
    )
)
_LIST = statement(
    select(*[api_tokens.c[name] for name in TOKEN_FIELDS])
    .where(api_tokens.c.user_id == bindparam("b_user"), _LIVE)
    .order_by(api_tokens.c.id)
)
_ADD = statement(insert(api_tokens))
_REVOKE = statement(
    update(api_tokens).where(
        api_tokens.c.id == bindparam("b_id"),
        api_tokens.c.user_id == bindparam("b_user"),
        api_tokens.c.revoked_at.is_(None),
    ),
    columns=["revoked_at"],
)
_REVOKE_ALL = statement(
    update(api_tokens).where(api_tokens.c.user_id == bindparam("b_user"), api_tokens.c.revoked_at.is_(None)),
    columns=["revoked_at"],
)
_TOUCH = statement(
    update(api_tokens).where(
        api_tokens.c.id == bindparam("b_id"),
        or_(api_tokens.c.last_used_at.is_(None), api_tokens.c.last_used_at < bindparam("b_at")),
    ),
    columns=["last_used_at"],
)


@dataclass(frozen=True, slots=True)
class TokenCaller:
    """Whom a live API token stands for, and what proves it."""

    user_id: str
    email: str
    role: Role
    token_hash: str
    scopes: frozenset[Scope]
    expires_at: int | None
    last_used_at: int | None


async def find_token_caller(tx: Tx, token_id: str, now_us: int) -> TokenCaller | None:
    """The user of a token that stands; the hash has still to be compared."""
    row = await tx.fetch_one(_CALLER, {"b_id": token_id, "b_now": now_us})
    if row is None:
        return None
    return TokenCaller(
        row["id"],
        row["email"],
        row["role"],
        row["token_hash"],
        scopes_from(row["scopes"]),
        row["expires_at"],
        row["last_used_at"],
    )


async def list_tokens(tx: Tx, user_id: str, now_us: int) -> list[ApiToken]:
    """A user's standing tokens, oldest first."""
    return [token_from(row) for row in await tx.fetch(_LIST, {"b_user": user_id, "b_now": now_us})]


async def add_token(tx: Tx, token: ApiToken) -> None:
    """A new token."""
    values = {name: getattr(token, name) for name in TOKEN_FIELDS}
    await tx.execute(_ADD, values | {"scopes": scopes_to(token.scopes)})


async def revoke_token(tx: Tx, user_id: str, token_id: str, at_us: int) -> int:
    """0 if there is no such token of his, or it was revoked before."""
    return await tx.execute(_REVOKE, {"b_id": token_id, "b_user": user_id, "revoked_at": at_us})


async def revoke_tokens(tx: Tx, user_id: str, at_us: int) -> int:
    """All of a user. Hold his row alone before (`lock_user`)."""
    return await tx.execute(_REVOKE_ALL, {"b_user": user_id, "revoked_at": at_us})


async def touch_token(tx: Tx, token_id: str, at_us: int) -> None:
    """Remember the last use; never backwards."""
    await tx.execute(_TOUCH, {"b_id": token_id, "b_at": at_us, "last_used_at": at_us})
